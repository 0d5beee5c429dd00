"""Which left-overs of orch's are garbage, and what `orch gc` prints of them. Pure: facts in, values out.

The files of locks are never among them, neither here nor in /tmp/orch-locks: who waits for a flock waits on the file
that it opened, and once that is removed the next one locks another file of the same name.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.columns import columns
from orchestrator.model import Instance, Json, Marker
from orchestrator.render import VERSION
from orchestrator.units import format_size

Kind = Literal["processes", "runtime", "resolution", "logs", "temporary", "download", "links"]
KINDS: tuple[Kind, ...] = ("processes", "runtime", "resolution", "logs", "temporary", "download", "links")
"""In this order they go: what a process uses is in use until it is gone."""
SETTLED = 3600.0
"""Seconds: a temporary file is written and renamed in a moment, and one that is older belongs to nobody."""
HEAD = ("WHAT", "NAME", "SIZE", "WHY", "WHERE")


@dataclass(frozen=True, slots=True)
class Garbage:
    """``paths`` are what goes, ``where`` is what a person reads of them. ``size`` in bytes: the disk that comes free,
    of processes their memory. ``kept``: why it stays all the same. ``lock``: the file whose holder may work on it."""

    kind: Kind
    name: str
    where: str
    why: str
    size: int = 0
    paths: tuple[str, ...] = ()
    lock: str = ""
    kept: str = ""
    marker: Marker | None = None

    @property
    def key(self) -> tuple[Kind, str, str]:
        """The same at two looks: of the processes of a start some may end meanwhile."""
        return self.kind, self.name, self.marker.attempt if self.marker else self.where

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Processes:
    """A start of which something lives. ``memory`` in bytes, of all its processes."""

    instance: Instance
    memory: int = 0
    lock: str = ""
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A folder of a runtime. ``marked``: it was built to its end; ``busy``: it is being built now; ``user`` says who
    would start an engine in it, ``process`` is the pid of one that runs in it."""

    key: str
    path: str
    lock: str
    marked: bool = True
    busy: bool = False
    user: str = ""
    process: int = 0


@dataclass(frozen=True, slots=True)
class Resolved:
    """A pinned set of packages. ``built``: there is a folder of a runtime for it."""

    key: str
    path: str
    lock: str
    size: int = 0
    user: str = ""
    built: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """``at`` is when it was last written, ``lock`` the file whose holder may write it. ``beside``: files that go with
    it, whose size is in ``size``."""

    path: str
    size: int = 0
    at: float = 0.0
    lock: str = ""
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Logs:
    """Of one deployment, oldest first. ``needed``: what a record or a living process speaks of. ``forgotten``: nothing
    remembers it, and nothing of it lives."""

    name: str
    folder: str
    lock: str
    logs: tuple[File, ...] = ()
    needed: frozenset[str] = frozenset()
    forgotten: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """An unfinished file of a download: what came of it, and the map of it. ``busy``: it is being fetched; ``user`` is
    who would go on with it."""

    repo: str
    cache: str
    part: File
    paths: tuple[str, ...]
    busy: bool = False
    user: str = ""


@dataclass(frozen=True, slots=True)
class Links:
    """What was laid for an environment. ``known``: a project has that one; ``broken``: what is wrong with the links."""

    environment: str
    path: str
    lock: str
    known: bool = False
    broken: tuple[str, ...] = ()
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """``unread`` are files that do not load, so that nobody knows which runtimes they use; ``project`` is the one that
    is looked from."""

    project: str
    now: float
    processes: tuple[Processes, ...] = ()
    built: tuple[Built, ...] = ()
    resolved: tuple[Resolved, ...] = ()
    logs: tuple[Logs, ...] = ()
    logs_kept: int = 10
    temporary: tuple[File, ...] = ()
    parts: tuple[Part, ...] = ()
    links: tuple[Links, ...] = ()
    unread: tuple[str, ...] = ()


def find(facts: Facts, *, parts: bool = False) -> tuple[Garbage, ...]:
    """``parts``: unfinished downloads go even where somebody would go on with them."""
    found = [
        *_processes(facts),
        *_runtimes(facts),
        *_resolutions(facts),
        *_logs(facts),
        *_temporary(facts),
        *_downloads(facts, parts=parts),
        *_links(facts),
    ]
    return tuple(sorted(found, key=lambda one: (KINDS.index(one.kind), one.name, one.where)))


def _processes(facts: Facts) -> Iterator[Garbage]:
    """An engine that `orch run` owns is that one's business, be its API server gone."""
    for one in facts.processes:
        instance = one.instance
        if instance.leader or not instance.children or instance.owned or one.busy:
            continue
        pids = ", ".join(str(process.pid) for process in instance.children)
        commands = " and ".join(dict.fromkeys(process.command for process in instance.children))
        marker = instance.marker
        name = marker.name if marker.project == facts.project else f"{marker.name} of {marker.project}"
        where = f"{'pid' if len(instance.children) == 1 else 'pids'} {pids}"
        why = f"{commands}: the API server is gone"
        yield Garbage("processes", name, where, why, one.memory, lock=one.lock, marker=marker)


def _runtimes(facts: Facts) -> Iterator[Garbage]:
    for one in facts.built:
        if one.busy or one.process:
            continue
        if not one.marked:
            yield Garbage("runtime", one.key, one.path, "its build was interrupted", paths=(one.path,), lock=one.lock)
        elif not one.user and not facts.unread:
            why = "no deployment, revision or environment uses it"
            yield Garbage("runtime", one.key, one.path, why, paths=(one.path,), lock=one.lock)


def _resolutions(facts: Facts) -> Iterator[Garbage]:
    """One whose runtime stays is what keeps that from being resolved anew."""
    going = {one.name for one in _runtimes(facts)}
    for one in facts.resolved:
        if one.busy or one.user or facts.unread or (one.built and one.key not in going):
            continue
        why = f"the pinned packages of runtime {one.key}, which nothing uses"
        yield Garbage("resolution", one.key, one.path, why, one.size, (one.path,), one.lock)


def _logs(facts: Facts) -> Iterator[Garbage]:
    for one in facts.logs:
        old = one.logs if one.forgotten else one.logs[: -facts.logs_kept]
        going = [file for file in old if file.path not in one.needed]
        if one.busy or not going:
            continue
        count = f"{len(going)} {'log' if len(going) == 1 else 'logs'}"
        why = f"{count} of a forgotten deployment" if one.forgotten else f"{count} beyond those of its last starts"
        paths = tuple(path for file in going for path in (*file.beside, file.path))
        yield Garbage("logs", one.name, one.folder, why, sum(file.size for file in going), paths, one.lock)


def _temporary(facts: Facts) -> Iterator[Garbage]:
    for one in facts.temporary:
        if facts.now - one.at > SETTLED:
            name = one.path.rpartition("/")[2]
            yield Garbage("temporary", name, one.path, "a write that was interrupted", one.size, (one.path,), one.lock)


def _downloads(facts: Facts, *, parts: bool) -> Iterator[Garbage]:
    for one in facts.parts:
        if one.busy:
            continue
        why = f"unfinished, for {one.user}" if one.user else "unfinished, and nothing goes on with it"
        kept = "a later fetch need not begin anew; --parts removes it" if one.user and not parts else ""
        yield Garbage("download", one.repo, one.part.path, why, one.part.size, one.paths, kept=kept)


def _links(facts: Facts) -> Iterator[Garbage]:
    for one in facts.links:
        if one.busy or (one.known and not one.broken):
            continue
        why = "; ".join(one.broken) or "no project has this environment any more"
        yield Garbage("links", one.environment, one.path, why, paths=(one.path,), lock=one.lock)


# -------------------------------------------------------------------------------------------------------------- text


@dataclass(frozen=True, slots=True)
class Done:
    """What became of ``garbage``: ``error`` says why it is still there."""

    garbage: Garbage
    error: str = ""


def garbage_text(found: Sequence[Garbage]) -> str:
    if not found:
        return "Nothing is left over."
    return "\n".join([*columns([HEAD, *(_row(one) for one in found)]), _sum(found)])


def _row(one: Garbage) -> tuple[str, ...]:
    why = f"{one.why}; kept: {one.kept}" if one.kept else one.why
    return one.kind, one.name, format_size(one.size) if one.size else "-", why, one.where


def _sum(found: Sequence[Garbage]) -> str:
    going = [one for one in found if not one.kept]
    if not going:
        return "nothing to be removed"
    memory = sum(one.size for one in going if one.kind == "processes")
    disk = sum(one.size for one in going if one.kind != "processes")
    amounts = [f"{format_size(size)} of {what}" for size, what in ((memory, "memory"), (disk, "disk")) if size]
    count = f"{len(going)} {'left-over' if len(going) == 1 else 'left-overs'} to be removed"
    return f"{count}: {' and '.join(amounts)}" if amounts else count


def done_text(done: Iterable[Done]) -> str:
    return "\n".join(f"removed {one.garbage.label}, {one.garbage.where}" for one in done if not one.error)


def garbage_json(found: Iterable[Garbage], done: Iterable[Done] = (), notes: Iterable[str] = ()) -> Json:
    """``removed`` is null while nothing was tried."""
    tried = {one.garbage.key: one.error for one in done}
    return {
        "version": VERSION,
        "garbage": [
            {
                "kind": one.kind,
                "name": one.name,
                "where": one.where,
                "bytes": one.size,
                "why": one.why,
                "kept": one.kept or None,
                "removed": not tried[one.key] if one.key in tried else None,
                "error": tried.get(one.key) or None,
            }
            for one in found
        ],
        "notes": list(notes),
    }


def notes(facts: Facts) -> tuple[str, ...]:
    """What could not be judged."""
    if not facts.unread or not any(one.marked and not one.user for one in facts.built):
        return ()
    files = ", ".join(facts.unread)
    return (f"runtimes are left alone, for nobody knows what is used by what cannot be read: {files}",)
