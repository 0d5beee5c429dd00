"""Looks on while a run is under way, from /proc and the ports alone."""

import threading
from pathlib import Path

from deploy_kit import environ, fields, serves
from fakes.sandbox import all_pids

EVERY = 0.05  # seconds between two looks
LOOKS = 20  # after so many without a mark a process gets none: at first it may have been between fork and exec


class Witness:
    """``complaints`` holds what must never be: two starts of one deployment alive at once, or a port that is guarded
    and does not answer."""

    def __init__(self, home: Path) -> None:
        self.home = str(home)
        self.complaints: list[str] = []
        self._guarded: dict[str, int] = {}
        self._known: dict[int, tuple[int, list[str]]] = {}  # how often each was looked at, and its mark
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
        seen: dict[str, dict[str, tuple[int, list[str]]]] = {}
        pids = all_pids()
        self._known = {pid: self._known[pid] for pid in pids if pid in self._known}  # else a number that came back
        for pid in pids:
            if mark := self._mark(pid):
                seen.setdefault(mark[1], {})[mark[2]] = pid, fields(pid)[19:20]
        for name, attempts in seen.items():
            # Looked at twice: one may have ended, and the next begun, during the first look.
            living = [attempt for attempt, (pid, start) in attempts.items() if start and fields(pid)[19:20] == start]
            if len(living) > 1:
                self._complain(f"{name} ran twice at once: {', '.join(sorted(living))}")

    def _mark(self, pid: int) -> list[str]:
        looks, mark = self._known.get(pid, (0, []))
        if not mark and looks < LOOKS:
            found = environ(pid)
            said = found.get("ORCH_MARK", "").split("/")
            mark = said if len(said) == 4 and found.get("HOME") == self.home else []
            self._known[pid] = looks + 1, mark
        return mark

    def _complain(self, text: str) -> None:
        if text not in self.complaints:
            self.complaints.append(text)
