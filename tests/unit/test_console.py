"""Progress that nobody reads any more, and logs that are followed one after the other."""

import errno
import io
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.cli.events import Console
from orchestrator.logfiles import follow


class Gone(io.StringIO):
    """A stream whose reader went away."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.tried = number, 0

    def write(self, _: str) -> int:
        self.tried += 1
        raise OSError(self.number, "gone")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_reader_that_went_away_is_told_nothing_more(
    monkeypatch: pytest.MonkeyPatch, number: int, terminal: bool
) -> None:
    stream = Gone(number)
    monkeypatch.setattr(sys, "stderr", stream)
    console = Console()
    console.terminal = terminal
    console.say("one")
    console.say("two")
    console.progress("three")
    console.close()
    assert stream.tried == 1


def test_the_log_of_the_last_start_is_followed_to_its_end_before_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    first.write_text("first\n")
    second.write_text("second\n")
    before = threading.active_count()
    console = Console(follow=True)
    console.engine(str(first))
    console.engine(str(second))
    assert threading.active_count() == before + 1
    with first.open("a") as log:
        log.write("too late\n")
    console.close()
    assert threading.active_count() == before
    assert stream.getvalue() == "first\nsecond\n"


def test_a_log_that_is_gone_is_not_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    console = Console(follow=True)
    console.engine(str(tmp_path / "gone.log"))
    console.close()


def test_following_ends_with_what_was_written_before(tmp_path: Path) -> None:
    ended = threading.Event()
    ended.set()
    (tmp_path / "x.log").write_text("all\n")
    assert list(follow(tmp_path / "x.log", ended)) == ["all\n"]
