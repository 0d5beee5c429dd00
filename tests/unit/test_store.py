"""The state's files where something is wrong with them, and who may look into its folders."""

import os
from pathlib import Path

import pytest
from builders import NOW, wanted

from orchestrator import log_parts, log_rotation
from orchestrator.files import make_folder, read_json, write_json
from orchestrator.log_parts import before
from orchestrator.log_rotation import LOGS_KEPT
from orchestrator.model import Death, Pin, Record, Revision
from orchestrator.store import REVISIONS_KEPT, State, project_id


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "deep" / "state", tmp_path)


def test_every_folder_is_private(tmp_path: Path, state: State) -> None:
    state.new_attempt("a")
    made = [tmp_path / "deep", *(path for path in (tmp_path / "deep").rglob("*") if path.is_dir())]
    assert len(made) == 6
    assert {path.stat().st_mode & 0o777 for path in made} == {0o700}


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert [(tmp_path / one).stat().st_mode & 0o777 for one in ("a", "a/b")] == [0o755, 0o700]


def test_a_file_nested_without_end_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text('{"a":' + "[" * 200_000)
    assert read_json(file) is None


def test_a_name_that_is_no_text_is_read_back(tmp_path: Path) -> None:
    value = {"file": os.fsdecode(b"/p\xff/\xc3\xa9")}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value


def test_the_next_attempt_follows_the_last_and_strangers_are_left_alone(state: State) -> None:
    attempts = [state.new_attempt("a") for _ in range(12)]
    folder = attempts[0][1].parent
    (folder / "2024backup.log").write_text("mine")
    number, log = state.new_attempt("a")
    assert number.startswith("00013-")
    assert (folder / "2024backup.log").read_text() == "mine"
    assert list(state.logs("a")) == [*(path for _, path in attempts[3:]), log]


def test_a_project_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"p\xff")
    assert project_id(odd) != project_id(tmp_path / os.fsdecode(b"p\xfe"))
    assert project_id(odd).isascii()


def revision(number: int) -> Revision:
    return Revision(number, str(number), wanted("a", max_model_len=number + 1), NOW)


def test_only_the_newest_revisions_are_kept_with_the_current_and_the_pinned_one(state: State) -> None:
    state.save(Record("a", revision=revision(2), pin=Pin(1, NOW)))
    for number in range(1, REVISIONS_KEPT + 5):
        state.add_revision("a", revision(number))
    kept = [one.number for one in state.revisions("a")]
    assert len(kept) == REVISIONS_KEPT
    assert kept == [1, 2, *range(7, REVISIONS_KEPT + 5)]


def test_a_damaged_revision_is_passed_over_and_its_number_is_not_used_again(state: State) -> None:
    assert state.next_revision("a") == 1
    for number in (1, 2, 3):
        state.add_revision("a", revision(number))
    (state.folder / "a/revisions/3.json").write_text('{"schema": 1, "revision": {"num')
    (state.folder / "a/revisions/.4.json.abcd1234").write_text("left by a write")
    assert [one.number for one in state.revisions("a")] == [1, 2]
    assert state.next_revision("a") == 4
    state.save(Record("a", revision=revision(9)))
    assert state.next_revision("a") == 10


def test_a_dump_goes_with_its_log(state: State) -> None:
    """It stands beside it, under the same name."""
    _, first = state.new_attempt("a")
    first.with_suffix(".dump").touch()
    for _ in range(LOGS_KEPT - 1):
        state.new_attempt("a")
    assert first.with_suffix(".dump").exists()
    state.new_attempt("a")
    assert not first.exists()
    assert not first.with_suffix(".dump").exists()


def test_the_log_of_the_last_failure_stays_when_they_are_too_large_together(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_rotation, "TOTAL", 1000)
    attempts = [state.new_attempt("a") for _ in range(4)]
    for _, log in attempts:
        log.write_text("x" * 300)
    deaths = tuple(Death(attempt, NOW, "it died") for attempt, _ in attempts[:2])
    state.save(Record("a", deaths=deaths))
    _, last = state.new_attempt("a")
    assert list(state.logs("a")) == [attempts[1][1], attempts[2][1], attempts[3][1], last]
    assert starts_in(last.parent) == {log.stem for log in state.logs("a")}


def starts_in(folder: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in folder.iterdir()}


def test_a_log_that_became_too_long_is_rotated_by_whoever_takes_the_lock(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_parts, "LIMIT", 100)
    _, log = state.new_attempt("a")
    log.write_text("x" * 101)
    with state.lock(["a"], (), Said([])):
        assert before(log).read_text() + log.read_text() == "x" * 101
        assert log.stat().st_size == 0


def test_that_a_log_cannot_be_rotated_is_said_once(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_parts, "LIMIT", 100)
    monkeypatch.setattr(log_rotation, "free", lambda _: 0)
    _, log = state.new_attempt("a")
    log.write_text("x" * 101)
    said: list[str] = []
    for _ in range(2):
        with state.lock(["a"], (), Said(said)):
            assert log.read_text() == "x" * 101
    assert [line.partition(": ")[0] for line in said] == ["warning"]
    assert "No space left on device; it goes on growing" in said[0]


class Said:
    """What is told."""

    def __init__(self, lines: list[str]) -> None:
        self.say = lines.append
