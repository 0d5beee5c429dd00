"""Progress on stderr: one line redrawn on a terminal, a line now and then elsewhere."""

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

from orchestrator.model import Pull
from orchestrator.render import pull_text

NOW_AND_THEN = 10.0  # seconds between progress lines where there is no terminal


class Console:
    """Whoever reads it may go away: then it falls silent, for progress never ends the work."""

    def __init__(self, *, follow: bool = False) -> None:
        self.terminal = sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.follow = follow
        self._drawn = False
        self._gone = False
        self._last = 0.0
        self._lock = threading.Lock()
        self._follower: threading.Thread | None = None
        self._followed = threading.Event()  # set when what is followed has ended

    def say(self, line: str) -> None:
        with self._lock:
            self._write(f"{line}\n")

    def progress(self, line: str) -> None:
        with self._lock:
            if self.terminal:
                self._write(line[: _width() - 1])
                self._drawn = True
            elif time.monotonic() - self._last >= NOW_AND_THEN:
                self._last = time.monotonic()
                self._write(f"{line}\n")

    def pull(self, pull: Pull) -> None:
        self.progress(pull_text(pull, _width() - 1 if self.terminal else 0))

    def engine(self, log: str) -> None:
        self._end_follower()
        if self.follow and log:
            self._followed = threading.Event()
            self._follower = threading.Thread(target=self._show, args=(Path(log), self._followed), daemon=True)
            self._follower.start()

    def close(self) -> None:
        self._end_follower()
        with self._lock:
            self._write("")

    def _write(self, text: str) -> None:
        """In place of the progress line, if one is drawn."""
        if self._gone:
            return
        try:
            sys.stderr.write(f"\r\x1b[K{text}" if self._drawn else text)
            sys.stderr.flush()
        except OSError:
            self._gone = True
        self._drawn = False

    def _show(self, log: Path, ended: threading.Event) -> None:
        from orchestrator.errors import HostError
        from orchestrator.logfiles import follow

        with contextlib.suppress(OSError, HostError):
            for chunk in follow(log, ended):
                with self._lock:
                    self._write(chunk)

    def _end_follower(self) -> None:
        if self._follower:
            self._followed.set()
            self._follower.join()
            self._follower = None


def _width() -> int:
    """Of the terminal; it may have been hung up meanwhile."""
    with contextlib.suppress(OSError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    return 80
