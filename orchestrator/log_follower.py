"""Reads a log as it is written, wherever it is kept, for whoever waits: asked as often as one likes, it never waits
itself."""

import math
import os
import time
from pathlib import Path

from orchestrator import shell
from orchestrator.diagnosis.pieces import Pieces
from orchestrator.logfiles import JOURNAL_TIMEOUT, _journalctl, unit_of
from orchestrator.shell import CommandFailed

MOST = 1 << 20  # bytes a look; with their patterns some 0.3 s
JOURNAL_EVERY = 1.0  # seconds between two questions to the journal: an answer takes 20 ms of a process
_CURSOR = "-- cursor: "


class LogFollower:
    """Of a log that need not be there yet. It may be cut short (what is written then comes after), or be another file
    of the same name. A log that cannot be read says nothing."""

    def __init__(self, log: Path) -> None:
        self._log, self._pieces = log, Pieces()
        self._file: int | None = None
        self._begun, self._read = False, 0
        self._unit, self._cursor, self._asked = "", "", -math.inf

    def poll(self) -> list[str]:
        """The lines, and the states of lines that are drawn over, that were ended since the last look; at most `MOST`
        bytes of them, and of the journal what came within a second. Some 7 us where there is nothing new."""
        try:
            if not self._begun:
                self._unit = unit_of(self._log)
            return self._of_journal() if self._unit else self._pieces.feed(self._of_file())
        except OSError:
            return []

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _of_file(self) -> bytes:
        if self._file is None:
            self._file = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
            self._read = 0
        here = os.fstat(self._file)
        if here.st_size < self._read:
            self._read = os.lseek(self._file, 0, os.SEEK_SET)
        if chunk := os.read(self._file, MOST):
            self._begun, self._read = True, self._read + len(chunk)
            return chunk
        there = self._log.stat()
        if (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
            return b""
        self.close()
        return b"\n"  # whoever wrote the last line of the other file does not end it here

    def _of_journal(self) -> list[str]:
        if time.monotonic() - self._asked < JOURNAL_EVERY:
            return []
        self._asked = time.monotonic()
        since = [f"--after-cursor={self._cursor}"] if self._cursor else []
        try:
            said = shell.run(_journalctl(self._unit, "--show-cursor", *since), timeout=JOURNAL_TIMEOUT).stdout
        except CommandFailed:  # as long as it holds nothing of this unit, too
            return []
        lines, mark, cursor = said.rpartition(_CURSOR)
        if mark:
            said, self._cursor = lines, cursor.strip()
        return self._pieces.feed(said.encode(errors="replace"))
