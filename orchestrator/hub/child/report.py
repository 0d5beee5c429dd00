"""What the child tells while it works: JSON lines for the process that waits for it, and a file for any other."""

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
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
    """Counts from several threads. ``total`` and ``done`` in bytes."""

    def __init__(
        self, pull: Pull, memory: Memory, repos: list[Repo], write: Callable[[str], object] | None = None
    ) -> None:
        self.pull, self.memory, self.repos = pull, memory, repos
        self._write = write or _stderr
        self._lock = threading.Lock()
        self._marks: deque[tuple[float, int]] = deque()
        self._told = self._filed = float("-inf")
        self._came = 0

    def say(self, line: str) -> None:
        self._send({"say": line})

    def begin(self, doing: str, total: int, done: int, files: int) -> None:
        with self._lock:
            self.pull = replace(self.pull, doing=doing, total=total, done=done, files=files, files_done=0, rate=0.0)
            self._marks.clear()
            self._told = self._filed = float("-inf")
        self.came(0)

    def came(self, count: int) -> None:
        now = time.monotonic()
        with self._lock:
            self._came += max(0, count)
            self.pull = replace(self.pull, done=self.pull.done + count)
            if now < self._told + EVERY:
                return
            self._told = now
            self._measure(now)
            file = now >= self._filed + FILED
            self._filed = now if file else self._filed
            pull = self.pull
        self._send({"pull": to_json(pull)})
        if file:
            self._file(pull)

    def file_done(self) -> None:
        with self._lock:
            self.pull = replace(self.pull, files_done=self.pull.files_done + 1)

    def close(self) -> None:
        for repo in self.repos:
            self.memory.pull_file(repo).unlink(missing_ok=True)

    def _measure(self, now: float) -> None:
        self._marks.append((now, self._came))
        while len(self._marks) > 2 and self._marks[0][0] < now - WINDOW:
            self._marks.popleft()
        (then, before), (last, after) = self._marks[0], self._marks[-1]
        self.pull = replace(self.pull, rate=(after - before) / (last - then) if last > then else 0.0)

    def _send(self, event: dict[str, object]) -> None:
        self._write(json.dumps(event) + "\n")

    def _file(self, pull: Pull) -> None:
        """For `orch status` in another terminal. Never worth failing for."""
        for repo in self.repos:
            try:
                write_json(self.memory.pull_file(repo), {"pull": to_json(replace(pull, repo=repo.name))}, durable=False)
            except OSError:
                return


def _stderr(line: str) -> None:
    """One write a line, and none once nobody listens any more."""
    try:
        os.write(sys.stderr.fileno(), line.encode())
    except OSError:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (for good)
