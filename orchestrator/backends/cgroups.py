"""Which processes sit in a unit of orch's: asked of the kernel, without the service manager."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator import proc
from orchestrator.model import Process

HIERARCHIES = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd"))
"""Where the units' cgroups are: on today's systems the first, on older ones one of the others."""
_UNIT = re.compile(r"orch-engine-.+-[0-9]{5,9}-[0-9a-f]{8}\.service")


def members() -> Mapping[str, Sequence[Process]]:
    """What lives in each unit of this user that bears such a name; by the unit."""
    found = ((folder.name, tuple(_processes(folder))) for folder in _folders())
    return {unit: rows for unit, rows in found if rows}


def pids() -> frozenset[int]:
    """Of all of these."""
    return frozenset(pid for folder in _folders() for pid in _listed(folder))


def _folders() -> Iterator[Path]:
    uid = os.getuid()
    for top in HIERARCHIES:
        manager = top / f"user.slice/user-{uid}.slice/user@{uid}.service"
        for place in (manager, *(one for one in _inside(manager) if one.suffix == ".slice")):
            yield from (one for one in _inside(place) if _UNIT.fullmatch(one.name))


def _inside(folder: Path) -> list[Path]:
    """What is in a cgroup, which may go at any moment."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]  # noqa: PTH208 (names, not paths)
    except OSError:
        return []


def _processes(folder: Path) -> Iterator[Process]:
    """Listed again after it was read: meanwhile its pid may have become another's."""
    rows = [row for pid in _listed(folder) if (row := proc.read(pid))]
    still = set(_listed(folder))
    return (row for row in rows if row.pid in still and not row.zombie)


def _listed(folder: Path) -> Iterator[int]:
    """Of the cgroup, and of those in it that the engine itself made."""
    for place, _, _ in os.walk(folder):
        with suppress(OSError):
            yield from (int(pid) for pid in Path(place, "cgroup.procs").read_text().split())
