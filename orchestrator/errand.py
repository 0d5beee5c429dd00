"""Work that a long-lived process has done by a fork of itself: it stays small and answers meanwhile, a crash of the
work is none of its own, and several go on side by side."""

import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NoReturn

from orchestrator.errors import OrchError
from orchestrator.model import Json

Work = Callable[[], Json]
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Errands:
    """Those that are out, each under a key of which there is one at a time."""

    def __init__(self, settle: Callable[[], None]) -> None:
        """``settle`` comes first in each fork, to let go of what is the parent's alone."""
        self._settle = settle
        self._out: dict[int, tuple[str, int]] = {}  # by pid: the key, and where the answer will be

    def __bool__(self) -> bool:
        return bool(self._out)

    def is_out(self, key: str) -> bool:
        return any(key == one for one, _ in self._out.values())

    def send(self, key: str, work: Work) -> None:
        answer = os.memfd_create("errand")  # no pipe: nobody reads before the end, and it may be long
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until the fork hears them for itself
        try:
            with warnings.catch_warnings():
                # Other threads are not in the fork, and none of them holds a lock that the work takes.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                _do(work, self._settle, answer)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._out[pid] = key, answer

    def returned(self, ended: Iterable[int]) -> Iterator[tuple[str, Json]]:
        """Of these processes the errands, each with what its work returned; {"error": TEXT, "final": BOOL} for an
        OrchError, or an end without an answer."""
        for pid in ended:
            if pid in self._out:
                key, answer = self._out.pop(pid)
                with os.fdopen(answer, "rb") as stream:
                    stream.seek(0)
                    said = stream.read()
                yield key, json.loads(said) if said else {"error": "it was ended before it was done", "final": False}

    def end(self) -> None:
        """Asks all to leave: they finish what may not be torn apart."""
        for pid in self._out:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _do(work: Work, settle: Callable[[], None], answer: int) -> NoReturn:
    status = 1
    try:
        os.setsid()  # a terminal's Ctrl-C is the parent's to hand on
        for number in (*ENDING, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        settle()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        said = json.dumps(_answer(work))
        with os.fdopen(answer, "w") as stream:
            stream.write(said)
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def _answer(work: Work) -> Json:
    try:
        return work()
    except OrchError as error:
        return {"error": str(error), "final": error.final}
    except KeyboardInterrupt:
        return {"error": "it was interrupted", "final": False}
    except Exception as error:  # noqa: BLE001 (a mistake of ours ends this errand, and not the watcher)
        traceback.print_exc()
        return {"error": f"{type(error).__name__} inside orch, which is a mistake in it", "final": False}
