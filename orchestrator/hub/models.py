"""All the models on this disk, at a look: every commit in the Hub's caches, and flat folders. Writes nothing, asks
nobody, hashes nothing: of 50 models in a fraction of a second."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.cached import Cached, Found
from orchestrator.hub import flat, look
from orchestrator.hub.layout import OWN_REFS, Repo
from orchestrator.hub.look import FileState
from orchestrator.hub.memory import Memory, Stamp
from orchestrator.model import Pull, RepoUse
from orchestrator.weights import choose

Uses = Callable[[str, str], Sequence[RepoUse]]
"""How a repository is used from a cache (its real path); nothing when nobody says so."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cache of the Hub's, and the HF_HOME above it, where people put flat folders."""

    cache: Path
    home: Path


@dataclass(slots=True)
class Disk:
    """Bytes on the disk, every file once. A sparse file takes less than its size; there are file systems that keep
    small files elsewhere than in blocks, or that do not count blocks at all."""

    seen: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, found: os.stat_result, *, sparse: bool = False) -> None:
        blocks = found.st_blocks * 512
        self.seen[found.st_dev, found.st_ino] = blocks if blocks or sparse else found.st_size

    @property
    def total(self) -> int:
        return sum(self.seen.values())


def models(places: Iterable[Place], folders: Iterable[Path], uses: Uses, memory: Memory) -> Found:
    """``folders`` are flat ones, or files, that a profile names."""
    eye = _Look(uses, memory, memory.pulls())
    caches = {os.path.realpath(place.cache): place for place in reversed(list(places))}
    found = [one for real, place in sorted(caches.items()) for one in eye.cache(place.cache, real)]
    inside = [path for place in caches.values() for top in (place.home, place.cache) for path in _children(top)]
    flats = {os.path.realpath(path): path for path in (*folders, *filter(flat.is_flat, inside))}
    snapshots = {one.path for one in found}
    found += [one for real, path in sorted(flats.items()) if real not in snapshots and (one := eye.folder(path, real))]
    found.sort(key=lambda one: (not one.repo, one.repo.lower(), one.place, not one.names, one.commit))
    searched = sorted(str(place.cache) for place in caches.values())
    return Found(tuple(found), tuple(searched), eye.disk.total, eye.leftovers)


@dataclass(slots=True)
class _Look:
    uses: Uses
    memory: Memory
    pulls: Sequence[Pull]
    disk: Disk = field(default_factory=Disk)
    leftovers: dict[tuple[str, str], int] = field(default_factory=dict)

    def cache(self, cache: Path, real: str) -> Iterator[Cached]:
        timed = _notes_reading(cache)
        for folder in _children(cache):
            if flat.is_repo(folder):
                repo = Repo(cache, folder.name.removeprefix("models--").replace("--", "/"))
                found = self._repo(repo, real)
                yield from (one if timed else replace(one, read_at=None) for one in found)

    def _repo(self, repo: Repo, real: str) -> list[Cached]:
        uses = self.uses(real, repo.name)
        pulls = [one for one in self.pulls if one.repo == repo.name and os.path.realpath(one.cache) == real]
        commits, blobs, verified = repo.commits(), _blobs(repo), self.memory.verified(repo)
        names, others = _names(repo)
        found, claimed = [], set()
        for commit in commits:
            pull = next((pull for pull in pulls if pull.commit == commit or pull.commit not in commits), None)
            one = Cached(
                "cache", repo.name, str(repo.cache), real, os.path.realpath(repo.snapshot(commit)), commit,
                tuple(sorted(names.get(commit, ()))), tuple(sorted(others.get(commit, ()))), pull=pull,
            )  # fmt: skip
            one, own = self._commit(one, repo, uses, blobs, verified)
            found.append(one)
            claimed |= own
        left = Disk()
        for name in blobs.keys() - claimed:
            _add(left, blobs[name])
        self.disk.seen |= left.seen
        if commits and left.total:
            self.leftovers[repo.name, real] = left.total
        if not commits and left.total:  # else it holds some tool's note of a commit, and nothing else
            pull = next(iter(pulls), None)
            found.append(Cached("cache", repo.name, str(repo.cache), real, size=left.total, missing=1, pull=pull))
        return found

    def _commit(
        self,
        one: Cached,
        repo: Repo,
        uses: Sequence[RepoUse],
        blobs: Mapping[str, Mapping[str, os.stat_result]],
        verified: Mapping[str, Stamp],
    ) -> tuple[Cached, set[str]]:
        """With what is here of it, and the names of its blobs."""
        top = repo.snapshot(one.commit)
        held, dangling = _held(top)
        sizes = {path: found.st_size for path, found in held.items()}
        listed = self.memory.listing(repo, one.commit)
        files = listed if listed is not None else [file for file in repo.held(one.commit) if file.path in held]
        states = look.states(repo, one.commit, files, verified)
        wanted, weighty = _wanted(states, repo.name, uses, known=listed is not None)
        lacking, left = flat.lacking(top, sizes) if listed is None else (0, 0)
        if listed is None and weighty and not flat.has_weights(sizes):
            lacking, left = 1, None
        disk = Disk()
        for found in held.values():
            disk.add(found)
        own = {file.blob for file in files}
        for name in own & blobs.keys():
            _add(disk, blobs[name])
        self.disk.seen |= disk.seen
        corrupt = [f"{path} is a link to nothing" for path in dangling]
        corrupt += _wrong(states, sizes) + _set_aside(wanted, blobs)
        one = replace(
            one,
            size=disk.total,
            total=None if left is None else sum(state.file.size for state in wanted) + left,
            here=sum(state.here for state in wanted),
            unverified=sum(state.file.size for state in wanted if state.whole and not state.verified),
            missing=sum(not state.linked for state in wanted) + lacking,
            weights=not weighty or any(state.here and flat.has_weights([state.file.path]) for state in wanted),
            corrupt=tuple(corrupt),
            read_at=_read_at(held),
        )
        return one, own

    def folder(self, path: Path, real: str) -> Cached | None:
        """None for what is not there, or holds nothing."""
        held, unfinished = flat.files_of(path) if path.is_dir() else (_file(path), [])
        if not held and not unfinished:
            return None
        sizes = {name: found.st_size for name, found in held.items()}
        lacking, left = flat.lacking(path, sizes)
        if not flat.has_weights(sizes) or (unfinished and not lacking):
            lacking, left = max(1, lacking), None
        here, disk = sum(sizes.values()), Disk()
        for found in (*held.values(), *unfinished):
            disk.add(found)
        self.disk.seen |= disk.seen
        return Cached(
            "folder",
            flat.repo_of(path),
            str(path),
            path=real,
            commit=flat.commit_of(path),
            size=disk.total,
            total=None if left is None else here + left,
            here=here,
            unverified=here,
            missing=lacking,
            weights=flat.has_weights(sizes),
            read_at=_read_at(held) if _notes_reading(path) else None,
        )


def _children(top: Path) -> list[Path]:
    try:
        return sorted(path for path in top.iterdir() if path.is_dir())
    except OSError:
        return []


def _file(path: Path) -> dict[str, os.stat_result]:
    try:
        return {path.name: path.stat()} if path.is_file() else {}
    except OSError:
        return {}


def _names(repo: Repo) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """By commit the revisions that lead orch there, and those that lead only other tools there."""
    refs = repo.refs()
    plain = {name: commit for name, commit in refs.items() if not name.startswith(f"{OWN_REFS}/")}
    own = {name.removeprefix(f"{OWN_REFS}/"): commit for name, commit in refs.items() if name not in plain}
    names: dict[str, set[str]] = {}
    others: dict[str, set[str]] = {}
    for name, commit in {**plain, **own}.items():
        if name != commit:  # which is how orch holds on to a commit that no revision leads to
            names.setdefault(commit, set()).add(name)
    for name, commit in plain.items():
        if own.get(name, commit) != commit:
            others.setdefault(commit, set()).add(name)
    return names, others


def _blobs(repo: Repo) -> dict[str, Mapping[str, os.stat_result]]:
    """What is in blobs/, whole or unfinished, by hash and name."""
    found: dict[str, dict[str, os.stat_result]] = {}
    try:
        entries = list((repo.folder / "blobs").iterdir())
    except OSError:
        entries = []
    for path in entries:
        try:
            found.setdefault(path.name.partition(".")[0], {})[path.name] = path.stat()
        except OSError:
            continue
    return dict(found)


def _add(disk: Disk, files: Mapping[str, os.stat_result]) -> None:
    for name, found in files.items():
        disk.add(found, sparse=name.endswith(".part"))


def _held(top: Path) -> tuple[dict[str, os.stat_result], list[str]]:
    """What a snapshot has, by path, and the links in it that lead to nothing."""
    held, dangling = {}, []
    for path in flat.walk(top):
        try:
            held[path] = (top / path).stat()
        except OSError:
            dangling.append(path)
    return held, sorted(dangling)


def _wanted(
    states: Sequence[FileState], repo: str, uses: Sequence[RepoUse], *, known: bool
) -> tuple[list[FileState], bool]:
    """The files that somebody loads, and whether weights belong to them. ``known``: these are all that the Hub has,
    and not what the snapshot happens to hold. Where nobody says how it is used, the weights that are here are meant."""
    files = [one.file for one in states]
    named = uses or (RepoUse("model", repo),)
    if known and not flat.has_weights([file.path for file in files]):
        named = [replace(use, wants="texts") if use.wants == "weights" else use for use in named]
    choices = [(use, found) for use in named if not (found := choose(files, use)).why]
    paths = {file.path for _, found in choices for file in found.files}
    here = [one for one in states if one.here]
    if not choices or (not uses and not _weights(here) <= paths and not _weights(here) & paths):
        return here, True
    weighty = any(use.wants == "weights" and use.load_format != "dummy" for use, _ in choices)
    return [one for one in states if one.file.path in paths], weighty


def _weights(states: Iterable[FileState]) -> set[str]:
    return {one.file.path for one in states if flat.has_weights([one.file.path])}


def _wrong(states: Iterable[FileState], sizes: Mapping[str, int]) -> list[str]:
    found = ((one.file, sizes.get(one.file.path, one.file.size)) for one in states)
    return [f"{file.path} has {size} bytes and the Hub lists {file.size}" for file, size in found if size != file.size]


def _set_aside(wanted: Iterable[FileState], blobs: Mapping[str, Mapping[str, os.stat_result]]) -> list[str]:
    gone = [one.file for one in wanted if not one.here and f"{one.file.blob}.corrupt" in blobs.get(one.file.blob, {})]
    return [f"{file.path} was not what the Hub lists, and is set aside" for file in gone]


def _notes_reading(place: Path) -> bool:
    """Whether its file system notes when a file was read."""
    try:
        return not os.statvfs(place).f_flag & os.ST_NOATIME
    except OSError:
        return False


def _read_at(held: Mapping[str, os.stat_result]) -> float | None:
    """When the largest file was: the small ones are read by whoever only looks."""
    return max(held.values(), key=lambda found: found.st_size).st_atime if held else None
