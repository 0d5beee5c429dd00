"""Ctrl-C, SIGTERM and SIGHUP as one thing that can be put off: between a stop and its start nothing may be torn
apart.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class SignalInterrupts:
    """From ``install`` on, each of them raises KeyboardInterrupt in the main thread, except inside ``deferred``."""

    def __init__(self) -> None:
        self._depth = 0
        self._pending = False

    def install(self) -> "SignalInterrupts":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
                signal.signal(number, self._take)
        return self

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def check(self) -> None:
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self._depth:
            self._pending = True
            return
        raise KeyboardInterrupt
