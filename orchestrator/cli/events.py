"""Progress on stderr: one line redrawn on a terminal, a line now and then elsewhere."""

import os
import sys
import threading
import time
from pathlib import Path

NOW_AND_THEN = 15.0  # seconds between progress lines where there is no terminal


class Console:
    def __init__(self, *, follow: bool = False) -> None:
        self.terminal = sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.follow = follow
        self._drawn = False
        self._last = 0.0
        self._lock = threading.Lock()
        self._follower: threading.Thread | None = None

    def say(self, line: str) -> None:
        with self._lock:
            self._wipe()
            print(line, file=sys.stderr, flush=True)  # noqa: T201 (this is where progress goes)

    def progress(self, line: str) -> None:
        with self._lock:
            if self.terminal:
                self._wipe()
                width = os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 80
                print(line[: width - 1], end="", file=sys.stderr, flush=True)  # noqa: T201
                self._drawn = True
            elif time.monotonic() - self._last >= NOW_AND_THEN:
                self._last = time.monotonic()
                print(line, file=sys.stderr, flush=True)  # noqa: T201

    def engine(self, log: str) -> None:
        if self.follow and log:
            self._follower = threading.Thread(target=self._show, args=(Path(log),), daemon=True)
            self._follower.start()

    def close(self) -> None:
        with self._lock:
            self._wipe()

    def _wipe(self) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201
            self._drawn = False

    def _show(self, log: Path) -> None:
        from orchestrator.cli.logs import follow

        for chunk in follow(log):
            with self._lock:
                self._wipe()
                sys.stderr.write(chunk)
                sys.stderr.flush()
