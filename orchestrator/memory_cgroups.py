"""Where the kernel counts what it kills for want of memory: the cgroup of a process, of either version."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.proc import PROC

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_MOUNTED = re.compile(
    r"^(?:\S+ ){3}(?P<root>\S+) (?P<point>\S+) .* - (?P<system>\S+) \S+ (?P<options>\S+)$", re.MULTILINE
)
_IN = re.compile(r"^\d+:(?P<controllers>[^:\n]*):(?P<path>/.*)$", re.MULTILINE)
_FILES = ("memory.events", "memory.oom_control")  # version 2, whose counts are those of all below, and version 1


@dataclass(frozen=True, slots=True)
class _Mount:
    """``root`` is the cgroup that is seen at ``point``; ``kind`` the controller, empty for version 2."""

    kind: str
    root: PurePosixPath
    point: Path


def folder(pid: int, proc: Path = PROC) -> str:
    """The nearest cgroup of this process in which they are counted; empty where none is, or none can be seen."""
    for mount in _mounts(proc):
        for place in _places(pid, mount, proc):
            if kills(str(place)) is not None:
                return str(place)
    return ""


def kills(cgroup: str) -> int | None:
    for name in _FILES:
        if found := _COUNT.search(_read(Path(cgroup, name))):
            return int(found[1])
    return None


def _places(pid: int, mount: _Mount, proc: Path) -> Iterator[Path]:
    """From the cgroup of this process upwards."""
    for member in _IN.finditer(_read(proc / str(pid) / "cgroup")):
        if mount.kind not in member["controllers"].split(","):
            continue
        place = _seen(PurePosixPath(member["path"]), mount, pid)
        while place is not None:
            yield place
            place = place.parent if place != mount.point else None


def _seen(path: PurePosixPath, mount: _Mount, pid: int) -> Path | None:
    """A cgroup where it is mounted. One that lies elsewhere than its mount says, as in some containers, is known by
    the process in it."""
    if path.is_relative_to(mount.root) and ".." not in (inside := path.relative_to(mount.root)).parts:
        return mount.point / inside
    listed = _read(mount.point / "cgroup.procs").split()
    return mount.point if str(pid) in listed else None


def _mounts(proc: Path) -> Iterator[_Mount]:
    """Version 1's for memory before version 2: where both are, the controller is in the first."""
    mounted = list(_MOUNTED.finditer(_read(proc / "self/mountinfo")))
    for kind, system in (("memory", "cgroup"), ("", "cgroup2")):
        for one in mounted:
            if one["system"] == system and (not kind or kind in one["options"].split(",")):
                yield _Mount(kind, PurePosixPath(_plain(one["root"])), Path(_plain(one["point"])))


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
