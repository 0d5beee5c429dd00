"""One look of the watcher, without a process: what it sends, and how long it then sleeps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from builders import NOW, remembered, running, wanted

from orchestrator import proc, watch
from orchestrator.codec import to_json
from orchestrator.liveness import Lane, Sample
from orchestrator.lookout import YOUNG
from orchestrator.model import Death, Exit, Instance, Intent, Record
from orchestrator.watch import ARMED, CANARY, FILES, PULSE, RESYNC, Charge, Watch

Q = wanted()


class Eyes:
    """A project as it is told to be."""

    project = "lab-1234"

    def __init__(self) -> None:
        self.known: dict[str, Record] = {}
        self.seen: tuple[Instance, ...] = ()
        self.state = self.target = self.clock = self.gpus = self

    def records(self) -> Mapping[str, Record]:
        return self.known

    def list(self, *_: object) -> tuple[Instance, ...]:
        return self.seen

    def watcher(self) -> object:
        return self

    def now(self) -> float:
        return NOW

    def inventory(self) -> None:
        return None


class Errands:
    """Remembers what is sent, which stays out until it is answered."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.sent: list[str] = []
        self.answers: list[tuple[str, Any]] = []

    def is_out(self, key: str) -> bool:
        return key in self.out

    def send(self, key: str, _: Callable[[], Any]) -> None:
        assert key not in self.out
        self.out.append(key)
        self.sent.append(key)

    def returned(self, _: Iterable[int]) -> Sequence[tuple[str, Any]]:
        answers, self.answers = self.answers, []
        return answers

    def answer(self, key: str, said: Any) -> None:
        self.out.remove(key)
        self.answers.append((key, said))


class Desk:
    """A watcher whose clock, errands and file watch are held in the hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, **charge: Any) -> None:
        self.eyes, self.errands, self.said = Eyes(), Errands(), list[str]()
        self.at, self.exits = 1000.0, dict[int, Exit]()
        monkeypatch.setattr(watch.time, "monotonic", lambda: self.at)
        monkeypatch.setattr(watch, "reap", self._reaped)
        monkeypatch.setattr(proc, "boot_id", lambda: "boot")
        given = {"pulse": None, "world": None, "wanted": None, "folders": (), "folder": folder, "paths": ()}
        words = {"say": self.said.append, "text": str, "eyes": self.eyes}
        self.watch = Watch(cast(Any, Charge)(**given | words | charge))
        self.watch._errands = cast(Any, self.errands)
        self.watch._files = cast(Any, type("Files", (), {"on": lambda *_: False})())
        self.watch._bell.heed = lambda *_: False  # type: ignore[method-assign]

    def _reaped(self) -> dict[int, Exit]:
        exits, self.exits = self.exits, {}
        return exits

    def turn(self) -> float:
        return self.watch.turn()

    def files(self, **answer: Any) -> float:
        """The errand about the files comes back."""
        self.errands.answer(FILES, {"names": ["qwen"]} | answer)
        return self.turn()


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    """It serves, and the files have been looked at."""
    made = Desk(monkeypatch, tmp_path)
    made.eyes.known, made.eyes.seen = {"qwen": remembered(Q)}, (running(Q),)
    made.turn()
    made.files()
    seen = Sample(made.at)
    made.watch._lookout._histories = {made.eyes.seen[0].marker.attempt: (seen, seen)}
    made.watch._next_pulse = made.at + made.watch.charge.every
    made.errands.sent.clear()
    return made


def test_when_nothing_is_due_it_sleeps_until_the_next_look(desk: Desk) -> None:
    assert desk.turn() == pytest.approx(desk.watch.charge.every)
    assert desk.errands.sent == []


def test_what_is_gone_is_attended_once_while_that_goes_on(desk: Desk) -> None:
    desk.eyes.seen = ()
    for _ in range(3):
        assert desk.turn() > 1
    assert desk.errands.sent == ["qwen"]


@pytest.mark.parametrize("out", [FILES, PULSE])
def test_it_sleeps_while_an_errand_is_out_however_late_that_is(desk: Desk, out: str) -> None:
    desk.at += RESYNC + 1
    desk.turn()
    assert out in desk.errands.out
    desk.at += 10 * RESYNC
    assert desk.turn() > 1


def test_files_that_failed_are_tried_again_with_growing_pauses(desk: Desk) -> None:
    desk.watch._edited = True
    desk.turn()
    pauses = []
    for _ in range(4):
        pauses.append(desk.files(error="the Hub cannot be reached", final=False))
        desk.at += pauses[-1]
        desk.turn()
        assert FILES in desk.errands.out
    assert pauses == [2.0, 4.0, 8.0, 16.0]
    assert desk.said == ["the Hub cannot be reached"]


def test_what_only_a_person_can_mend_waits_for_a_change_or_the_resync(desk: Desk) -> None:
    desk.watch._edited = True
    desk.turn()
    assert desk.files(error="profiles/a.yaml:1:1: cannot use it", final=True) == pytest.approx(desk.watch.charge.every)
    desk.at += RESYNC - 1
    desk.turn()
    assert FILES not in desk.errands.out
    desk.watch._edited = True
    desk.turn()
    assert FILES in desk.errands.out


def _hangs(desk: Desk) -> None:
    """Two minutes of looks, /health silent in all of them."""
    for _ in range(6):
        desk.at += desk.watch.charge.every
        desk.turn()
        silent = Sample(desk.at, False, "no answer within 5 s")
        answer = {"samples": {desk.eyes.seen[0].marker.attempt: to_json(silent)}, "cards": {}}
        desk.errands.answer(PULSE, answer)
        desk.turn()


def test_one_that_hangs_is_attended(desk: Desk) -> None:
    _hangs(desk)
    assert desk.errands.sent.count("qwen") == 1


@pytest.mark.parametrize("fields", [{}, {"given_up": "it ended 6 times within 1h"}])
def test_one_that_hangs_and_is_left_so_is_attended_no_more(desk: Desk, fields: dict[str, str]) -> None:
    """Its policy is never, or it was given up: the errand puts the death on record and does nothing else."""
    _hangs(desk)
    record = desk.eyes.known["qwen"]
    assert record.attempt
    death = Death(record.attempt.id, NOW, "/health: no answer within 5 s", 60.0)
    desk.eyes.known = {"qwen": replace(record, deaths=(death,), **fields)}
    desk.errands.answer("qwen", {})
    for _ in range(5):
        desk.at += desk.watch.charge.every
        assert desk.turn() > 1
    assert desk.errands.sent.count("qwen") == 1


def test_an_idle_one_is_asked_for_a_token_once_at_a_time(desk: Desk) -> None:
    attempt = desk.eyes.seen[0].marker.attempt
    for _ in range(12):
        desk.at += desk.watch.charge.every
        desk.turn()
        idle = Sample(desk.at, lanes=(Lane(),))
        desk.errands.answer(PULSE, {"samples": {attempt: to_json(idle)}, "cards": {}})
        desk.turn()
    assert desk.errands.sent.count(CANARY + attempt) == 1


def test_an_engine_that_is_on_no_record_is_the_files_business_at_once_and_once(desk: Desk) -> None:
    desk.eyes.known = {}
    desk.turn()
    assert desk.errands.sent == [FILES]
    desk.files()
    desk.turn()
    assert desk.errands.sent == [FILES]


def test_after_the_watch_was_put_on_the_files_are_looked_at_once_more(desk: Desk) -> None:
    desk.watch._files = cast(Any, type("Files", (), {"on": lambda *_: True})())
    assert desk.turn() == pytest.approx(ARMED)
    desk.watch._files = cast(Any, type("Files", (), {"on": lambda *_: False})())
    desk.at += ARMED
    desk.turn()
    assert desk.errands.sent == [FILES]


def test_how_a_process_ended_is_not_told_of_a_later_one_with_its_number(desk: Desk) -> None:
    desk.exits = {4000: Exit(code=0)}  # the pid of the engine that lives
    desk.turn()
    assert desk.watch._exits == {}


def test_what_a_person_stopped_and_what_others_watch_rests(desk: Desk, monkeypatch: Any, tmp_path: Path) -> None:
    desk.eyes.seen = ()
    desk.eyes.known = {"qwen": remembered(Q, intent=Intent.STOPPED)}
    desk.turn()
    assert desk.errands.sent == []
    other = Desk(monkeypatch, tmp_path, paths=("profiles/llama.yaml",))
    other.eyes.known = {"qwen": remembered(Q)}
    other.turn()
    assert other.errands.sent == [FILES]


def test_a_young_one_is_looked_at_twice_soon(desk: Desk) -> None:
    """What goes before it was seen twice would not be missed."""
    desk.watch._lookout._histories = {}
    desk.at += YOUNG
    desk.turn()
    assert desk.errands.sent == [PULSE]


def test_what_a_person_starts_is_held_against_the_files(desk: Desk) -> None:
    record = desk.eyes.known["qwen"]
    assert record.attempt
    desk.eyes.known = {"qwen": replace(record, attempt=replace(record.attempt, id="00002-qwen", by="watch"))}
    desk.eyes.seen = (running(Q, attempt="00002-qwen"),)
    desk.turn()
    assert FILES not in desk.errands.sent
    desk.eyes.known = {"qwen": replace(record, attempt=replace(record.attempt, id="00003-qwen"))}
    desk.eyes.seen = (running(Q, attempt="00003-qwen"),)
    desk.turn()
    assert FILES in desk.errands.sent


def test_an_errand_that_found_nothing_to_do_is_not_sent_at_once_again(desk: Desk) -> None:
    desk.eyes.seen = ()
    desk.turn()
    desk.errands.answer("qwen", {"idle": True})
    assert desk.turn() == pytest.approx(2.0)
    assert desk.errands.sent == ["qwen"]


def test_plan_only_looks_at_the_files_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    desk = Desk(monkeypatch, tmp_path, plans_only=True)
    desk.eyes.known = {"qwen": remembered(Q)}
    desk.turn()
    desk.files(plan="Plan: start qwen")
    desk.watch._edited = True
    desk.turn()
    desk.files(plan="Plan: start qwen")
    assert desk.errands.sent == [FILES, FILES]
    assert desk.said == ["Plan: start qwen"]
