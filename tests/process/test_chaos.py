"""The short form of `make chaos`: a scenario of each kind, with a seed that is the same in each run, two at a time."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from chaos.runs import SHORT, WITH_MOUNTS, play
from chaos.scene import Workshop

SEED = 1


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[None]]]:
    """Those that were asked for, all under way."""
    workshop = Workshop.open(tmp_path_factory.mktemp("chaos"))
    here = [item for item in request.session.items if item.path == Path(__file__)]
    with ThreadPoolExecutor(2) as pool:
        names = [item.callspec.params["name"] for item in here if isinstance(item, pytest.Function)]
        yield {name: pool.submit(play, name, SEED, workshop) for name in names}


@pytest.mark.parametrize("name", SHORT)
def test_after_whatever_was_done_one_apply_must_converge(
    runs: Mapping[str, Future[None]], name: str, request: pytest.FixtureRequest
) -> None:
    if name in WITH_MOUNTS:
        request.getfixturevalue("namespace")
    runs[name].result()
