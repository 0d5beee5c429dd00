"""Work that a long-lived process has done by a fork of itself: it stays small and answers meanwhile, a crash of the
work is none of its own, and several go on side by side."""

import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from orchestrator.errors import OrchError
from orchestrator.model import Json

Work = Callable[[], Json]


@dataclass(frozen=True, slots=True)
class Errand:
    """A fork at work. Whoever waits for its pid then asks for its ``answer``."""

    pid: int
    reader: int

    def answer(self) -> Json:
        """What the work returned; {"error": TEXT, "final": BOOL} for an OrchError or an end without an answer. Once."""
        with os.fdopen(self.reader, "rb") as stream:
            said = stream.read()
        return json.loads(said) if said else {"error": "it was ended before it was done", "final": False}

    def end(self) -> None:
        """Asks it to leave: it finishes what may not be torn apart."""
        os.kill(self.pid, signal.SIGTERM)


def send(work: Work, settle: Callable[[], None]) -> Errand:
    """``settle`` comes first in the fork, to let go of what is the parent's alone."""
    reader, writer = os.pipe()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Other threads are not in the fork, and none of them holds a lock that the work takes.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        _do(work, settle, writer)
    os.close(writer)
    return Errand(pid, reader)


def _do(work: Work, settle: Callable[[], None], writer: int) -> NoReturn:
    status = 1
    try:
        os.setsid()  # a terminal's Ctrl-C is the parent's to hand on
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        settle()
        answer = _answer(work)
        os.write(writer, json.dumps(answer).encode())
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
