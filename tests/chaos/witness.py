"""Looks on while a run is under way, from /proc and the ports alone."""

import threading
from pathlib import Path

from deploy_kit import environ, fields, serves
from fakes.sandbox import all_pids

EVERY = 0.03  # seconds between two looks
SETTLED = 1.0  # seconds after which a process that carries no mark gets none: it was caught between fork and exec


class Witness:
    """``complaints`` holds what must never be: two starts of one deployment alive at once, or a port that is guarded
    and does not answer."""

    def __init__(self, home: Path) -> None:
        self.home = str(home)
        self.complaints: list[str] = []
        self._guarded: dict[str, int] = {}
        self._unmarked: dict[tuple[int, str], float] = {}  # by pid and start: how long it has been known
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def guard(self, name: str, port: int) -> None:
        """From now on this deployment has to answer."""
        self._guarded[name] = port

    def dismiss(self, name: str) -> None:
        self._guarded.pop(name, None)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._ended.wait(EVERY):
            for name, port in list(self._guarded.items()):
                if not serves(port, name) and name in self._guarded:
                    self._complain(f"{name} did not answer on port {port}")
            self._count()

    def _count(self) -> None:
        seen: dict[str, dict[str, tuple[int, str]]] = {}
        for pid in all_pids():
            if (row := fields(pid)) and (mark := self._mark(pid, row[19])):
                seen.setdefault(mark[1], {})[mark[2]] = (pid, row[19])
        for name, attempts in seen.items():
            # Looked at twice: one may have ended, and the next begun, during the first look.
            living = [attempt for attempt, (pid, start) in attempts.items() if fields(pid)[19:20] == [start]]
            if len(living) > 1:
                self._complain(f"{name} ran twice at once: {', '.join(sorted(living))}")

    def _mark(self, pid: int, start: str) -> list[str]:
        known = self._unmarked.get((pid, start), 0.0)
        if known >= SETTLED:
            return []
        found = environ(pid)
        mark = found.get("ORCH_MARK", "").split("/")
        if len(mark) == 4 and found.get("HOME") == self.home:
            return mark
        self._unmarked[pid, start] = known + EVERY
        return []

    def _complain(self, text: str) -> None:
        if text not in self.complaints:
            self.complaints.append(text)
