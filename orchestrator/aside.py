"""Asks in a process of its own what may never be answered. A driver that hangs takes along whoever called it: neither
Ctrl-C nor SIGKILL reaches one that waits in the kernel. A child can be left behind."""

import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, NoReturn, TypeVar

T = TypeVar("T")
CHUNK = 1 << 16


class Aside(Generic[T]):
    """``look`` is called in a fork, and its answer, anything that can be pickled, comes back through a pipe."""

    def __init__(self, look: Callable[[], T], patience: float) -> None:
        """``patience`` in seconds."""
        self._look, self._patience = look, patience
        self._late = 0  # the child that has not answered yet
        self._answered: list[int] = []  # those still on their way out

    def ask(self) -> T:
        """Raises TimeoutError, at once while the last child still hangs; ChildProcessError when the child was ended
        before it answered; RuntimeError for what ``look`` raised."""
        self._answered = [pid for pid in self._answered if not _ended(pid)]
        if self._late and not _ended(self._late):
            raise TimeoutError
        self._late = 0
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _answer(self._look, writer)
        os.close(writer)
        try:
            said = _read(reader, time.monotonic() + self._patience)
        except BaseException:
            self._late = pid
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.close(reader)
        if not said:
            raise ChildProcessError(_how(os.waitpid(pid, 0)[1]))
        self._answered.append(pid)
        answer, error = pickle.loads(said)
        if error:
            raise RuntimeError(error)
        found: T = answer
        return found


def _answer(look: Callable[[], object], writer: int) -> NoReturn:
    """In the child. Nothing of the parent's stays open here: a lock would be held, and a pipe's reader kept waiting,
    for as long as this one hangs."""
    try:
        os.setsid()  # what a terminal sends is the parent's to judge
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        try:
            said = pickle.dumps((look(), ""))
        except Exception as error:  # noqa: BLE001 (the parent raises it)
            said = pickle.dumps((None, f"{type(error).__name__}: {error}"))
        while said:
            said = said[os.write(writer, said) :]
        os.close(writer)
    finally:
        os._exit(0)


def _read(reader: int, deadline: float) -> bytes:
    """All of it, up to its end. Raises TimeoutError."""
    said = bytearray()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError
        chunk = os.read(reader, CHUNK)
        if not chunk:
            return bytes(said)
        said += chunk


def _ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # somebody else waited for it
        return True


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"
