"""Unfinished files of downloads in the Hub's cache: which of them a later fetch would go on with, and for whom. What
other tools leave there (``*.incomplete``) is theirs."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from orchestrator.cached import User
from orchestrator.engines.repos import is_commit
from orchestrator.garbage import File, Part
from orchestrator.hub.flat import is_repo
from orchestrator.hub.layout import HASH, Repo
from orchestrator.hub.memory import Memory
from orchestrator.hub.parts import map_file, part_file
from orchestrator.leftovers.state import folders
from orchestrator.model import RepoUse


def parts(caches: Iterable[str], users: Sequence[User], memory: Memory, unread: Sequence[str]) -> Iterator[Part]:
    """``caches`` are real paths, ``unread`` are profiles of which nobody knows what they use."""
    unknown = f"all one knows of {', '.join(unread)}, which cannot be read" if unread else ""
    pulls = {(os.path.realpath(one.cache), one.repo) for one in memory.pulls()}
    for cache in sorted(set(caches)):
        for repo in (Repo(Path(cache), name_of(folder)) for folder in folders(Path(cache)) if is_repo(folder)):
            for blob in _unfinished(repo):
                busy = (cache, repo.name) in pulls
                there = [found for path in (map_file(blob), part_file(blob)) if (found := _taken(path))]
                whole = File(str(part_file(blob)), sum(one.size for one in there))
                paths = tuple(one.path for one in there)
                yield Part(repo.name, cache, whole, paths, busy, _user(repo, blob.name, users, memory) or unknown)


def name_of(folder: Path) -> str:
    """Of a repository's folder in the cache."""
    return folder.name.removeprefix("models--").replace("--", "/")


def repo_of(part: str) -> Repo:
    """The repository that an unfinished file belongs to."""
    folder = Path(part).parent.parent
    return Repo(folder.parent, name_of(folder))


def _unfinished(repo: Repo) -> list[Path]:
    """By the name the whole file would have. A folder that is a link may be anybody's."""
    blobs = repo.folder / "blobs"
    if blobs.is_symlink() or not blobs.is_dir():
        return []
    names = {path.stem for path in blobs.iterdir() if path.suffix in (".part", ".map") and not path.is_symlink()}
    return [blobs / name for name in sorted(names) if HASH.fullmatch(name)]


def _taken(path: Path) -> File | None:
    """With what it takes on the disk: it is as long as the whole file from the beginning, with holes."""
    try:
        return File(str(path), path.lstat().st_blocks * 512)
    except OSError:
        return None


def _user(repo: Repo, blob: str, users: Sequence[User], memory: Memory) -> str:
    """Who would go on with it: whose commit lists it, or nobody knows what his commit lists."""
    for user in users:
        for use in user.uses if user.cache == str(repo.cache) else ():
            if use.repo == repo.name:
                commit = _commit(repo, use, user)
                listed = memory.listing(repo, commit) if commit else None
                if listed is None or blob in {file.blob for file in listed}:
                    return user.name
    return ""


def _commit(repo: Repo, use: RepoUse, user: User) -> str | None:
    known = user.commits.get(use.slot) or (use.revision if is_commit(use.revision) else None)
    return known or repo.pinned(use.revision) or repo.ref(use.revision)
