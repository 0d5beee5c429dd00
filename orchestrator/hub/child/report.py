"""What the child tells while it works: JSON lines for the process that waits for it, and a file for any other."""

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from orchestrator.codec import to_json
from orchestrator.files import write_json
from orchestrator.hub.layout import Repo
from orchestrator.hub.memory import Memory
from orchestrator.model import Pull

EVERY = 0.25  # seconds between two reports to the one who waits
FILED = 1.0  # seconds between two writes of the file
WINDOW = 10.0  # seconds over which the rate is taken


class Report:
    """Counts from several threads, and tells from one of its own, also while nothing comes. ``total`` and ``done`` in
    bytes."""

    def __init__(
        self, pull: Pull, memory: Memory, repos: Mapping[Repo, str], write: Callable[[str], object] | None = None
    ) -> None:
        """``repos``: what is worked on, and the commit of each."""
        self.pull, self.memory, self.repos = pull, memory, repos
        self._write = write or _stderr
        self._counting = threading.Lock()
        self._telling = threading.Lock()
        self._came = 0  # bytes since the phase began, those that were wrong too
        self._marks: deque[tuple[float, int]] = deque()
        self._told: Pull | None = None
        self._filed = float("-inf")
        self._closed = threading.Event()
        self._teller = threading.Thread(target=self._run, daemon=True)

    def say(self, line: str) -> None:
        self._write(json.dumps({"say": line}) + "\n")

    def begin(self, doing: str, total: int, done: int, files: int, files_done: int = 0) -> None:
        """A phase; what was counted in the one before is told first."""
        if not self._teller.ident:
            self._teller.start()
        else:
            self._tell()
        with self._counting:
            self.pull = replace(self.pull, doing=doing, total=total, done=done, files=files, files_done=files_done)
            self._came = 0
            self._marks.clear()
        self._tell()

    def came(self, count: int) -> None:
        with self._counting:
            self._came += max(0, count)
            self.pull = replace(self.pull, done=self.pull.done + count)

    def file_done(self) -> None:
        with self._counting:
            self.pull = replace(self.pull, files_done=self.pull.files_done + 1)

    def close(self) -> None:
        self._closed.set()
        if self._teller.ident:
            self._teller.join()
            self._tell()
        for repo in self.repos:
            with suppress(OSError):
                self.memory.pull_file(repo).unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._closed.wait(EVERY):
            self._tell()

    def _tell(self) -> None:
        with self._telling:
            now = time.monotonic()
            with self._counting:
                self._marks.append((now, self._came))
                pull = self.pull = replace(self.pull, rate=self._rate())
            if pull != self._told:
                self._told = pull
                self._write(json.dumps({"pull": to_json(pull)}) + "\n")
            if now >= self._filed + FILED:
                self._filed = now
                self._file(pull)

    def _rate(self) -> float:
        while len(self._marks) > 2 and self._marks[0][0] < self._marks[-1][0] - WINDOW:
            self._marks.popleft()
        (then, before), (now, after) = self._marks[0], self._marks[-1]
        return (after - before) / max(now - then, EVERY)

    def _file(self, pull: Pull) -> None:
        """For `orch status` in another terminal. Never worth failing for."""
        for repo, commit in self.repos.items():
            own = to_json(replace(pull, repo=repo.name, commit=commit))
            with suppress(OSError):
                write_json(self.memory.pull_file(repo), {"pull": own}, durable=False)


def _stderr(line: str) -> None:
    """One write a line, and none once nobody listens any more."""
    try:
        os.write(sys.stderr.fileno(), line.encode())
    except OSError:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (for good)
