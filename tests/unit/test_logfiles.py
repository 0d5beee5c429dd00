"""What an engine wrote is found wherever it is."""

from pathlib import Path
from threading import Event

import pytest

from orchestrator import logfiles
from orchestrator.errors import HostError

UNIT = "orch-engine-lab-1234abcd-a-00001-aaaaaaaa.service"


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that prints the file ``journal``, and keeps what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "journalctl"
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat {tmp_path}/journal\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path / "journal"


def test_a_log_that_points_to_the_journal_is_read_there(tmp_path: Path, journalctl: Path) -> None:
    log = tmp_path / "00001-aaaaaaaa.log"
    logfiles.point_to_journal(log, UNIT)
    journalctl.write_text("one\n\nload 10%\rload 99%\nlast\n")
    assert logfiles.tail(log, 2) == ("load 99%", "last")
    assert f"_SYSTEMD_USER_UNIT={UNIT}" in (tmp_path / "asked").read_text()
    assert logfiles.whole(log) == journalctl.read_bytes().decode()
    assert "".join(logfiles.follow(log, Event())) == journalctl.read_bytes().decode()


def test_whoever_opens_it_by_hand_is_told_the_command(tmp_path: Path) -> None:
    log = tmp_path / "log"
    logfiles.point_to_journal(log, UNIT)
    first, second = log.read_text().splitlines()
    assert first == f"journal:{UNIT}"
    assert f"journalctl --quiet --no-pager --output=cat _SYSTEMD_USER_UNIT={UNIT}" in second


def test_a_journal_that_may_not_be_read_says_what_helps(tmp_path: Path, journalctl: Path) -> None:
    log = tmp_path / "log"
    logfiles.point_to_journal(log, UNIT)
    (tmp_path / "bin/journalctl").write_text("#!/bin/sh\necho 'No journal files were opened' >&2\nexit 1\n")
    for read in (logfiles.whole, lambda log: list(logfiles.follow(log, Event()))):
        with pytest.raises(HostError, match=r"cannot read the journal of .*No journal files.*group systemd-journal"):
            read(log)
    assert logfiles.tail(log, 5) == ()


def test_an_engine_that_writes_such_a_line_into_its_own_log_later_is_believed_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"INFO up\njournal:{UNIT}\n")
    assert logfiles.tail(log, 5) == ("INFO up", f"journal:{UNIT}")


def test_what_is_not_there_has_no_last_lines(tmp_path: Path) -> None:
    assert logfiles.tail(tmp_path / "nothing", 5) == ()
