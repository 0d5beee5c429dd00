"""The local target: engines as processes of this user on this machine, each in a session of its own.

Found by marker, never by command line; signalled only when proven ours (`identity`), and then by pidfd.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import proc, shell
from orchestrator.backends.processes import CHILD_GRACE, LEADER_GRACE, Processes
from orchestrator.codec import read_spec
from orchestrator.environ import SPEC, VISIBLE
from orchestrator.errors import HostError
from orchestrator.identity import Family, adopted, families
from orchestrator.model import Attempt, Backend, Exit, Instance, Launch, Marker, Phase, Process
from orchestrator.ports import Say

if TYPE_CHECKING:
    import subprocess


class LocalReader:
    """``elsewhere`` answers the pids that another target looks after, whatever they carry."""

    def __init__(self, elsewhere: Callable[[], Set[int]] = frozenset) -> None:
        self._elsewhere = elsewhere

    @property
    def boot(self) -> str:
        return proc.boot_id()

    def list(self, project: str, attempts: Mapping[Marker, Attempt]) -> tuple[Instance, ...]:
        here = {marker: one for marker, one in attempts.items() if one.boot == self.boot}
        rows = self._rows()
        found = [_taken_over(family, here[family.marker]) for family in _adopted(rows, here)]
        theirs = {process.pid for one in found for process in one.processes}
        ours = {marker: one for marker, one in here.items() if not one.adopted}
        leaders = {marker.attempt: one.pid for marker, one in ours.items()}
        rest = _signed((row for row in rows if row.pid not in theirs), ours)
        found += [started(family) for family in families(rest, project, leaders)]
        return tuple(sorted(found, key=lambda one: (one.started_at or 0.0, one.marker.attempt)))

    def everywhere(self) -> tuple[Instance, ...]:
        rows = self._rows()
        projects = sorted({row.marker.project for row in rows if row.marker})
        return tuple(started(family) for project in projects for family in families(rows, project, {}))

    def ended(self, marker: Marker, attempt: Attempt) -> Exit | None:
        """Only a parent is told, and it was none."""
        return None

    def _rows(self) -> Sequence[Process]:
        before, rows = self._elsewhere(), proc.scan()
        others = before | self._elsewhere()  # asked twice: one may end meanwhile, another begin
        return [row for row in rows if row.pid not in others]


class Local(Processes, LocalReader):
    def __init__(
        self,
        leader_grace: float = LEADER_GRACE,
        child_grace: float = CHILD_GRACE,
        elsewhere: Callable[[], Set[int]] = frozenset,
    ) -> None:
        Processes.__init__(self, leader_grace, child_grace)
        LocalReader.__init__(self, elsewhere)
        # Our own children: only of these an exit status is to be had.
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def check(self, backend: Backend, say: Say) -> None:
        """A process can always be started."""

    def forget(self, project: str, name: str) -> None:
        """The kernel has forgotten."""

    def start(self, marker: Marker, launch: Launch, secrets: Mapping[str, str], log: Path) -> Instance:
        """Raises HostError when the program cannot be executed."""
        child = shell.spawn(launch.argv, {**launch.env, **secrets}, log.parent, log)
        self._started[child.pid] = child
        row = proc.read(child.pid)
        if row is None:  # it cannot be: an unreaped child keeps its row
            raise HostError(f"start {marker.name}", "its process vanished", f"see {log}")
        return Instance(marker, Phase.STARTING, replace(row, marker=marker), started_at=proc.started_at(row))

    def _exit(self, instance: Instance) -> Exit:
        child = self._started.get(instance.leader.pid) if instance.leader else None
        code = child.wait() if child else None
        if code is None:
            return Exit()
        return Exit(signal=-code) if code < 0 else Exit(code=code)

    def _members(self, instance: Instance) -> Sequence[Process]:
        self._reap()
        if instance.adopted:
            return _below(self._rows(), instance)
        recorded = {instance.marker.attempt: instance.leader.pid} if instance.leader else {}
        found = families(_vouched(self._rows(), instance), instance.marker.project, recorded)
        mine = [one for one in found if one.marker.attempt == instance.marker.attempt]
        return [process for one in mine for process in _processes(one)]

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


def started(family: Family) -> Instance:
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
