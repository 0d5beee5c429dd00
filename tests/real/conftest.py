"""The bench on which starts are broken."""

from collections.abc import Callable, Iterator

import pytest
from fakes.sandbox import Sandbox
from provoke import Bench


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory,
    real_runtime: dict[str, str],
    free_port: Callable[[], int],
    request: pytest.FixtureRequest,
) -> Iterator[Bench]:
    sandbox = Sandbox.create(tmp_path_factory.mktemp("broken") / "home", real_runtime)
    yield Bench(sandbox, free_port, lambda: request.getfixturevalue("namespace"))
    sandbox.close()
