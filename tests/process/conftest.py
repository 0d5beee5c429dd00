"""The fixture of the deployment scenarios."""

from collections.abc import Callable
from pathlib import Path

import pytest
from deploy_kit import Project
from fakes.sandbox import Sandbox


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
