"""What an engine wrote, wherever it is kept: in its log, or in the journal. The log of a start whose words are in the
journal holds one line, ``journal:UNIT``, and one for whoever opens it by hand."""

import codecs
import contextlib
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from orchestrator import shell
from orchestrator.errors import HostError
from orchestrator.log_parts import Written
from orchestrator.shell import CommandFailed

TAIL_BYTES = 256 * 1024
LOOK_EVERY = 0.2  # seconds
JOURNAL_TIMEOUT = 60.0  # seconds; an answer takes 20 ms
_MARK = "journal:"
_LONGEST = 300  # bytes of a unit's name and the mark
READABLE = (
    "become a member of the group systemd-journal, or have the journal kept on disk (make the folder /var/log/journal "
    "and restart systemd-journald)"
)


def point_to_journal(log: Path, unit: str) -> None:
    """Raises OSError."""
    log.write_text(f"{_MARK}{unit}\nThis start wrote into the journal: {' '.join(journalctl(unit))}\n")


def unit_of(log: Path) -> str:
    """The unit that its words are to be had by; empty when they are in the file itself."""
    try:
        with log.open("rb") as stream:
            first = stream.read(_LONGEST).partition(b"\n")[0].decode(errors="replace")
    except OSError:
        return ""
    return first.removeprefix(_MARK) if first.startswith(_MARK) else ""


def tail(log: Path, lines: int) -> tuple[str, ...]:
    """The last lines; of a line drawn over with carriage returns (a progress bar) the last state. None where nothing
    can be read."""
    if unit := unit_of(log):
        return tail_of_unit(unit, lines)
    try:
        return _last(_in_file(log, TAIL_BYTES), lines)
    except OSError:
        return ()


def tail_of_unit(unit: str, lines: int) -> tuple[str, ...]:
    """The same of what a user unit of this user wrote into the journal. Twice as many are asked for: blank ones do not
    count."""
    try:
        return _last(shell.run(journalctl(unit, f"--lines={2 * lines}"), timeout=JOURNAL_TIMEOUT).stdout, lines)
    except CommandFailed:
        return ()


def _last(text: str, lines: int) -> tuple[str, ...]:
    shown = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return tuple(deque((line for line in shown if line.strip()), maxlen=lines))


def whole(log: Path, most: int | None = None) -> str:
    """All of it, or so many bytes of its end. Raises OSError or HostError."""
    if unit := unit_of(log):
        with refusals(unit):
            text = shell.run(journalctl(unit)).stdout
            return text if most is None else text[-most:]
    return _in_file(log, most)


def follow(log: Path, ended: Event) -> Iterator[str]:
    """What is there, then what is added, until ``ended``; what was written before that is still shown. Raises OSError
    or HostError."""
    if unit := unit_of(log):
        with refusals(unit):
            yield from shell.stream(journalctl(unit, "--follow", "--no-tail"), ended, LOOK_EVERY)
        return
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    with contextlib.closing(Written(log)) as written:
        last = False
        while not last:
            last = ended.is_set()
            if chunk := written.read():
                last = False
                yield decode(chunk)
            else:
                ended.wait(LOOK_EVERY)


def _in_file(log: Path, most: int | None) -> str:
    with contextlib.closing(Written(log, most)) as written:
        return b"".join(written.all()).decode(errors="replace")


def journalctl(unit: str, *more: str) -> list[str]:
    """What its processes wrote, and not what the manager says of it; by fields, for `--user` is no help to root, whose
    words are in the system's journal."""
    fields = (f"_SYSTEMD_USER_UNIT={unit}", f"_UID={os.getuid()}")
    return ["journalctl", "--quiet", "--no-pager", "--output=cat", *more, *fields]


@contextlib.contextmanager
def refusals(unit: str) -> Iterator[None]:
    try:
        yield
    except CommandFailed as error:
        raise HostError(f"read the journal of {unit}", error.why, READABLE) from error
