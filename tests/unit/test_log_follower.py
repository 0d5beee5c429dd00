"""A log is read as it is written, whatever happens to it meanwhile."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_journal import JOURNALCTL, UNIT

from orchestrator import log_follower, log_parts, logfiles
from orchestrator.diagnosis.pieces import LONGEST
from orchestrator.diagnosis.stages import advance, begin
from orchestrator.log_follower import LogFollower
from orchestrator.stage_data import load_stages

RECORDED = Path(__file__).resolve().parents[1] / "recorded"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "00001-aaaaaaaa.log"


@pytest.fixture
def follower(log: Path) -> Iterator[LogFollower]:
    follower = LogFollower(log)
    yield follower
    follower.close()


@pytest.fixture
def write(log: Path) -> Callable[[bytes], None]:
    def add(text: bytes) -> None:
        with log.open("ab") as stream:
            stream.write(text)

    return add


def test_a_log_that_is_not_there_yet_must_be_waited_for(follower: LogFollower, write: Callable[[bytes], None]) -> None:
    assert follower.poll() == []
    write(b"one\ntwo\n")
    assert follower.poll() == ["one", "two"]
    assert follower.poll() == []


def test_a_line_must_be_told_when_it_ends(follower: LogFollower, write: Callable[[bytes], None]) -> None:
    write("caf\u00e9".encode()[:-1])
    assert follower.poll() == []
    write("caf\u00e9".encode()[-1:] + b" \xff")
    assert follower.poll() == []
    write(b" x\r\nnext\n")
    assert follower.poll() == ["caf\u00e9 \ufffd x", "next"]


def test_each_state_of_a_bar_must_be_told(follower: LogFollower, write: Callable[[bytes], None]) -> None:
    write(b"load  0%\rload 50%\r")
    assert follower.poll() == ["load  0%", "load 50%"]
    write(b"load 100%\n\n")
    assert follower.poll() == ["load 100%"]


def test_a_log_that_is_cut_short_must_be_read_from_its_beginning(
    follower: LogFollower, write: Callable[[bytes], None], log: Path
) -> None:
    write(b"one\nhalf of a ")
    assert follower.poll() == ["one"]
    os.truncate(log, 0)
    write(b"line\n")
    assert follower.poll() == ["half of a line"]


def test_another_file_of_the_same_name_must_be_read_after_the_rest_of_the_first(
    follower: LogFollower, write: Callable[[bytes], None], log: Path
) -> None:
    write(b"one\n")
    assert follower.poll() == ["one"]
    write(b"two\nhalf")
    log.rename(log.with_suffix(".1"))
    assert follower.poll() == ["two"]
    assert follower.poll() == []
    write(b"three\n")
    assert [*follower.poll(), *follower.poll()] == ["half", "three"]


def test_a_log_that_was_removed_must_say_nothing_more(
    follower: LogFollower, write: Callable[[bytes], None], log: Path
) -> None:
    write(b"one\n")
    assert follower.poll() == ["one"]
    log.unlink()
    assert follower.poll() == []


def test_a_long_log_must_be_read_a_part_at_a_time(
    follower: LogFollower, write: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_parts, "MOST", 7)
    write(b"one\ntwo\nthree\n")
    assert [follower.poll() for _ in range(3)] == [["one"], ["two", "three"], []]


def test_a_line_longer_than_a_reading_must_not_look_like_the_end(
    follower: LogFollower, write: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_parts, "MOST", 1000)
    write(b"x" * 50_000)
    assert follower.poll() == []
    write(b"y" * 2500 + b"\n" * 2500 + b"next\n")
    assert follower.poll() == ["x" * LONGEST]
    assert follower.poll() == ["next"]
    assert follower.poll() == []


def test_a_folder_in_its_place_must_say_nothing(follower: LogFollower, log: Path) -> None:
    log.mkdir()
    assert follower.poll() == []


def test_whoever_waits_must_get_the_whole_of_a_real_start(
    follower: LogFollower, write: Callable[[bytes], None]
) -> None:
    whole = (RECORDED / "vllm-0.32-cpu-ready.log").read_bytes()
    stages = load_stages("0.32.0")
    progress, seen = begin(stages, 0.0), []
    for start in range(0, len(whole), 997):
        write(whole[start : start + 997])
        for piece in follower.poll():
            progress = advance(stages, progress, piece, float(start))
            seen.append(progress.stage)
    assert list(dict.fromkeys(seen)) == ["imports", "config", "load", "warmup", "serving"]


def test_to_ask_when_nothing_is_new_must_cost_next_to_nothing(
    follower: LogFollower, write: Callable[[bytes], None]
) -> None:
    write(b"one\n")
    assert follower.poll() == ["one"]
    before = time.process_time()
    for _ in range(1000):
        assert follower.poll() == []
    assert time.process_time() - before < 1.0, "a millisecond each; it takes some 10 us"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "journal").touch()
    (tmp_path / "asked").touch()
    script = folder / "journalctl"
    script.write_text(JOURNALCTL.format(folder=tmp_path))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path / "journal"


def test_the_journal_must_be_asked_for_what_is_new(
    follower: LogFollower, log: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_follower, "JOURNAL_EVERY", 0.0)
    logfiles.point_to_journal(log, UNIT)
    assert follower.poll() == []
    journal.write_bytes(b"one\nload 1%\rload 2%\nlast\n")
    assert follower.poll() == ["one", "load 1%", "load 2%", "last"]
    assert follower.poll() == []
    with journal.open("a") as stream:
        stream.write("more\n-- cursor: of its own\n")
    assert follower.poll() == ["more", "-- cursor: of its own"]
    assert all(f"_SYSTEMD_USER_UNIT={UNIT}" in line for line in (journal.parent / "asked").read_text().splitlines())


def test_the_journal_must_not_be_asked_at_every_look(
    follower: LogFollower, log: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_follower, "JOURNAL_EVERY", 60.0)
    logfiles.point_to_journal(log, UNIT)
    journal.write_text("one\n")
    assert [follower.poll() for _ in range(20)] == [["one"], *[[]] * 19]
    assert len((journal.parent / "asked").read_text().splitlines()) == 1


def test_of_one_that_has_ended_the_journal_must_be_asked_once_more(
    follower: LogFollower, log: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_follower, "JOURNAL_EVERY", 60.0)
    logfiles.point_to_journal(log, UNIT)
    journal.write_text("one\n")
    assert follower.poll() == ["one"]
    journal.write_text("one\nlast words\n")
    assert follower.poll() == []
    assert follower.poll(last=True) == ["last words"]
    assert follower.poll(last=True) == []


def test_a_journal_that_cannot_be_read_must_say_nothing(follower: LogFollower, log: Path, journal: Path) -> None:
    logfiles.point_to_journal(log, UNIT)
    (journal.parent / "bin" / "journalctl").write_text("#!/bin/sh\nexit 3\n")
    assert follower.poll() == []
