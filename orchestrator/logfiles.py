"""What an engine wrote, wherever it is kept: in its log, or in the journal. The log of a start whose words are in the
journal holds one line, ``journal:UNIT``, and one for whoever opens it by hand."""

import codecs
import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from threading import Event

from orchestrator import shell
from orchestrator.errors import HostError
from orchestrator.log_parts import Written, is_ours, parts
from orchestrator.shell import CommandFailed

TAIL_BYTES = 256 * 1024
LOOK_EVERY = 0.2  # seconds
JOURNAL_TIMEOUT = 60.0  # seconds; an answer takes 20 ms
COUNTED = 256 << 20
"""Bytes before the end of a log within which lines are counted, at a GB/s or more. What is rotated is shorter."""
_BLANK = 32 << 20  # lines that are counted at most
_SHORT = 128  # bytes of a line of a journal, where it is asked for a number of bytes
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
    """All of it, or so many bytes of its end, from where a line begins. A blank line stands there for each that was
    left out before, so that lines have the numbers that they have in all that `orch logs --raw` prints; but for a log
    of more than `COUNTED` bytes, and for a journal of which a part was asked for. Raises OSError or HostError."""
    if unit := unit_of(log):
        lines = [] if most is None else [f"--lines={most // _SHORT + 1}"]
        with refusals(unit):
            text = shell.run(journalctl(unit, *lines), timeout=JOURNAL_TIMEOUT).stdout
        return text if most is None else _end([text.encode(errors="replace")], most, counted=True)
    if most is None:
        return _in_file(log, most)
    with contextlib.closing(Written(log, max(most, COUNTED))) as written:
        first = written.read()
        return _end(chain((first,), written.all()), most, counted=not written.midway)


def counts(log: Path) -> bool:
    """Whether the lines of `whole` have the numbers that they have in this very file: its words are not in the journal,
    nor in other files too."""
    try:
        plain = not unit_of(log) and log.stat().st_size <= COUNTED
    except OSError:
        return False
    return plain and not (is_ours(log) and parts(log))


def _end(chunks: Iterable[bytes], most: int, *, counted: bool) -> str:
    """The last so many bytes of them, and what `whole` says of lines. Keeps no more of them in memory than those."""
    kept, size, cut = deque[bytes](), 0, 0
    for chunk in chunks:
        kept.append(chunk)
        size += len(chunk)
        while size - len(kept[0]) > most:
            gone = kept.popleft()
            size -= len(gone)
            cut += gone.count(b"\n")
    text = b"".join(kept)
    if (over := size - most) > 0:
        begins = text.find(b"\n", over - 1) + 1
        begins = begins if 0 < begins < size else over  # a single line, longer than that
        cut += text.count(b"\n", 0, begins)
        text = text[begins:]
    return "\n" * (min(cut, _BLANK) if counted else 0) + text.decode(errors="replace")


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
