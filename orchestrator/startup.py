"""How far a start has come, read off its log as that is written; or all at once, for whoever comes later."""

import time
from collections.abc import Mapping

from orchestrator.diagnosis.stages import Progress, advance, begin, spent, stamp
from orchestrator.ports import Logs
from orchestrator.stage_data import load_stages

LATE = 3.0
"""Seconds after the beginning from which on the times in the log say more than when it is read."""


class Startup:
    """``log`` as in Attempt, ``began`` in seconds since the epoch, ``version`` the engine's, "" where it is unknown."""

    def __init__(self, logs: Logs, log: str, began: float, version: str) -> None:
        self._follower = logs.follow(log)
        self._stages = load_stages(version)
        self.progress = begin(self._stages, year_seconds(began))
        self._late = time.time() - began > LATE

    def look(self) -> Progress:
        """Reads what is new."""
        while texts := self._follower.poll():
            now = year_seconds(time.time())
            for text in texts:
                at = self._when(text, now) if self._late else now
                self.progress = advance(self._stages, self.progress, text, at)
            if not self._late:
                break
        self._late = False
        return self.progress

    @property
    def now(self) -> float:
        """By the clock of `Progress`."""
        return year_seconds(time.time())

    @property
    def seconds(self) -> Mapping[str, float]:
        """Of each stage until now."""
        return {stage: round(seconds, 1) for stage, seconds in spent(self.progress, self.now).items()}

    @property
    def measured(self) -> Mapping[str, float]:
        return {name: one.value for name, one in self.progress.measured.items()}

    def close(self) -> None:
        self._follower.close()

    def _when(self, text: str, now: float) -> float:
        """An engine with a clock of another time zone tells nothing."""
        told = stamp(text)
        return told if told is not None and self.progress.at <= told <= now else self.progress.at


def year_seconds(epoch: float) -> float:
    """Seconds since the year began here, as the engine's own times are read."""
    whole = stamp(time.strftime("%m-%d %H:%M:%S", time.localtime(epoch)))
    assert whole is not None
    return whole + epoch % 1
