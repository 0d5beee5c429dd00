"""orch.lock held against what profiles and environments name, and against itself: what is missing in it, what nobody
uses any more, how one lock became another. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.engines.repos import repos
from orchestrator.lockfile import EMPTY, NAME, Base, Lock, LockedModel, LockedRuntime, asked, bare, has_hash, ordered
from orchestrator.model import Json, Notice, Path, RemoteFile, RuntimeSpec, Source, Spec
from orchestrator.units import format_size


@dataclass(frozen=True, slots=True)
class Wants:
    """What profiles and environments name, with one that does: repositories by name and revision, runtimes as `asked`
    makes them. ``codes``: a model's config.json may name more, and is not here to tell."""

    models: Mapping[tuple[str, str], str] = field(default_factory=dict)
    runtimes: Mapping[RuntimeSpec, str] = field(default_factory=dict)
    codes: bool = False


def held(lock: Lock) -> Wants:
    """As if all of it were named."""
    return Wants({one.key: NAME for one in lock.models}, {one.asked: NAME for one in lock.runtimes})


def missing(lock: Lock, wants: Wants, platform: str) -> Wants:
    models = {key: who for key, who in wants.models.items() if lock.model(*key) is None}
    return Wants(models, {key: who for key, who in wants.runtimes.items() if lock.runtime(key, platform) is None})


def unused(lock: Lock, wants: Wants) -> Lock:
    """What nobody names any more. Of a runtime, every platform is wanted where one is."""
    models = (one for one in lock.models if one.key not in wants.models and not (one.code and wants.codes))
    return Lock(tuple(models), tuple(one for one in lock.runtimes if one.asked not in wants.runtimes))


def merge(lock: Lock, found: Lock, without: Lock = EMPTY) -> Lock:
    """``lock`` with what was ``found`` in place of what it held under the same keys, and ``without`` some."""
    models = {one.key: one for one in (*lock.models, *found.models) if one not in without.models}
    runtimes = {
        (one.asked, one.platform): one for one in (*lock.runtimes, *found.runtimes) if one not in without.runtimes
    }
    return ordered(Lock(tuple(models.values()), tuple(runtimes.values())))


def differences(held: LockedModel, listed: Iterable[RemoteFile]) -> list[str]:
    """How the files of a repository differ from those that are locked, in words, by path."""
    before = {one.path: (one.size, one.blob) for one in held.files}
    after = {one.path: (one.size, one.blob) for one in listed}
    changed = [path for path in sorted(before.keys() | after.keys()) if before.get(path) != after.get(path)]
    words = {True: "has another content", False: "is not in the lock"}
    return [f"{path} {words[path in before] if path in after else 'is gone'}" for path in changed]


def unheld_models(lock: Lock, spec: Spec, profile: Source) -> tuple[Notice, ...]:
    """The repositories that the lock does not hold at this revision: they are taken as without a lock."""
    found = []
    for use in repos(spec):
        if lock.model(use.repo, use.revision) is None:
            others = ", ".join(one.revision for one in lock.models if one.repo == use.repo)
            what = f"{NAME} does not hold {use.repo} at {use.revision}" + (f", but at {others}" if others else "")
            at = profile.at(*_written(use.slot, profile))
            found.append(Notice(at, what, "`orch lock` adds it", "not-locked"))
    return tuple(found)


def unheld_runtime(lock: Lock, wanted: RuntimeSpec, environment: Source, base: Base) -> tuple[Notice, ...]:
    """Likewise of packages; and of those that it names without saying what they hold."""
    if wanted.kind != "requirements":
        return ()
    at = environment.at("runtime", "requirements")
    held = lock.runtime(asked(wanted, base), base.platform)
    if held is None:
        what = f"{NAME} holds no packages for these requirements on {base.platform}"
        return (Notice(at, what, "`orch lock` adds them", "not-locked"),)
    open_ones = [_named(line)[0] for line in held.packages if not has_hash(line)]
    if not open_ones:
        return ()
    what = f"{NAME} has no hash of {', '.join(open_ones)}: whatever an index gives under that version is installed"
    return (Notice(at, what, "`orch lock --upgrade` asks the indexes for it", "no-hash"),)


def _written(slot: str, profile: Source) -> Path:
    """Where a repository is named."""
    if slot != "model":
        return ("serve", "args")
    revision: Path = ("model", "revision")
    return revision if revision in profile.positions else ("model", "repo")


# ------------------------------------------------------------------------------------------------ one and the next


@dataclass(frozen=True, slots=True)
class Change:
    """``before`` and ``after`` are a commit, or the key of a runtime; ``details`` are lines."""

    kind: Literal["model", "runtime"]
    action: Literal["added", "moved", "dropped", "missing"]
    name: str
    before: str = ""
    after: str = ""
    why: str = ""
    details: tuple[str, ...] = ()


def changes(before: Lock, after: Lock) -> tuple[Change, ...]:
    """Models first, each in the order of the file."""
    found = []
    for key in sorted({one.key for one in (*before.models, *after.models)}):
        old, new = before.model(*key), after.model(*key)
        if old != new:
            found.append(_model_change("@".join(key), old, new))
    places = [(one.asked, one.platform) for one in ordered(Lock(runtimes=(*before.runtimes, *after.runtimes))).runtimes]
    for wanted, platform in dict.fromkeys(places):
        was, now = before.runtime(wanted, platform), after.runtime(wanted, platform)
        if was != now:
            found.append(_runtime_change(f"{', '.join(wanted.requirements)} on {platform}", was, now))
    return tuple(found)


def absent(wants: Wants, platform: str) -> tuple[Change, ...]:
    """What is `missing`, as changes that were not made."""
    models = (
        Change("model", "missing", "@".join(key), why=f"{who} names it") for key, who in sorted(wants.models.items())
    )
    runtimes = (
        Change("runtime", "missing", f"{', '.join(key.requirements)} on {platform}", why=f"{who} asks for it")
        for key, who in sorted(wants.runtimes.items(), key=lambda item: item[1])
    )
    return (*models, *runtimes)


def _model_change(name: str, old: LockedModel | None, new: LockedModel | None) -> Change:
    if new is None:
        return Change("model", "dropped", name, old.commit if old else "", why="no profile names it")
    total = f"{len(new.files)} files, {format_size(sum(file.size for file in new.files))}"
    if old is None:
        return Change("model", "added", name, "", new.commit, total)
    same = tuple(differences(old, new.files)) if old.commit == new.commit else ()
    return Change("model", "moved", name, old.commit, new.commit, total, same)


def _runtime_change(name: str, old: LockedRuntime | None, new: LockedRuntime | None) -> Change:
    if new is None:
        return Change("runtime", "dropped", name, old.key if old else "", why="no environment asks for it")
    total = f"{len(new.packages)} packages, Python {new.python}"
    if old is None:
        return Change("runtime", "added", name, "", new.key, total)
    return Change("runtime", "moved", name, old.key, new.key, total, tuple(_packages(old, new)))


def _packages(old: LockedRuntime, new: LockedRuntime) -> Iterable[str]:
    if old.python != new.python:
        yield f"Python {old.python} -> {new.python}"
    before, after = (dict(_named(bare(line)) for line in one.packages) for one in (old, new))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}"
    if before == after:
        yield "the same versions, with other hashes"


def _named(line: str) -> tuple[str, str]:
    name, _, version = line.partition(" @ ") if " @ " in line else line.partition("==")
    return name, version


def change_lines(one: Change) -> list[str]:
    """For a person; the first line names it."""
    short = " -> ".join(side[:12] for side in dict.fromkeys((one.before, one.after)) if side)
    about = ", ".join(part for part in (short, one.why) if part)
    return [f"{one.action:<8} {one.name}: {about}", *(f"           {line}" for line in one.details)]


def change_json(one: Change) -> Json:
    sides = {"before": one.before or None, "after": one.after or None}
    return {"kind": one.kind, "action": one.action, "name": one.name, **sides, "details": list(one.details)}
