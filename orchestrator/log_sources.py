"""The logs that `orch logs` shows, each from where it is kept through its view (`log_view`): as much of what is there
as is asked for, then what is added."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.diagnosis.mask import mask
from orchestrator.log_follower import Journal
from orchestrator.log_parts import Written
from orchestrator.log_view import Choice, Shown, Times, View, first_stamp
from orchestrator.logfiles import refusals, unit_of
from orchestrator.shell import CommandFailed

BACK, FURTHER = 1 << 18, 8  # bytes from the end of a log, and how many times as many where they do not do
JOURNAL_LINES = 4  # that are asked for where one is to be shown: bars take some


class Source:
    """One log. Whatever reads it raises OSError or HostError."""

    def __init__(
        self,
        log: Path,
        choice: Choice,
        begun: datetime,
        hide: Callable[[str], str] = mask,
        last: int | None = None,
    ) -> None:
        """``begun``: when the first line was written, at the earliest; ``last``: so many lines are enough."""
        self.log = log
        self._choice, self._begun, self._hide, self._last = choice, begun, hide, last
        self._unit = unit_of(log)
        self._options: tuple[str, ...] = ()
        if self._unit and choice.since:  # the journal knows of every line when it came
            self._options = (f"--since=@{choice.since.timestamp():.0f}",)
            self._choice = replace(choice, since=None)
        elif self._unit and last is not None and not (choice.grep or choice.errors):
            self._options = (f"--lines={JOURNAL_LINES * last + 1}",)
        self._view, self._reader = self._open(None)

    def begin(self) -> Iterator[Shown]:
        """What is there."""
        if self._last is None:
            yield from self._from(self._back_to(self._choice.since) if self._choice.since else None)
            return
        back = BACK
        while True:
            kept = deque(self._from(back), maxlen=self._last)
            if len(kept) == self._last or not self._reader.midway:
                yield from kept
                return
            back *= FURTHER

    def more(self) -> list[Shown]:
        """What was added since."""
        return list(self._rest())

    def end(self) -> list[Shown]:
        """What the view holds back, once nothing is added any more."""
        return self._view.end()

    @property
    def drawn(self) -> str:
        return self._view.drawn

    def close(self) -> None:
        self._reader.close()

    def _open(self, back: int | None) -> tuple[View, Written | Journal]:
        view = View(self._choice, self._begun, self._hide)
        return view, Journal(self._unit, *self._options) if self._unit else Written(self.log, back)

    def _from(self, back: int | None) -> Iterator[Shown]:
        """So many bytes before the end, or from the beginning."""
        self.close()
        self._view, self._reader = self._open(back)
        first = self._read()
        if self._reader.midway:
            self._view.skip()
        yield from self._view.feed(first)
        yield from self._rest()

    def _rest(self) -> Iterator[Shown]:
        while chunk := self._read():
            yield from self._view.feed(chunk)

    def _read(self) -> bytes:
        with refusals(self._unit):
            try:
                return self._reader.read()
            except CommandFailed as error:
                if error.tail:
                    raise
                return b""  # the journal holds nothing of this unit

    def _back_to(self, since: datetime) -> int | None:
        """So far before the end that what is there was written earlier."""
        back = BACK
        while True:
            with closing(Written(self.log, back)) as probe:
                at = first_stamp(probe.read(), Times(self._begun))
                if not probe.midway:
                    return None
                if at and at < since - timedelta(seconds=1):  # others of that second may stand before it
                    return back
            back *= FURTHER
