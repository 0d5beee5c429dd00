"""As much of a log is read as is asked for, wherever it is kept."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from fake_journal import JOURNALCTL, UNIT

from orchestrator import log_follower, log_sources, logfiles
from orchestrator.errors import HostError
from orchestrator.log_sources import Source
from orchestrator.log_view import Choice, Shown

BEGUN = datetime(2026, 11, 23, 10)


def texts(shown: list[Shown]) -> str:
    return "".join(one.text for one in shown)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty lines a minute, where a look back goes two lines far at first."""
    monkeypatch.setattr(log_sources, "BACK", 70)
    log = tmp_path / "00001-aaaaaaaa.log"
    log.write_text("".join(line(number) for number in range(200)))
    return log


def line(number: int) -> str:
    return f"INFO 11-23 10:{number // 20:02d}:{number % 20 * 3:02d} [x.py:1] {number:03d}\n"


def of(log: Path, choice: Choice | None = None, last: int | None = None) -> Source:
    return Source(log, choice or Choice(), BEGUN, last=last)


@pytest.mark.parametrize("last", [0, 1, 2, 3, 20, 199, 200, 201, 1000])
def test_the_last_lines_must_be_whole_and_followed_by_what_is_added(log: Path, last: int) -> None:
    source = of(log, last=last)
    assert texts(list(source.begin())) == "".join(line(number) for number in range(200)[max(0, 200 - last) :])
    with log.open("a") as stream:
        stream.write("added\n")
    assert texts(source.more()) == "added\n"
    source.close()


@pytest.mark.parametrize("first", [0, 1, 60, 199])
def test_what_is_older_must_not_be_shown_wherever_the_look_back_ends(log: Path, first: int) -> None:
    minute, second = divmod(first * 3, 60)
    source = of(log, Choice(since=datetime(2026, 11, 23, 10, minute, second)))
    assert texts(list(source.begin())) == "".join(line(number) for number in range(first, 200))
    source.close()


def test_of_a_long_log_no_more_must_be_read_than_it_takes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    feed = log_sources.View.feed

    def counted(view: log_sources.View, chunk: bytes) -> list[Shown]:
        nonlocal read
        read += len(chunk)
        return feed(view, chunk)

    monkeypatch.setattr(log_sources.View, "feed", counted)
    for choice, last in ((Choice(), 1), (Choice(since=datetime(2026, 11, 23, 10, 9, 57)), None)):
        read = 0
        source = of(log, choice, last)
        assert texts(list(source.begin())) == line(199)
        source.close()
        assert 0 < read <= 70


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Adds to the journal; answers what it was asked so far."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("journal", "asked"):
        (tmp_path / name).touch()
    (folder / "journalctl").write_text(JOURNALCTL.format(folder=tmp_path))
    (folder / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(log_follower, "JOURNAL_EVERY", 0.0)

    def add(text: str) -> str:
        with (tmp_path / "journal").open("a") as stream:
            stream.write(text)
        return (tmp_path / "asked").read_text()

    return add


def test_the_journal_must_be_shown_and_followed(tmp_path: Path, journal: Callable[[str], str]) -> None:
    log = tmp_path / "00001-bbbbbbbb.log"
    logfiles.point_to_journal(log, UNIT)
    source = of(log, last=2)
    assert list(source.begin()) == []
    journal("one\ntwo\nthree\n")
    assert texts(source.more()) == "one\ntwo\nthree\n"
    asked = journal("-- cursor: as an engine writes it\n")
    assert "--lines=9" in asked.splitlines()[-1]
    assert texts(source.more()) == "-- cursor: as an engine writes it\n"
    assert "--after-cursor=3" in journal("").splitlines()[-1]
    assert source.more() == []
    source.close()
    again = of(log, last=2)
    assert texts(list(again.begin())) == "three\n-- cursor: as an engine writes it\n"
    again.close()


def test_the_journal_must_know_itself_what_is_older(tmp_path: Path, journal: Callable[[str], str]) -> None:
    log = tmp_path / "00001-bbbbbbbb.log"
    logfiles.point_to_journal(log, UNIT)
    journal("no stamp\n")
    since = datetime(2026, 11, 23, 10, 30)
    source = of(log, Choice(since=since))
    assert texts(list(source.begin())) == "no stamp\n"
    assert f"--since=@{since.timestamp():.0f}" in journal("")
    source.close()


def test_a_journal_that_may_not_be_read_must_say_what_helps(tmp_path: Path, journal: Callable[[str], str]) -> None:
    log = tmp_path / "00001-bbbbbbbb.log"
    logfiles.point_to_journal(log, UNIT)
    (tmp_path / "bin/journalctl").write_text("#!/bin/sh\necho 'No journal files were opened' >&2\nexit 1\n")
    with pytest.raises(HostError, match="group systemd-journal"):
        list(of(log).begin())
