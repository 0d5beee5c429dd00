"""Reads a log as it is written, wherever it is kept, for whoever waits: asked as often as one likes, it never waits
itself."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from orchestrator import shell
from orchestrator.diagnosis.pieces import Pieces
from orchestrator.log_parts import Written
from orchestrator.logfiles import journalctl, unit_of
from orchestrator.shell import CommandFailed

JOURNAL_EVERY = 1.0  # seconds between two questions to the journal: an answer takes 20 ms of a process
_LOOK = 60.0  # seconds; nobody but the journal ends an answer
_READINGS = 64  # of a log at one look: whoever writes faster than it is read must not keep anybody here
_CURSOR = "-- cursor: "


class Journal:
    """What a unit wrote into it, in answers to one question after the other."""

    midway = False

    def __init__(self, unit: str, *options: str) -> None:
        """``options`` are those of the first question."""
        self._unit, self._options, self._asked = unit, options, -math.inf
        self._answer: Iterator[str] | None = None
        self._last = ""  # line so far, which may be the cursor

    def again(self) -> None:
        """The next question need not wait."""
        self._asked = -math.inf

    def read(self) -> bytes:
        """The next of it; none at the end of an answer, and for a second from the question on. Raises CommandFailed,
        also where the journal holds nothing."""
        if self._answer is None:
            if time.monotonic() - self._asked < JOURNAL_EVERY:
                return b""
            self._asked = time.monotonic()
            self._answer = shell.stream(journalctl(self._unit, "--show-cursor", *self._options), Event(), _LOOK)
        try:
            for chunk in self._answer:
                text = self._last + chunk
                begins = text.rfind("\n", 0, -1) + 1
                self._last = text[begins:]
                if begins:
                    return text[:begins].encode(errors="replace")
        except CommandFailed:
            self._answer = None
            raise
        self._answer, text, self._last = None, self._last, ""
        if not text.startswith(_CURSOR):
            return text.encode(errors="replace")
        self._options = (f"--after-cursor={text.removeprefix(_CURSOR).strip()}",)
        return b""

    def close(self) -> None:
        self._answer = None


class LogFollower:
    """Of a log that need not be there yet. A log that cannot be read says nothing."""

    def __init__(self, log: Path) -> None:
        self._log, self._pieces = log, Pieces()
        self._source: Written | Journal | None = None

    def poll(self, *, last: bool = False) -> list[str]:
        """The lines, and the states of lines that are drawn over, that were ended since the last look; of a file a part
        at a time, of the journal what came within a second. None: there is nothing new, but for a line that has not
        ended yet. ``last``: the writer has ended; the journal is asked once more, whenever that was done. Some 10 us
        where there is nothing new."""
        try:
            if self._source is None:
                # What it is shows only once something stands in it.
                if not self._log.stat().st_size:
                    return []
                unit = unit_of(self._log)
                self._source = Journal(unit) if unit else Written(self._log)
            if isinstance(self._source, Journal):
                if last:
                    self._source.again()
                return self._pieces.feed(b"".join(iter(self._source.read, b"")))
            for _ in range(_READINGS):
                if not (chunk := self._source.read()):
                    break
                if lines := self._pieces.feed(chunk):
                    return lines
        except (OSError, CommandFailed):
            pass
        return []

    def close(self) -> None:
        if self._source:
            self._source.close()
