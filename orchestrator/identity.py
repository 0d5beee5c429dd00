"""Which processes are provably ours. Pure: it is given rows of /proc and decides.

A process is ours when it carries orch's marker, or when it sits in a session that orch created. A session is proven
to be such when its leader is alive and marked, or when its number is the recorded pid of a leader we started and a
marked process still holds it (the kernel does not reuse a session's number while a member lives). A marked process
in someone's login shell proves nothing about the shell, and a session that two starts could claim is nobody's.

One that was adopted carries no marker, and its session is its starter's. Ours are then exactly the processes that the
record names by pid and start time on this boot, and what descends from those that live.

Nothing else is ever signalled (invariant 7).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.model import Marker, Process


@dataclass(frozen=True, slots=True)
class Family:
    """All living processes of one start. ``leader`` is the API server, None once it is gone."""

    marker: Marker
    leader: Process | None
    children: tuple[Process, ...]


def families(rows: Iterable[Process], project: str, leaders: Mapping[str, int]) -> tuple[Family, ...]:
    """One family a start of this project, sorted by name and attempt. ``leaders`` maps attempt ids to the leader pids
    that were recorded on this boot. Zombies hold nothing and are left out."""
    alive = [row for row in rows if not row.zombie]
    groups: dict[Marker, list[Process]] = {}
    for row in alive:
        if row.marker and row.marker.project == project:
            groups.setdefault(row.marker, []).append(row)
    owners = _owners(alive, groups, leaders)
    for row in alive:
        if row.marker is None and (owner := owners.get(row.session)):
            groups[owner].append(row)
    found = [_family(marker, members, leaders.get(marker.attempt)) for marker, members in groups.items()]
    return tuple(sorted(found, key=lambda one: (one.marker.name, one.marker.attempt)))


def adopted(
    rows: Iterable[Process], marker: Marker, leader: tuple[int, int], known: Iterable[tuple[int, int]] = ()
) -> Family | None:
    """The living processes of an adopted start, None without any: its API server ``leader`` and those ``known``, each
    by pid and start time, and what descends from them now. What carries a marker belongs to another start, with all
    below it; one that is older than its parent is no child of it, but of a process whose pid was free again."""
    roots = {leader, *known}
    alive = [row for row in rows if not row.zombie and row.marker is None]
    below: dict[int, list[Process]] = {}
    for row in alive:
        below.setdefault(row.parent, []).append(row)
    found: dict[int, Process] = {}
    work = [row for row in alive if (row.pid, row.start) in roots]
    while work:
        row = work.pop()
        if row.pid not in found:
            found[row.pid] = row
            work += [child for child in below.get(row.pid, ()) if child.start >= row.start]
    if not found:
        return None
    members = sorted(found.values(), key=lambda row: (row.start, row.pid))
    head = next((row for row in members if (row.pid, row.start) == leader), None)
    return Family(marker, head, tuple(row for row in members if row is not head))


def _owners(
    alive: Sequence[Process], marked: Mapping[Marker, Sequence[Process]], leaders: Mapping[str, int]
) -> dict[int, Marker]:
    """The start that created each session, where that is proven. A living, marked leader settles it."""
    led = {row.pid: row.marker for row in alive if row.pid == row.session and row.marker}
    living = {row.pid for row in alive}  # a recorded pid that lives without a mark was reused, and proves nothing
    claims: dict[int, set[Marker]] = {pid: {marker} for pid, marker in led.items() if marker in marked}
    for marker, members in marked.items():
        pid = leaders.get(marker.attempt)
        if pid is not None and pid not in living and any(row.session == pid for row in members):
            claims.setdefault(pid, set()).add(marker)
    return {session: next(iter(claim)) for session, claim in claims.items() if len(claim) == 1}


def _family(marker: Marker, members: Sequence[Process], recorded: int | None) -> Family:
    family = sorted(members, key=lambda row: (row.start, row.pid))
    leader = _leader(family, recorded)
    return Family(marker, leader, tuple(row for row in family if row is not leader))


def _leader(members: Sequence[Process], recorded: int | None) -> Process | None:
    """The recorded one, or the one that leads a session and whose own parent is not of the family. An orphan that
    made a session of its own is told apart by being a child's child: its parent was in the family, so only when no
    record is left can it be mistaken, and then the oldest wins."""
    if recorded is not None:
        return next((row for row in members if row.pid == recorded), None)
    pids = {row.pid for row in members}
    heads = [row for row in members if row.pid == row.session and row.parent not in pids]
    return min(heads, key=lambda row: (row.start, row.pid), default=None)
