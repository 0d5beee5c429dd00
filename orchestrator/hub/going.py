"""What goes when commits are deleted from the Hub's cache, and how much disk that frees: looked at file by file, for
commits share blobs, repositories share payloads, and a blob may be a hard link to a file of somebody's.

Nothing outside of the repository's own folder ever goes, wherever a link leads.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import HostError
from orchestrator.hub import flat
from orchestrator.hub.layout import Repo
from orchestrator.hub.memory import Memory
from orchestrator.hub.models import Disk

INSIDE = ("refs", "trees", "snapshots", "blobs")
"""In this order it has to go: at no moment does a ref or a link lead to nothing."""


@dataclass(frozen=True, slots=True)
class Going:
    """``folders`` go last, with whatever they hold. ``shared`` are those of the files that are links into the store
    that repositories share, each with the payload it leads to; ``payloads`` go, too, with their bytes."""

    whole: bool
    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    shared: Mapping[Path, Path]
    payloads: Mapping[Path, int]
    freed: int
    stays: int


def going(repo: Repo, commits: Iterable[str], memory: Memory) -> Going:
    """``whole``: no commit is left, and so nothing is. Raises HostError for a folder that is not the cache's own."""
    _refuse_links(repo)
    there = set(repo.commits())
    gone = there & set(commits)
    snapshots = [repo.snapshot(commit) for commit in sorted(gone)]
    names = [path for top in snapshots for path in _below(top)]
    whole = gone == there
    if whole:
        files = sorted(_below(repo.folder), key=lambda path: (_rank(repo, path), path))
    else:
        refs = [repo.folder / "refs" / name for name, commit in repo.refs().items() if commit in gone]
        trees = [repo.folder / "trees" / f"{commit}.json" for commit in sorted(gone)]
        files = [*refs, *(one for one in trees if one.exists()), *names, *_blobs(repo, gone, there - gone, memory)]
    shared = {path: payload for path in files if (payload := _payload(repo, path))}
    payloads = {one: _disk([one]).total for one in set(shared.values()) if _last_links(repo, one, shared)}
    freed = _freed(files) | _disk(payloads).seen
    content = _disk(path for path in names if _inside(repo, path)).seen
    stays = sum(size for inode, size in content.items() if inode not in freed)
    folders = (repo.folder,) if whole else tuple(snapshots)
    return Going(whole, tuple(files), folders, shared, payloads, sum(freed.values()), stays)


def _refuse_links(repo: Repo) -> None:
    for path in (repo.folder, *(repo.folder / name for name in INSIDE)):
        if path.is_symlink():
            why = f"{path} is a link to {os.path.realpath(path)}, which may be anybody's"
            raise HostError(f"remove {repo.name}", why, "remove the link, and what it leads to, yourself")


def _below(top: Path) -> list[Path]:
    """Its files and links; of a link to a folder the link alone."""
    return [top] if top.is_symlink() else [top / path for path in flat.walk(top)]


def _rank(repo: Repo, path: Path) -> int:
    part = path.relative_to(repo.folder).parts[0]
    return INSIDE.index(part) if part in INSIDE else len(INSIDE)


def _blobs(repo: Repo, gone: Iterable[str], rest: Iterable[str], memory: Memory) -> list[Path]:
    """Whole blobs that no other commit links, and unfinished ones that no other commit lists."""
    mine, kept = _linked(repo, gone), _linked(repo, rest)
    begun = _listed(repo, gone, memory) - _listed(repo, rest, memory)
    names = (mine | begun) - kept
    return [path for path in sorted((repo.folder / "blobs").glob("*")) if path.name.partition(".")[0] in names]


def _linked(repo: Repo, commits: Iterable[str]) -> set[str]:
    """The names of the blobs that the snapshots of these commits lead to."""
    blobs = os.path.realpath(repo.folder / "blobs")
    found = set()
    for path in (path for commit in commits for path in _below(repo.snapshot(commit)) if path.is_symlink()):
        target = path.parent / path.readlink()
        if os.path.realpath(target.parent) == blobs:
            found.add(target.name)
    return found


def _listed(repo: Repo, commits: Iterable[str], memory: Memory) -> set[str]:
    return {file.blob for commit in commits for file in memory.listing(repo, commit) or ()}


# --------------------------------------------------------------------------------------------------------- the bytes


def _freed(files: Iterable[Path]) -> dict[tuple[int, int], int]:
    """Bytes by inode, of those files that no other name holds."""
    disk, names, links = Disk(), Counter[tuple[int, int]](), dict[tuple[int, int], int]()
    for path in files:
        try:
            found = path.lstat()
        except OSError:  # gone meanwhile: this may be a look without the lock
            continue
        if stat.S_ISREG(found.st_mode):
            disk.add(found, sparse=path.name.endswith(".part"))
            names[found.st_dev, found.st_ino] += 1
            links[found.st_dev, found.st_ino] = found.st_nlink
    return {inode: size for inode, size in disk.seen.items() if names[inode] == links[inode]}


def _disk(paths: Iterable[Path]) -> Disk:
    """Of what these lead to."""
    disk = Disk()
    for path in paths:
        try:
            disk.add(path.stat(), sparse=path.name.endswith(".part"))
        except OSError:
            continue
    return disk


def _inside(repo: Repo, path: Path) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(repo.cache) + os.sep)


# ------------------------------------------------------------------------------------------------- the shared store


def _payload(repo: Repo, path: Path) -> Path | None:
    """What a blob leads to in the cache's own store (huggingface_hub keeps there, since 1.32, what comes by Xet)."""
    if path.parent != repo.folder / "blobs" or not path.is_symlink():
        return None
    target = Path(os.path.realpath(path))
    return target if target.parent.parent == Path(os.path.realpath(repo.cache)) / "blobs" else None


def _last_links(repo: Repo, payload: Path, shared: Mapping[Path, Path]) -> bool:
    """Whether every link that its manifest names, and that is there, is among these. Without a manifest it stays."""
    try:
        lines = payload.with_name(f"{payload.name}.refs").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    links = {repo.cache / line for line in lines if line}
    living = {link for link in links if link.is_symlink() and Path(os.path.realpath(link)) == payload}
    return bool(living) and living <= shared.keys()
