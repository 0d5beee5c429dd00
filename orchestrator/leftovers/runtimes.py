"""Runtimes that orch built, who uses them, and how much disk they take."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from orchestrator.files import read_json
from orchestrator.garbage import Built, Resolved
from orchestrator.leftovers.state import entries, file, folders
from orchestrator.locks import is_held
from orchestrator.runtimes.build import MARK

_KEY = re.compile(r"[0-9a-f]{12}")
_PROC = Path("/proc")


def built(data_dir: Path, users: Mapping[str, str], mine: Set[str]) -> tuple[Built, ...]:
    """``users`` says who would start an engine in a runtime, by its key; ``mine`` are locks that this process holds."""
    top = data_dir / "runtimes"
    found = [path for path in folders(top) if _KEY.fullmatch(path.name)]
    idle = [path for path in found if path.name not in users or not (path / MARK).exists()]
    processes = in_use(top) if idle else {}
    return tuple(
        Built(
            path.name,
            str(path),
            str(lock := _lock(data_dir, path.name)),
            (path / MARK).exists(),
            str(lock) not in mine and is_held(lock),
            users.get(path.name, ""),
            processes.get(path.name, 0),
        )
        for path in found
    )


def resolved(data_dir: Path, users: Mapping[str, str], mine: Set[str]) -> Iterator[Resolved]:
    for path in entries(data_dir / "runtimes/resolved"):
        key = (read_json(path) or {}).get("key") if path.suffix == ".json" and not path.is_symlink() else None
        if isinstance(key, str) and _KEY.fullmatch(key):
            lock = _lock(data_dir, key)
            busy = str(lock) not in mine and is_held(lock)
            there = (data_dir / "runtimes" / key).exists()
            size = found.size if (found := file(path)) else 0
            yield Resolved(key, str(path), str(lock), size, users.get(key, ""), there, busy)


def in_use(top: Path) -> dict[str, int]:
    """By its key each runtime that a process of this host has to do with: runs in it, has it mapped, stands in it, or
    carries its path in its command or its environment."""
    places = {os.fsencode(str(top)), os.fsencode(os.path.realpath(top))}
    pattern = re.compile(b"(?:" + b"|".join(map(re.escape, places)) + rb")/([0-9a-f]{12})(?![0-9a-f])")
    found: dict[str, int] = {}
    for pid in (entry for entry in os.listdir(_PROC) if entry.isdigit()):  # noqa: PTH208 (names, not paths)
        for key in {match.decode() for text in _texts(_PROC / pid) for match in pattern.findall(text)}:
            found.setdefault(key, int(pid))
    return found


def freed(top: Path) -> int:
    """Bytes that come free with it: not those of a file that has another name outside, as uv's cache gives it."""
    sizes: dict[tuple[int, int], int] = {}
    names: Counter[tuple[int, int]] = Counter()
    links: dict[tuple[int, int], int] = {}
    for folder, _, files in os.walk(top):
        for name in files:
            try:
                found = os.lstat(os.path.join(folder, name))  # noqa: PTH118 (tens of thousands)
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode):
                inode = found.st_dev, found.st_ino
                sizes[inode], links[inode] = found.st_blocks * 512 or found.st_size, found.st_nlink
                names[inode] += 1
    return sum(size for inode, size in sizes.items() if names[inode] == links[inode])


def _lock(data_dir: Path, key: str) -> Path:
    return data_dir / "runtimes" / f"{key}.lock"


def _texts(process: Path) -> Iterator[bytes]:
    for name in ("cmdline", "environ", "maps"):
        try:
            yield (process / name).read_bytes()
        except OSError:  # gone, or another user's
            continue
    for name in ("exe", "cwd"):
        try:
            yield os.fsencode(str((process / name).readlink()))
        except OSError:
            continue
