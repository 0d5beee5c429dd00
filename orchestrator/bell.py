"""What a watcher sleeps on: it rings when one of the heeded processes is gone, when a signal came, and when somebody
pulls it."""

import os
import select
import signal
from collections.abc import Iterable

from orchestrator import proc
from orchestrator.model import Process

_Key = tuple[int, int]  # a pid and its start name a process for good


class Bell:
    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        self._heeded: dict[_Key, int] = {}  # the pidfd of each
        self._rung: set[_Key] = set()  # those that are gone, until whoever waits has looked
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def heed(self, processes: Iterable[Process]) -> bool:
        """These, and no others, from now on; one that is gone already rings at once. Whether one that was heeded before
        is not among them."""
        wanted = {(one.pid, one.start): one for one in processes}
        lost = self._rung | self._heeded.keys() - wanted.keys()
        self._rung = set()
        for key in self._heeded.keys() & lost:
            self._forget(key)
        for key in wanted.keys() - self._heeded.keys():
            try:
                handle = proc.open_exact(wanted[key])
            except OSError:  # no descriptor is left: a later look sees what became of it
                continue
            if handle is None:
                self.pull()
            else:
                self._heeded[key] = handle
                self._poll.register(handle, select.POLLIN)
        return bool(lost)

    def pull(self) -> None:
        """From any thread."""
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:  # it rings already
            return

    def wait(self, seconds: float) -> None:
        """Until it rings, or ``seconds`` are over. Each process that is gone rings once."""
        ready = {handle for handle, _ in self._poll.poll(max(0.0, seconds) * 1000)}
        for key in [key for key, handle in self._heeded.items() if handle in ready]:
            self._rung.add(key)
            self._forget(key)
        if self._reader in ready:
            os.read(self._reader, 1 << 16)

    def abandon(self) -> None:
        """In a fork: signals are no longer heard here."""
        signal.set_wakeup_fd(-1)

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self.heed(())
        os.close(self._reader)
        os.close(self._writer)

    def _forget(self, key: _Key) -> None:
        handle = self._heeded.pop(key)
        self._poll.unregister(handle)
        os.close(handle)
