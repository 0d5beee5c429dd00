"""Gathers the facts, and removes what was judged to be garbage: each under the lock that protects it, after one more
look. A failure is reported, and the rest goes on."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from orchestrator import proc
from orchestrator.cached import User
from orchestrator.cuda import links
from orchestrator.errors import HostError, OrchError
from orchestrator.find import display, folder_files
from orchestrator.garbage import KINDS, Done, Facts, File, Garbage, Kind, Links, Logs, Processes, find
from orchestrator.hub.child.locks import alone as alone_with
from orchestrator.hub.memory import Memory
from orchestrator.leftovers import downloads, runtimes, state
from orchestrator.leftovers.flocks import alone
from orchestrator.leftovers.state import Remembered
from orchestrator.load import load_environment
from orchestrator.lock_store import base, read_lock
from orchestrator.locks import is_held
from orchestrator.log_parts import beside, logs_in
from orchestrator.log_rotation import LOGS_KEPT
from orchestrator.model import Instance, Marker, RuntimeSpec
from orchestrator.pins import locked
from orchestrator.ports import Clock, Say, Target, TargetReader
from orchestrator.runtimes import build

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Weighed:
    """Who uses which weights, as far as it can be read; and in which ``caches`` (real paths) to look for unfinished
    ones."""

    users: tuple[User, ...] = ()
    caches: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """Where orch keeps what. ``weigh`` is told the folders of the known projects."""

    project: str
    root: Path
    state_dir: Path
    data_dir: Path
    home: str
    memory: Memory
    target: TargetReader
    clock: Clock
    variables: Mapping[str, str]
    weigh: Callable[[Sequence[Path]], Weighed]


@dataclass(frozen=True, slots=True)
class Sweep:
    sources: Sources
    host: str = field(default_factory=lambda: os.uname().nodename)
    uid: int = field(default_factory=os.getuid)

    # -------------------------------------------------------------------------------------------------------- looking

    def look(self, kinds: Iterable[Kind] = KINDS, mine: Set[str] = frozenset()) -> Facts:
        """The facts that garbage of these kinds is judged by. ``mine`` are locks that this process holds. Raises
        HostError where something cannot be read."""
        wanted, known = set(kinds), state.remembered(self.sources.state_dir)
        facts = Facts(self.sources.project, self.sources.clock.now(), logs_kept=LOGS_KEPT)
        roots = (self.sources.root, *state.roots(self.sources.state_dir))
        if wanted & {"processes", "logs"}:
            living = self._instances(known)
            processes = tuple(_processes(one, known, self.host, mine) for one in living)
            logs = tuple(self._logs(one, living, mine) for one in known if one.host == self.host)
            facts = replace(facts, processes=processes, logs=logs)
        if wanted & {"runtime", "resolution"}:
            users, unread = self._runtime_users(known, roots)
            unread = (*unread, *_beginning(known, mine))
            data = self.sources.data_dir
            built = runtimes.built(data, users, mine)
            facts = replace(facts, built=built, resolved=tuple(runtimes.resolved(data, users, mine)), unread=unread)
        if "temporary" in wanted:
            pinned = state.temporary_in(self.sources.data_dir / "runtimes/resolved")
            facts = replace(facts, temporary=(*state.temporary(self.sources.state_dir, self.host), *pinned))
        if "download" in wanted:
            weighed = self.sources.weigh(roots)
            found = downloads.parts(weighed.caches, weighed.users, self.sources.memory, weighed.unread)
            facts = replace(facts, parts=tuple(found))
        if "links" in wanted:
            facts = replace(facts, links=tuple(self._links(known, roots, mine)))
        return facts

    def _instances(self, known: Sequence[Remembered]) -> tuple[Instance, ...]:
        """Of projects that are remembered with what their records prove; of all others by their marker, if they were
        started from this home: another one has a state of its own, and an orch that looks after it. Root sees the
        markers of every user, and leaves the others' to them."""
        here = [one for one in known if one.host == self.host]
        projects = sorted({self.sources.project, *(one.project for one in here)})
        found: list[Instance] = []
        for project in projects:
            mine = ((one.name, one.attempt) for one in here if one.project == project)
            attempts = {Marker(project, name, attempt.id): attempt for name, attempt in mine if attempt}
            found += self.sources.target.list(project, attempts)
        others = (one for one in self.sources.target.everywhere() if one.marker.project not in projects)
        found += (one for one in others if self._at_home(one))
        return tuple(one for one in found if all(_owner(process.pid) == self.uid for process in one.processes))

    def _at_home(self, instance: Instance) -> bool:
        return all(proc.environ(one.pid).get("HOME") == self.sources.home for one in instance.processes if one.marker)

    def _logs(self, one: Remembered, instances: Iterable[Instance], mine: Set[str]) -> Logs:
        folder = one.folder / "logs"
        found = [] if folder.is_symlink() else [path for path in logs_in(folder) if not path.is_symlink()]
        living = [each for each in instances if (each.marker.project, each.name) == (one.project, one.name)]
        needed = {str(folder / f"{each.marker.attempt}.log") for each in living}
        if one.record:
            needed |= {each.log for each in one.record.rejected} | ({one.attempt.log} if one.attempt else set())
        return Logs(
            one.name if one.project == self.sources.project else f"{one.name} of {one.project}",
            str(folder),
            str(one.lock),
            tuple(file for path in found if (file := _with_all_beside(path))),
            frozenset(needed),
            one.forgotten and not living,
            str(one.lock) not in mine and is_held(one.lock),
        )

    def _runtime_users(
        self, known: Sequence[Remembered], roots: Iterable[Path]
    ) -> tuple[Mapping[str, str], tuple[str, ...]]:
        """Who would start an engine in a runtime, by its key; and the files that do not tell."""
        users: dict[str, str] = {}
        unread = [display(file) for one in known for file in one.unread]
        for one in known:
            keys = one.runtimes() | {key for each in one.deployments() if (key := self._key(each.spec.runtime))}
            users |= dict.fromkeys(keys, one.name)
        for file in (file for root in dict.fromkeys(roots) for file in folder_files(root / "environments")):
            try:
                keys = self._keys(file)
            except OrchError:
                unread.append(display(file))
            else:
                users |= dict.fromkeys(keys, display(file))
        return users, tuple(unread)

    def _keys(self, file: Path) -> set[str]:
        """Of the runtime of an environment, by its project's lock and without."""
        root, runtime = file.parent.parent, load_environment(file, self.sources.variables).runtime
        by_lock = locked(runtime, read_lock(root), base(root, self.sources.variables))
        return {self._key(runtime), self._key(by_lock)} - {""}

    def _key(self, spec: RuntimeSpec) -> str:
        if spec.lock:
            return spec.lock
        resolution = build.remembered(self.sources.data_dir, spec) if spec.kind == "requirements" else None
        return resolution.key if resolution else ""

    def _links(self, known: Sequence[Remembered], roots: Iterable[Path], mine: Set[str]) -> Iterator[Links]:
        top = links.top(self.sources.home)
        lock = top / ".lock"
        names = {file.stem for root in dict.fromkeys(roots) for file in folder_files(root / "environments")}
        names |= {each.environment for one in known for each in one.deployments()}
        uncertain = bool(_beginning(known, mine))
        busy = str(lock) not in mine and is_held(lock)
        for folder in state.folders(top):
            laid, there = links.read(folder), [path for path in state.entries(folder) if path.is_symlink()]
            if laid is None and not there and not (folder / links.NOTE).is_file():
                continue
            wrong = links.broken(laid) if laid else (f"{links.NOTE} is gone or damaged",)
            broken = tuple(one.removeprefix(f"{folder}/") for one in wrong)  # where that is stands beside it
            yield Links(folder.name, str(folder), str(lock), uncertain or folder.name in names, broken, busy)

    def measured(self, found: Iterable[Garbage]) -> tuple[Garbage, ...]:
        """With the disk that each runtime takes: to add that up takes a moment."""
        return tuple(
            replace(one, size=runtimes.freed(Path(one.where))) if one.kind == "runtime" else one for one in found
        )

    # -------------------------------------------------------------------------------------------------------- removing

    def remove(self, found: Iterable[Garbage], target: Target, say: Say, *, parts: bool = False) -> Iterator[Done]:
        """What is ``kept`` stays."""
        going = [one for one in found if not one.kept]
        for kind, of_kind in groupby(going, lambda one: one.kind):
            guarded = sorted(of_kind, key=_guard)
            for _, group in groupby(guarded, _guard):
                yield from self._group(kind, list(group), target, say, parts=parts)

    def _group(self, kind: Kind, group: Sequence[Garbage], target: Target, say: Say, *, parts: bool) -> Iterator[Done]:
        """All that one lock protects."""
        left = list(group)
        try:
            with _held(group[0]):
                facts = self.look([kind], {group[0].lock})
                fresh = {one.key: one for one in find(facts, parts=parts)}
                while left:
                    one = left[0]
                    say(f"removing {one.label}")
                    yield self._one(one, fresh.get(one.key), facts, target)
                    left.pop(0)
        except OrchError as error:
            yield from (Done(one, str(error)) for one in left)

    def _one(self, agreed: Garbage, now: Garbage | None, facts: Facts, target: Target) -> Done:
        if now is None or now.kept:
            there = any(os.path.lexists(path) for path in agreed.paths)
            gone = not there and agreed.marker not in {one.instance.marker for one in facts.processes}
            return Done(agreed, "" if gone else f"cannot remove {agreed.label}: it is no left-over any more")
        paths = [Path(path) for path in now.paths if path in agreed.paths]
        try:
            if agreed.kind == "processes":
                instance = next(one.instance for one in facts.processes if one.instance.marker == now.marker)
                target.stop(instance, 0)
            elif agreed.kind == "runtime":
                build.remove(paths[0])
            elif agreed.kind == "links":
                links.take_away(paths[0])
            else:
                _unlink(paths, agreed)
        except OrchError as error:
            return Done(agreed, str(error))
        except OSError as error:
            why = f"{error.filename or agreed.where}: {error.strerror or error}"
            return Done(agreed, str(HostError(f"remove {agreed.label}", why, "make it writable")))
        return Done(agreed)


def _with_all_beside(log: Path) -> File | None:
    files = [file for path in (log, *beside(log)) if (file := state.file(path))]
    if not files or files[0].path != str(log):
        return None
    return replace(files[0], size=sum(one.size for one in files), beside=tuple(one.path for one in files[1:]))


def _guard(one: Garbage) -> str:
    """Things with the same one are removed together."""
    return str(downloads.repo_of(one.where).folder) if one.kind == "download" else one.lock


def _held(one: Garbage) -> AbstractContextManager[None]:
    if one.kind == "download":
        return _hub_alone(one)
    return alone(Path(one.lock), one.label) if one.lock else contextlib.nullcontext()


@contextlib.contextmanager
def _hub_alone(one: Garbage) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(alone_with(downloads.repo_of(one.where)))
        except BlockingIOError:
            raise HostError(f"remove {one.label}", "it is being worked on", "try again later") from None
        except OSError as error:
            why = f"{error.filename or one.where}: {error.strerror or error}"
            raise HostError(f"remove {one.label}", why, "make it writable") from error
        yield


def _unlink(paths: Iterable[Path], of: Garbage) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
    if of.kind == "logs":
        folder = Path(of.where)
        latest = folder.with_name("latest.log")
        if latest.is_symlink() and not latest.exists():
            latest.unlink()
        with contextlib.suppress(OSError):  # something is left in it
            folder.rmdir()


def _beginning(known: Iterable[Remembered], mine: Set[str]) -> tuple[str, ...]:
    """First deployments that are under way. What such a one uses is written nowhere yet, nor where its project is."""
    held = (one for one in known if one.record is None and str(one.lock) not in mine and is_held(one.lock))
    return tuple(f"{one.folder}, which is being deployed" for one in held)


def _processes(instance: Instance, known: Iterable[Remembered], host: str, mine: Set[str]) -> Processes:
    here = (one for one in known if (one.host, one.project, one.name) == (host, instance.marker.project, instance.name))
    lock = next((str(one.lock) for one in here), "")
    busy = bool(lock) and lock not in mine and is_held(Path(lock))
    return Processes(instance, sum(_resident(one.pid) for one in instance.processes), lock, busy)


def _owner(pid: int) -> int:
    """-1 for one that is gone."""
    try:
        return Path("/proc", str(pid)).stat().st_uid
    except OSError:
        return -1


def _resident(pid: int) -> int:
    try:
        return int(Path("/proc", str(pid), "statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0
