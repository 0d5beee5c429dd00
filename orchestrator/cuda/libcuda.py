"""The driver's libcuda on this host: every file that could be it, and of each whether it is. Looks at files and asks
`ldconfig`; that one loads is shown by `trials`."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cuda.places import Places
from orchestrator.shell import CommandFailed, run

NAME = "libcuda.so.1"
LINK = "libcuda.so"
GIVEN = "the environment file"
MACHINES = {"x86_64": 62, "aarch64": 183, "ppc64le": 21}  # e_machine of <elf.h>
LDCONFIG_TIMEOUT = 20.0  # seconds
_ROW = re.compile(r"\s*(\S+) \(.*\) => (/.*)")
_VERSIONED = re.compile(r"libcuda\.so\.[0-9]+\.[0-9.]+")


@dataclass(frozen=True, slots=True)
class Candidate:
    """``real`` is where ``path`` leads in the end, ``found`` how it was come by. ``why`` it is not the driver's
    library; empty for one that is, as far as a look tells. ``init`` is what its cuInit answered when it was asked."""

    path: str
    real: str
    found: str
    why: str = ""
    init: int | None = None

    @property
    def good(self) -> bool:
        return not self.why


@dataclass(frozen=True, slots=True)
class Listing:
    """What `ldconfig -p` prints, as (name, path); ``why`` it prints nothing."""

    rows: tuple[tuple[str, str], ...] = ()
    why: str = ""


def listing(places: Places) -> Listing:
    """Runs one process, when there is an ldconfig and, below another root, a cache."""
    program = places.ldconfig
    if program is None:
        return Listing(why=f"there is no {places.ldconfigs[0]}")
    usual = places.cache is None and places.root == Path("/")
    named = [] if usual else ["-C", str(places.cache_file)]
    try:
        printed = run([program, "-p", *named], env={"PATH": os.defpath, "LC_ALL": "C"}, timeout=LDCONFIG_TIMEOUT).stdout
    except CommandFailed as error:
        said = "".join(error.tail).strip()  # one sentence, which it breaks before the colon
        return Listing(why=said.removeprefix(f"{program}: ") or error.why)
    rows = (_ROW.fullmatch(line) for line in printed.splitlines())
    return Listing(tuple((row[1], row[2]) for row in rows if row))


def candidates(places: Places, listed: Listing | None = None) -> tuple[Candidate, ...]:
    """Best first, each file once. A library that the environment file names comes before all others."""
    found: dict[str, Candidate] = {}
    for path, how in _paths(places, listed if listed is not None else listing(places)):
        if places.not_in and path.startswith(f"{places.not_in}/"):
            continue
        real = os.path.realpath(path)
        found.setdefault(real, Candidate(path, real, how, flaw(path, real, places.machine)))
    return tuple(found.values())


def _paths(places: Places, listed: Listing) -> Iterator[tuple[str, str]]:
    if places.given:
        yield places.given, GIVEN
    yield from ((path, "ldconfig") for name, path in listed.rows if name == NAME)
    for folder, how in places.folders():
        yield from ((str(folder / name), how) for name in names_in(folder))


def names_in(folder: Path) -> list[str]:
    """What is called libcuda there: by the name that is loaded, with the driver's version, and that to link with."""
    try:
        names = {entry for entry in os.listdir(folder) if entry.startswith(LINK)}  # noqa: PTH208 (thousands of entries)
    except OSError:
        return []
    versioned = sorted(name for name in names if _VERSIONED.fullmatch(name))
    return [name for name in (NAME, *versioned, LINK) if name in names]


def flaw(path: str, real: str, machine: str) -> str:
    """Why this file cannot be the driver's library, or "". Reads its first bytes."""
    if not os.path.lexists(path):
        return "there is no such file"
    if "stubs" in {*Path(path).parts, *Path(real).parts}:
        return "it is a toolkit's stub, which serves linking alone"
    try:
        with Path(real).open("rb") as stream:
            head = stream.read(20)
    except FileNotFoundError:
        return f"it points to {real}, which is gone"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return _elf_flaw(head, machine)


def _elf_flaw(head: bytes, machine: str) -> str:
    if len(head) < 20 or not head.startswith(b"\x7fELF"):
        return "it is no ELF file"
    order: str = "big" if head[5] == 2 else "little"
    kind, target = (int.from_bytes(head[at : at + 2], order) for at in (16, 18))  # type: ignore[arg-type]
    if kind != 3:
        return "it is no shared library"
    if target != MACHINES.get(machine, target):
        return f"it was built for another machine than {machine}"
    return ""
