"""Engines as processes of this machine, whatever they are to the system: waited for and ended by pidfd, and only what
the target itself proves to belong to an instance."""

import contextlib
import os
import select
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator import proc
from orchestrator.errors import HostError
from orchestrator.model import Exit, Instance, Process

LEADER_GRACE = 15.0
"""Seconds beyond the drain for the API server to leave by itself: a real one took 5 with nothing to drain."""
CHILD_GRACE = 10.0
"""Seconds for its children once it is gone: they give their GPU memory back in order."""
KILL_GRACE = 15.0
"""Seconds for the kernel to take away what was killed: unmapping GPU memory takes a while."""


class Processes(ABC):
    def __init__(self, leader_grace: float = LEADER_GRACE, child_grace: float = CHILD_GRACE) -> None:
        self.leader_grace, self.child_grace = leader_grace, child_grace

    @abstractmethod
    def _members(self, instance: Instance) -> Sequence[Process]:
        """All that is left of it now, and nothing else."""

    @abstractmethod
    def _exit(self, instance: Instance) -> Exit:
        """How its leader ended, which it has."""

    def stop(self, instance: Instance, drain: float) -> None:
        """TERM goes to the leader alone: to the whole group it makes every request in flight fail."""
        told = False
        if leader := instance.leader:
            # Looked at anew: once the leader is gone, its session no longer proves whose the children are.
            children = tuple(one for one in self._members(instance) if one.pid != leader.pid)
            instance = replace(instance, children=children)
            told = proc.send(leader, signal.SIGTERM)
            for one in (leader, *children):  # what was stopped hears nothing before it goes on
                proc.send(one, signal.SIGCONT)
            self._leave([leader], drain + self.leader_grace)
        # Children of a leader that went by itself are left-overs: nobody told them to end, and waiting helps nobody.
        self._leave(self._members(instance), self.child_grace if told else 0)
        deadline = time.monotonic() + KILL_GRACE
        while members := self._members(instance):  # again and again: a dying process may still fork
            for process in members:
                proc.send(process, signal.SIGKILL)
            self._leave(members, 1.0)
            if time.monotonic() > deadline:
                pids = ", ".join(f"{one.pid} ({one.command})" for one in members)
                why = f"{pids} did not go when killed: stuck in the kernel, most likely in the GPU driver"
                raise HostError(f"stop {instance.name}", why, "see `dmesg`; such a process goes only with a reboot")

    def wait(self, instance: Instance, seconds: float) -> Exit | None:
        if instance.leader and not self._leave([instance.leader], seconds):
            return None
        return self._exit(instance) if instance.leader else Exit()

    def _leave(self, processes: Iterable[Process], seconds: float) -> bool:
        """Waits until all of these are gone, at most so long; says whether they are. A process that is our own child
        counts as gone once it is a zombie."""
        deadline = time.monotonic() + seconds
        with contextlib.ExitStack() as opened:
            waiting: set[int] = set()
            poller = select.poll()
            for process in processes:
                if (handle := proc.open_exact(process)) is not None:
                    opened.callback(os.close, handle)
                    poller.register(handle, select.POLLIN)
                    waiting.add(handle)
            while waiting and (left := deadline - time.monotonic()) > 0:
                for handle, _ in poller.poll(left * 1000):
                    poller.unregister(handle)
                    waiting.discard(handle)
        self._reap()
        return not waiting

    def _reap(self) -> None:  # noqa: B027 (a target whose engines are no children of ours has nothing to reap)
        """Takes the status of children of this process that ended."""
