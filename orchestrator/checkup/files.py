"""What a look at folders and devices tells; nothing here writes, and nothing raises."""

import grp
import os
import stat
from dataclasses import replace
from pathlib import Path

from orchestrator.chain.facts import Folder, Node


def text(file: Path) -> str:
    """Its content, "" when there is none to be read."""
    try:
        return file.read_text(errors="replace")
    except (OSError, ValueError):
        return ""


def names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(folder)))  # noqa: PTH208 (names alone)
    except (OSError, ValueError):
        return ()


def node(file: Path, shown: str, *, opens: bool) -> Node:
    """``opens``: really open it, which shows what a container forbids; else its permissions alone are looked at."""
    try:
        seen = file.stat()
    except OSError as error:
        return Node(shown, _reason(error), there=not isinstance(error, FileNotFoundError))
    found = Node(shown, group=_group(seen.st_gid), mode=f"{stat.S_IMODE(seen.st_mode):04o}")
    if not opens:
        may = os.access(file, os.R_OK | os.W_OK)
        return found if may else replace(found, trouble="permission denied")
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return replace(found, trouble=_reason(error))
    return found


def folder(purpose: str, path: str, mounts: Path = Path("/proc/self/mountinfo")) -> Folder:
    """Whether it can be written to, or made, as far as permissions tell."""
    near = next((one for one in (path, *map(str, Path(path).parents)) if os.path.lexists(one)), "/")
    trouble = _unwritable(near)
    try:
        seen = os.statvfs(near)
    except OSError:
        return Folder(purpose, path, trouble)
    return Folder(purpose, path, trouble, seen.f_bavail * seen.f_frsize, _disk(near, mounts))


def _unwritable(near: str) -> str:
    try:
        if not os.path.exists(near):  # noqa: PTH110 (never raises)
            return f"{near} is a link to {os.readlink(near)}, which is not there"  # noqa: PTH115
        if not os.path.isdir(near):  # noqa: PTH112 (never raises)
            return f"{near} is no folder"
        if os.statvfs(near).f_flag & os.ST_RDONLY:
            return f"{near} is on a disk that is mounted read-only"
    except OSError as error:
        return f"{near}: {_reason(error)}"
    return "" if os.access(near, os.W_OK | os.X_OK) else f"no permission to write in {near}"


def _disk(near: str, mounts: Path) -> str:
    """The mount that holds it: "/data (ext4)"."""
    real, best = os.path.realpath(near), ("", "")
    for line in text(mounts).splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = fields[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, after.split()[0])
    return f"{best[0]} ({best[1]})" if best[0] else ""


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except (KeyError, OverflowError):
        return str(number)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
