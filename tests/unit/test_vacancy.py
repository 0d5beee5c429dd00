"""Waiting for a card's memory, on a clock that the test turns."""

import pytest

from orchestrator.errors import HostError
from orchestrator.model import Gpu, GpuProcess, Inventory, Placement
from orchestrator.vacancy import RELEASE, await_vacancy

GIB = 1 << 30
HERE = Placement(("GPU-b",), (1,), (40 * GIB,))


class Host:
    """A clock, and cards that give their memory back ``after`` so many seconds."""

    def __init__(self, after: float) -> None:
        self.after, self.time, self.said = after, 0.0, list[str]()

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def inventory(self) -> Inventory:
        held = GpuProcess(7, 30 * GIB, "bob", "python")
        busy = Gpu(0, "GPU-a", total=48 * GIB, used=48 * GIB)
        gone = self.time >= self.after
        card = Gpu(1, "GPU-b", total=48 * GIB, used=0 if gone else 30 * GIB, processes=() if gone else (held,))
        return Inventory((busy, card))


def test_it_returns_as_soon_as_the_driver_shows_the_memory_free() -> None:
    host = Host(after=3.0)
    await_vacancy("a", HERE, host, host, host.said.append)
    assert 3.0 <= host.time < 3.5
    words = (
        "a: waiting for memory: GPU 1 has 18.0 GiB free of the 40.0 GiB it needs (the rest is held by pid 7 bob python)"
    )
    assert set(host.said) == {words}


def test_it_does_not_wait_where_there_is_room() -> None:
    host = Host(after=0.0)
    await_vacancy("a", HERE, host, host, host.said.append)
    assert (host.time, host.said) == (0.0, [])


def test_a_start_whose_need_is_not_known_does_not_wait() -> None:
    host = Host(after=9.0)
    await_vacancy("a", Placement(("MIG-x",)), host, host, host.said.append)
    assert host.time == 0.0


def test_memory_that_does_not_come_free_is_a_failure_that_names_its_holder() -> None:
    host = Host(after=RELEASE * 2)
    with pytest.raises(HostError, match=r"GPU 1 has 18\.0 GiB free of the 40\.0 GiB it needs"):
        await_vacancy("a", HERE, host, host, host.said.append)
