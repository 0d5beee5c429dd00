"""How far a start has come, by the times in its log and by the clock."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from orchestrator.startup import Startup, epoch

NOTHING: list[str] = []


class Follower:
    """Gives what it was given, look by look."""

    def __init__(self, *looks: Sequence[str]) -> None:
        self.looks = list(looks)

    def follow(self, _log: str) -> "Follower":
        return self

    def poll(self, *, last: bool = False) -> Sequence[str]:
        return self.looks.pop(0) if self.looks else NOTHING


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


def line(stamp: str, message: str) -> str:
    return f"(EngineCore pid=8) INFO {stamp} [gpu_model_runner.py:5] {message}"


def startup(began: float, *looks: Sequence[str]) -> Startup:
    return Startup(cast(Any, Follower(*looks)), "log", began, "0.32.0")


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-02-28 23:59:50", "2026-03-01 00:00:10"),
        ("2026-12-31 23:59:50", "2027-01-01 00:00:10"),
        ("2028-02-28 23:59:50", "2028-02-29 00:00:10"),
        ("2026-03-29 01:59:50", "2026-03-29 03:00:10"),
    ],
)
def test_the_calendar_takes_no_time(before: str, after: str) -> None:
    told = [epoch(line(stamp[5:], "x"), at(after) + 60) for stamp in (before, after)]
    assert told == [at(before), at(before) + 20]


def test_a_line_without_a_time_has_none() -> None:
    assert epoch("INFO:     Started server process [1]", time.time()) is None
    assert epoch(line("13-45 10:00:00", "x"), time.time()) is None


def test_who_comes_late_reads_the_times_in_the_log() -> None:
    began = time.time() - 100
    stamps = [time.strftime("%m-%d %H:%M:%S", time.localtime(began + seconds)) for seconds in (20, 50)]
    words = ("non-default args: {'model': 'x'}", "Starting to load model x...")
    come = startup(began, [line(stamp, word) for stamp, word in zip(stamps, words, strict=True)])
    assert come.look().stage == "load"
    assert come.seconds["config"] == pytest.approx(30, abs=1.1)
    assert come.seconds["load"] == pytest.approx(50, abs=5)


def test_the_clock_of_another_time_zone_is_not_believed() -> None:
    began = time.time() - 100
    stamp = time.strftime("%m-%d %H:%M:%S", time.localtime(began - 7200))
    come = startup(began, [line(stamp, "Starting to load model x...")])
    assert come.look().stage == "load"
    assert max(come.seconds.values()) < 200


def test_the_last_look_reads_all_there_is() -> None:
    looks = [[line("11-24 10:00:00", "x")], [line("11-24 10:00:01", "Starting to load model x...")]]
    come = startup(time.time(), *looks)
    assert come.look().stage == "imports"
    assert come.look(last=True).stage == "load"
