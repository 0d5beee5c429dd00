"""What every target keeps to, whatever an engine is to the system there. Each is driven from outside and looked at from
a second process."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from backend_kit import Driven, Refused
from fakes.sandbox import Sandbox, wait_until
from fakes.systemd import Systemd

HIDDEN = "hunter2-hunter2"
Make = Callable[[], Driven]


@pytest.fixture(params=["local", "systemd"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Each call makes a process with a target; all of them see the same machine."""
    system: Systemd | None = request.getfixturevalue("systemd") if backend == "systemd" else None
    sandbox = Sandbox.create(tmp_path / "home")
    sandbox.allow_leftovers()
    made: list[Driven] = []

    def more() -> Driven:
        made.append(Driven(backend, sandbox.home, system))
        return made[-1]

    yield more
    for one in made:
        one.close()
    sandbox.close()


@pytest.fixture
def target(make: Make) -> Driven:
    return make()


def up(target: Driven, **plan: Any) -> Any:
    """An engine that is up, with its children, as a look shows it."""
    begun = target.engine(**plan)
    written = 1 + len(plan.get("children", ()))
    wait_until(lambda: len(target("tail", log=begun["log"])) == written)
    (found,) = [one for one in target("list") if one["name"] == begun["name"]]
    assert (found["leader"], found["attempt"]) == (begun["leader"], begun["attempt"])
    return {**found, "log": begun["log"]}


def test_what_was_started_is_found(target: Driven, backend: str) -> None:
    up(target, children=["here"])
    found = up(target, name="b", children=["here", "escapes"])
    assert [one["name"] for one in target("list")] == ["a", "b"]
    assert {one["backend"] for one in target("list")} == {backend}
    assert len(found["children"]) == 2


def test_another_process_sees_the_same_and_can_end_it(target: Driven, make: Make) -> None:
    found = up(target, children=["here"])
    other = make()
    assert other("list") == target("list")
    other("take", name="a")
    other("stop", name="a", drain=5)
    target("wait", name="a", seconds=5)
    assert target("alive", pids=[found["leader"], *found["children"]]) == []


def test_a_stop_takes_all_that_is_proven_and_can_be_repeated(target: Driven) -> None:
    other = up(target, name="b")["leader"]
    children = ["here", "here, deaf", "here, blank", "here, deaf, blank", "escapes", "escapes, deaf"]
    found = up(target, children=children)
    assert len(found["children"]) == len(children)
    target("stop", name="a", drain=1)
    target("stop", name="a", drain=1)
    assert target("alive", pids=[found["leader"], *found["children"], other]) == [other]
    assert [one["name"] for one in target("list")] == ["b"]


def test_the_deaf_are_killed_when_their_time_is_over(target: Driven) -> None:
    found = up(target, deaf=True, children=["here, deaf"])
    target("stop", name="a", drain=0.1)
    assert target("alive", pids=[found["leader"], *found["children"]]) == []


def test_a_stop_asks_the_leader_alone_to_end(target: Driven) -> None:
    up(target, children=["here, deaf"])
    target("stop", name="a", drain=5)
    assert target("wait", name="a", seconds=5) == {"code": 0, "signal": None}


def test_whoever_waits_is_told_how_it_ended(target: Driven) -> None:
    codes = {"a": 3, "b": 0}
    for name, code in codes.items():
        up(target, name=name, code=code)
    assert target("wait", name="a", seconds=0.05) is None
    target.until.touch()
    for name, code in codes.items():
        assert target("wait", name=name, seconds=10) == {"code": code, "signal": None}
    target.until.unlink()
    found = up(target, name="c")
    target("kill", pid=found["leader"], number=int(signal.SIGKILL))
    assert target("wait", name="c", seconds=10) == {"code": None, "signal": int(signal.SIGKILL)}


def test_a_program_that_cannot_be_executed_is_named(target: Driven) -> None:
    with pytest.raises(Refused, match="cannot execute /nowhere/vllm: /nowhere/vllm: No such file"):
        target("start", name="a", argv=["/nowhere/vllm"], secrets={}, folder=str(target.home))
    assert target("list") == []


def test_a_secret_is_in_the_engines_environment_and_nowhere_else(target: Driven) -> None:
    found = up(target, secrets={"TOKEN": HIDDEN})
    assert target("environ", pid=found["leader"])["TOKEN"] == HIDDEN
    assert not any(HIDDEN in line for line in target("command_lines"))
    assert not any(HIDDEN in file.read_text() for file in target.home.rglob("*") if file.is_file())
    assert not any(HIDDEN in line for line in target("tail", log=found["log"]))


def test_what_it_writes_can_be_read(target: Driven) -> None:
    found = up(target, children=["here"])
    assert sorted(target("tail", log=found["log"])) == ["child", "the engine is up"]
