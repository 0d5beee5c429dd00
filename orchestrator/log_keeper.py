"""Keeps the logs of what is watched within bounds, however long it runs."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from orchestrator.errand import Errands
from orchestrator.log_rotation import too_long
from orchestrator.model import Json
from orchestrator.store import tend_logs

LOGS = "LOGS"
"""The key of its errand: to move 64 MiB may take a second."""


class LogKeeper:
    def __init__(self, folder: Path) -> None:
        """``folder`` is the project's state."""
        self._folder = folder
        self._hindered = ""  # what was said last

    def look(self, names: Iterable[str], errands: Errands) -> None:
        """Sends for what has become too long; some 50 us a deployment."""
        folders = [self._folder / name for name in names]
        if any(too_long(one / "logs") for one in folders) and not errands.is_out(LOGS):
            errands.send(LOGS, partial(_tend, folders, self._hindered))

    def heard(self, answer: Json) -> None:
        self._hindered = str(answer.get("error", ""))


def _tend(folders: Sequence[Path], known: str) -> Json:
    """What hinders it is said once."""
    hindered = "; ".join(line for folder in folders for line in tend_logs(folder))
    return {"error": hindered, "said": hindered == known} if hindered else {}
