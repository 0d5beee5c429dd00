"""How far a start has come, read off its log as that is written; or all at once, for whoever comes later."""

import time
from collections.abc import Mapping
from functools import lru_cache

from orchestrator.diagnosis.stages import Progress, advance, begin, spent, written
from orchestrator.ports import Logs
from orchestrator.stage_data import load_stages

LATE = 3.0
"""Seconds after the beginning from which on the times in the log say more than when it is read."""
_HALF_A_YEAR = 183 * 86400.0


class Startup:
    """``log`` as in Attempt, ``began`` in seconds since the epoch, as all times here are; ``version`` the engine's, ""
    where it is unknown."""

    def __init__(self, logs: Logs, log: str, began: float, version: str) -> None:
        self._follower = logs.follow(log)
        self._stages = load_stages(version)
        self.progress = begin(self._stages, began)
        self._zero = time.time() - time.monotonic()  # a clock that is set meanwhile changes nothing
        self._late = self.now - began > LATE

    def look(self, *, last: bool = False) -> Progress:
        """Reads what is new; ``last``: all that there is, for nothing comes any more."""
        while texts := self._follower.poll(last=last):
            now = self.now
            for text in texts:
                at = self._when(text, now) if self._late else now
                self.progress = advance(self._stages, self.progress, text, at)
            if not (self._late or last):
                break
        self._late = False
        return self.progress

    @property
    def now(self) -> float:
        return self._zero + time.monotonic()

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
        told = epoch(text, now)
        return told if told is not None and self.progress.at <= told <= now else self.progress.at


def epoch(text: str, now: float) -> float | None:
    """When a line was written, by the engine's own words, which name no year: the last time that it was that day."""
    if (parts := written(text)) is None:
        return None
    year = time.localtime(now).tm_year
    told = _made(year, parts)
    return _made(year - 1, parts) if told is not None and told > now + _HALF_A_YEAR else told


@lru_cache(1024)  # many lines of a second
def _made(year: int, parts: tuple[int, int, int, int, int]) -> float | None:
    try:
        return time.mktime((year, *parts, 0, 0, -1))
    except (OverflowError, ValueError):
        return None
