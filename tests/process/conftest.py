"""The fixtures of the deployment scenarios, of the fetch and of the models on the disk."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deploy_kit import Project
from fakes.hub import Hub
from fakes.sandbox import Sandbox
from fetch_kit import FILES, Kit
from models_kit import kill_a_pull

from orchestrator.hub.child.job import Want


@pytest.fixture(scope="session")
def known_runtimes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What orch has learnt of the fake runtime, shared: to look into it again in every test takes its time."""
    return tmp_path_factory.mktemp("known")


@pytest.fixture
def project(sandbox: Sandbox, free_port: Callable[[], int], known_runtimes: Path) -> Project:
    """A project whose engines may be left running: the sandbox ends them."""
    sandbox.allow_leftovers()
    sandbox.env["ORCH_CACHE_DIR"] = str(known_runtimes)
    return Project(sandbox, free_port)


@pytest.fixture
def kit(hub: Hub, tmp_path: Path) -> Iterator[Kit]:
    """A Hub, an empty cache, and what fetches from the one into the other."""
    kit = Kit(hub, tmp_path / "home")
    yield kit
    kit.close()


@pytest.fixture
def want(kit: Kit) -> Want:
    """A model on the Hub."""
    return kit.add(FILES)


@pytest.fixture
def home(sandbox: Sandbox, hub: Hub, fake_runtime: Path) -> Sandbox:
    """A project whose environment and whose caller have one cache."""
    sandbox.env["HF_ENDPOINT"] = hub.endpoint
    sandbox.env["HF_HOME"] = str(sandbox.home / "hf")
    sandbox.environment(fake_runtime, cache={"hf_home": str(sandbox.home / "hf")})
    return sandbox


@pytest.fixture
def half(home: Sandbox, hub: Hub) -> str:
    """A repository of which a killed pull fetched a part."""
    return kill_a_pull(home, hub)
