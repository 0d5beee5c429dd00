"""Progress of what goes on for days: each line with its time, unless the journal that takes it adds that itself."""

import os
import time

from orchestrator.cli.events import Console


class Timed(Console):
    def __init__(self) -> None:
        super().__init__()
        self._stamped = "JOURNAL_STREAM" not in os.environ

    def say(self, line: str) -> None:
        super().say(self._with_time(line))

    def progress(self, line: str) -> None:
        super().progress(self._with_time(line))

    def _with_time(self, line: str) -> str:
        return f"{time.strftime('%H:%M:%S ')}{line}" if self._stamped else line
