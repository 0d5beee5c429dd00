"""The local target: engines as processes of this user on this machine, each in a session of its own.

Found by marker, never by command line; signalled only when proven ours (`identity`), and then by pidfd.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import proc, shell
from orchestrator.codec import read_spec
from orchestrator.environ import SPEC, VISIBLE
from orchestrator.errors import HostError
from orchestrator.identity import Family, adopted, families
from orchestrator.model import Attempt, Instance, Launch, Marker, Phase, Process
from orchestrator.ports import Exit

if TYPE_CHECKING:
    import subprocess

LEADER_GRACE = 15.0
"""Seconds beyond the drain for the API server to leave by itself: a real one took 5 with nothing to drain."""
CHILD_GRACE = 10.0
"""Seconds for its children once it is gone: they give their GPU memory back in order."""
KILL_GRACE = 15.0
"""Seconds for the kernel to take away what was killed: unmapping GPU memory takes a while."""


class LocalReader:
    @property
    def boot(self) -> str:
        return proc.boot_id()

    def list(self, project: str, attempts: Mapping[Marker, Attempt]) -> tuple[Instance, ...]:
        here = {marker: one for marker, one in attempts.items() if one.boot == self.boot}
        rows = proc.scan()
        found = [_taken_over(family, here[family.marker]) for family in _adopted(rows, here)]
        theirs = {process.pid for one in found for process in one.processes}
        ours = {marker: one for marker, one in here.items() if not one.adopted}
        leaders = {marker.attempt: one.pid for marker, one in ours.items()}
        rest = _signed((row for row in rows if row.pid not in theirs), ours)
        found += [_instance(family) for family in families(rest, project, leaders)]
        return tuple(sorted(found, key=lambda one: (one.started_at or 0.0, one.marker.attempt)))

    def everywhere(self) -> tuple[Instance, ...]:
        rows = proc.scan()
        projects = sorted({row.marker.project for row in rows if row.marker})
        return tuple(_instance(family) for project in projects for family in families(rows, project, {}))


class Local(LocalReader):
    def __init__(self, leader_grace: float = LEADER_GRACE, child_grace: float = CHILD_GRACE) -> None:
        self.leader_grace, self.child_grace = leader_grace, child_grace
        # Our own children: only of these an exit status is to be had.
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, marker: Marker, launch: Launch, secrets: Mapping[str, str], log: Path) -> Instance:
        """Raises HostError when the program cannot be executed."""
        child = shell.spawn(launch.argv, {**launch.env, **secrets}, log.parent, log)
        self._started[child.pid] = child
        row = proc.read(child.pid)
        if row is None:  # it cannot be: an unreaped child keeps its row
            raise HostError(f"start {marker.name}", "its process vanished", f"see {log}")
        return Instance(marker, Phase.STARTING, replace(row, marker=marker), started_at=proc.started_at(row))

    def stop(self, instance: Instance, drain: float) -> None:
        """TERM goes to the leader alone: to the whole group it makes every request in flight fail."""
        told = False
        if leader := instance.leader:
            # Looked at anew: once the leader is gone, its session no longer proves whose the children are.
            children = tuple(one for one in self._members(instance) if one.pid != leader.pid)
            instance = replace(instance, children=children)
            told = proc.send(leader, signal.SIGTERM)
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
        return self._exit(instance.leader.pid) if instance.leader else Exit()

    def _exit(self, pid: int) -> Exit:
        child = self._started.get(pid)
        code = child.wait() if child else None
        if code is None:
            return Exit()
        return Exit(signal=-code) if code < 0 else Exit(code=code)

    def _members(self, instance: Instance) -> Sequence[Process]:
        self._reap()
        if instance.adopted:
            return _below(proc.scan(), instance)
        recorded = {instance.marker.attempt: instance.leader.pid} if instance.leader else {}
        found = families(_vouched(proc.scan(), instance), instance.marker.project, recorded)
        mine = [one for one in found if one.marker.attempt == instance.marker.attempt]
        return [process for one in mine for process in _processes(one)]

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

    def _reap(self) -> None:
        for child in self._started.values():
            child.poll()


def _adopted(rows: Sequence[Process], attempts: Mapping[Marker, Attempt]) -> list[Family]:
    """One family an adopted start that has anything left; a process belongs to one at most."""
    found: list[Family] = []
    for marker in sorted((marker for marker, one in attempts.items() if one.adopted), key=lambda one: one.name):
        one = attempts[marker]
        taken = {process for family in found for process in _processes(family)}
        left = [row for row in rows if row not in taken]
        if family := _steady(left, marker, (one.pid, one.start), one.family):
            found.append(family)
    return found


def _steady(
    rows: Iterable[Process], marker: Marker, leader: tuple[int, int], known: Iterable[tuple[int, int]]
) -> Family | None:
    """As `identity.adopted`, by two looks at each: while the rows were read, a pid may have become another's."""
    if (first := adopted(rows, marker, leader, known)) is None:
        return None
    again = [(row, proc.read(row.pid)) for row in _processes(first)]
    return adopted([now for row, now in again if now and now.start == row.start], marker, leader, known)


def _below(rows: Sequence[Process], instance: Instance) -> Sequence[Process]:
    """All that is left of an adopted instance: what was seen of it, and what descends from that now."""
    head = (instance.leader.pid, instance.leader.start) if instance.leader else (0, 0)
    family = _steady(rows, instance.marker, head, [(one.pid, one.start) for one in instance.processes])
    return _processes(family) if family else ()


def _taken_over(family: Family, attempt: Attempt) -> Instance:
    """What it was started with is in its record, not in its environment."""
    return Instance(
        marker=family.marker,
        phase=Phase.STARTING if family.leader else Phase.FAILED,
        leader=family.leader,
        children=family.children,
        spec=attempt.deployment.spec,
        started_at=min(proc.started_at(one) for one in _processes(family)),
        log=attempt.log,
        gpus=attempt.gpus,
        adopted=True,
    )


def _processes(family: Family) -> tuple[Process, ...]:
    return (*((family.leader,) if family.leader else ()), *family.children)


def _signed(rows: Iterable[Process], attempts: Mapping[Marker, Attempt]) -> Sequence[Process]:
    """Signs those whose environment was blanked by what else is proof: they sit in the session of a recorded leader
    and write its log, which nobody does who merely got a number that was free again."""
    sessions = {one.pid: (marker, one.log) for marker, one in attempts.items()}
    signed = []
    for row in rows:
        marker, log = sessions.get(row.session, (None, ""))
        writes = marker is not None and row.marker is None and bool(log) and proc.output(row.pid) == log
        signed.append(replace(row, marker=marker) if writes else row)
    return signed


def _vouched(rows: Iterable[Process], instance: Instance) -> Sequence[Process]:
    """Signs what was proven when ``instance`` was looked at: a pid with its start time names a process for good. While
    one of these, be it a zombie, holds the session that the leader made, no other session can have its number."""
    listed = list(rows)
    known = {(one.pid, one.start) for one in instance.processes}
    proven = {row.pid for row in listed if (row.pid, row.start) in known}
    session = instance.leader.pid if instance.leader else 0
    ours = {session} & {row.session for row in listed if row.pid in proven}
    return [
        replace(row, marker=instance.marker)
        if row.marker is None and (row.pid in proven or row.session in ours)
        else row
        for row in listed
    ]


def _instance(family: Family) -> Instance:
    members = _processes(family)
    texts = (proc.environ(one.pid).get(SPEC) for one in members if one.marker)
    spec = next((read_spec(text) for text in texts if text), None)
    return Instance(
        marker=family.marker,
        phase=Phase.STARTING if family.leader else Phase.FAILED,
        leader=family.leader,
        children=family.children,
        spec=spec,
        started_at=min(proc.started_at(one) for one in members),
        owned=_owner_lives(family.marker),
        gpus=_gpus(members),
    )


def _gpus(members: Iterable[Process]) -> tuple[str, ...]:
    texts = (proc.environ(one.pid).get(VISIBLE) for one in members if one.marker)
    visible = next((text for text in texts if text is not None), "")
    return tuple(part.strip() for part in visible.split(",") if part.strip())


def _owner_lives(marker: Marker) -> bool:
    pid, _, start = marker.owner.partition(":")
    row = proc.read(int(pid)) if pid.isdigit() else None
    return row is not None and str(row.start) == start and not row.zombie
