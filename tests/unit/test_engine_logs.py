"""The end of a log keeps the numbers of its lines."""

import os
import resource
import time
from pathlib import Path

import pytest

from orchestrator import engine_logs, log_parts, logfiles
from orchestrator.diagnosis.lines import read
from orchestrator.engine_logs import EngineLogs
from orchestrator.log_parts import Written, before, first

LOGS = EngineLogs()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "00001-aaaaaaaa.log"


def numbers(text: str) -> dict[str, int]:
    return {line.text: line.number for line in read(text)}


def lines(begin: int, end: int) -> str:
    return "".join(f"line {number}\n" for number in range(begin, end))


@pytest.mark.parametrize(("most", "left"), [(8, 1), (9, 1), (100, 12), (782, 98), (783, 99), (5000, 99)])
def test_what_is_left_out_counts(log: Path, monkeypatch: pytest.MonkeyPatch, most: int, left: int) -> None:
    monkeypatch.setattr(log_parts, "MOST", 11)
    monkeypatch.setattr(engine_logs, "MOST", most)
    log.write_text(lines(1, 100))
    shown = numbers(LOGS.text(str(log)))
    assert all(text == f"line {number}" for text, number in shown.items())
    assert len(shown) == left
    assert LOGS.numbered(str(log))


def test_lines_of_several_files_have_the_numbers_of_all_together(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_logs, "MOST", 200)
    first(log).write_text(lines(1, 50))
    before(log).write_text(lines(50, 90))
    log.write_text(lines(90, 100))
    shown = numbers(LOGS.text(str(log)))
    assert shown["line 99"] == 99 and shown["line 80"] == 80 and "line 50" not in shown
    assert not LOGS.numbered(str(log))


def test_a_line_longer_than_what_is_kept_is_kept_from_its_end(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_logs, "MOST", 10)
    log.write_text("one\n" + "x" * 50 + "\n")
    assert numbers(LOGS.text(str(log))) == {"x" * 9: 2}


def test_too_much_is_not_counted(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "COUNTED", 300)
    monkeypatch.setattr(engine_logs, "MOST", 50)
    log.write_text(lines(1, 100))
    assert numbers(LOGS.text(str(log)))["line 99"] < 10
    assert not LOGS.numbered(str(log))


def test_of_a_journal_a_part_is_asked_for_and_has_numbers_of_its_own(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "journalctl"
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nprintf "one\\ntwo\\n"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    logfiles.point_to_journal(log, "a.service")
    assert LOGS.text(str(log)) == "one\ntwo\n"
    assert f"--lines={engine_logs.MOST // 128 + 1} " in (tmp_path / "asked").read_text()
    assert not LOGS.numbered(str(log))


def test_a_journal_that_never_answers_is_not_waited_for(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfiles, "JOURNAL_TIMEOUT", 0.2)
    script = tmp_path / "journalctl"
    script.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    logfiles.point_to_journal(log, "a.service")
    assert LOGS.text(str(log)) == ""


def test_what_is_not_there_says_nothing(log: Path) -> None:
    assert LOGS.text(str(log)) == ""
    assert not LOGS.numbered(str(log))


def test_a_very_long_log_takes_little_time_and_memory(log: Path) -> None:
    chunk = (b"x" * 1023 + b"\n") * 1024
    with log.open("wb") as stream:
        for _ in range(128):
            stream.write(chunk)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    text = LOGS.text(str(log))
    assert time.process_time() - begun < 4.0, "it takes some 0.1 s"
    assert text.count("\n") == 128 * 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 64 << 10, "KiB, of a log of twice as many"
    os.truncate(log, 0)


def test_a_log_is_read_as_its_reader_prints_it(log: Path) -> None:
    before(log).write_text(lines(1, 5))
    log.write_text(lines(5, 9))
    written = Written(log)
    assert b"".join(written.all()).decode() == LOGS.text(str(log))
    written.close()
