"""The links to libcuda that were laid for an environment: HOME/.local/lib/orch/ENVIRONMENT/libcuda.so.1, libcuda.so and
laid.json, which says what they are and is what makes them count. Nothing outside that folder is ever touched.

Where they are loaded through, the driver's other libraries are linked, too: libcuda looks for them by name, as it does
for its PTX compiler, and whoever does not find the one finds none of the others. Each link leads to the path that was
found, so that an update of the driver does not break it.

A link holds no data: one in that folder may be replaced. A file or a folder that stands where a link should is
somebody's, and stays.
"""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cuda.libcuda import LINK, NAME
from orchestrator.errors import HostError
from orchestrator.files import make_folder, read_json, write_json, write_text
from orchestrator.model import Laid

NOTE = "laid.json"
SCHEMA = 1
_COMPANION = re.compile(r"lib(nvidia-[\w.+-]+|cudadebugger|nvcuvid|nvoptix|dxcore|d3d12\w*)\.so[\w.]*")


@dataclass(frozen=True, slots=True)
class Was:
    """What a folder held before links were laid in it: each link's target, and the note. ``made``: there was none."""

    made: bool
    links: Mapping[str, str]
    note: str | None


def top(home: str) -> Path:
    return Path(home, ".local/lib/orch")


def read(folder: Path) -> Laid | None:
    """What was laid there; None when the note is absent or damaged."""
    note = read_json(folder / NOTE) or {}
    target, load = note.get("target"), note.get("load")
    if note.get("schema") != SCHEMA or not isinstance(target, str) or not target or not isinstance(load, bool):
        return None
    return Laid(str(folder), target, load)


def broken(laid: Laid) -> tuple[str, ...]:
    """What is wrong with the links that the note speaks of, in a person's words."""
    folder = Path(laid.folder)
    there = _links(folder)
    absent = [f"{folder / name} is gone" for name in (NAME, LINK) if name not in there]
    dangling = [name for name in there if not (folder / name).exists()]
    return (*absent, *(f"{folder / name} points to {there[name]}, which is gone" for name in dangling))


@contextlib.contextmanager
def locked(home: str) -> Iterator[None]:
    """One at a time among this user's processes. Raises HostError."""
    folder = top(home)
    with _refusals(folder):
        make_folder(folder)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def lay(laid: Laid) -> Was:
    """All links and the note, each replaced in one go. Raises HostError, with nothing changed, when something that is
    no link is in the way; and when the folder cannot be written."""
    folder = Path(laid.folder)
    wanted = {**(_companions(laid.target) if laid.load else {}), NAME: laid.target, LINK: laid.target}
    _check(folder, wanted)
    was = _was(folder)
    try:
        with _refusals(folder):
            make_folder(folder)
            _make(folder, wanted)
            write_json(folder / NOTE, {"schema": SCHEMA, "target": laid.target, "load": laid.load})
    except BaseException:
        with contextlib.suppress(HostError):
            put_back(folder, was)
        raise
    return was


def put_back(folder: Path, was: Was) -> None:
    """Undoes ``lay``. Raises HostError."""
    with _refusals(folder):
        _make(folder, was.links)
        if was.note is None:
            (folder / NOTE).unlink(missing_ok=True)
        else:
            write_text(folder / NOTE, was.note)
        if was.made:
            _drop(folder)


def take_away(folder: Path) -> bool:
    """Removes the links, the note, and the folder when nothing else is in it. False: there was nothing. Raises
    HostError."""
    ours = [folder / name for name in _links(folder)]
    if (folder / NOTE).is_file():
        ours.append(folder / NOTE)
    if folder.is_symlink() or not ours:
        return False
    with _refusals(folder):
        for path in reversed(ours):  # the note first: without it the links count no more
            path.unlink(missing_ok=True)
        _drop(folder)
    return True


def _companions(target: str) -> dict[str, str]:
    """The driver's other libraries beside this one, by the name of each."""
    folder = Path(target).parent
    try:
        names = [entry for entry in os.listdir(folder) if _COMPANION.fullmatch(entry)]  # noqa: PTH208 (thousands)
    except OSError:
        return {}
    return {name: str(folder / name) for name in sorted(names) if (folder / name).is_file()}


def _links(folder: Path) -> dict[str, str]:
    """The links there that are orch's, and where each leads."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return {}
    ours = (entry for entry in entries if entry.is_symlink() and _is_ours(entry.name))
    return {entry.name: str(entry.readlink()) for entry in ours}


def _is_ours(name: str) -> bool:
    return name in {NAME, LINK} or _COMPANION.fullmatch(name) is not None


def _make(folder: Path, wanted: Mapping[str, str]) -> None:
    """These links and no other of orch's."""
    there = _links(folder)
    for name in wanted:
        if there.get(name) != wanted[name]:
            _point(folder / name, wanted[name])
    for name in there.keys() - wanted.keys():
        (folder / name).unlink(missing_ok=True)


def _check(folder: Path, wanted: Mapping[str, str]) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise _in_the_way(folder, "a folder of orch's belongs there")
    for path in (folder / name for name in sorted(wanted)):
        if os.path.lexists(path) and not path.is_symlink():
            raise _in_the_way(path, "a link to the driver's library belongs there")
    if os.path.lexists(folder / NOTE) and (not (folder / NOTE).is_file() or (folder / NOTE).is_symlink()):
        raise _in_the_way(folder / NOTE, "a file of orch's belongs there")


def _in_the_way(path: Path, why: str) -> HostError:
    return HostError("lay links to libcuda", f"{path} is in the way: {why}", "move it away and try again")


def _was(folder: Path) -> Was:
    with _refusals(folder):
        note = (folder / NOTE).read_text("utf-8", "replace") if (folder / NOTE).is_file() else None
    return Was(not folder.exists(), _links(folder), note)


def _point(path: Path, target: str) -> None:
    """A rename over the old link: no reader ever finds none."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fresh.symlink_to(target)
    try:
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _drop(folder: Path) -> None:
    """Unless something of others' is in it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _blocks(path: Path) -> bool:
    return os.path.lexists(path) and not os.path.isdir(path)  # noqa: PTH112 (never raises)


@contextlib.contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if obstacle := next((one for one in (folder, *folder.parents) if _blocks(one)), None):
            raise _in_the_way(obstacle, "a folder belongs there") from error
        why = f"{error.filename or folder}: {error.strerror or error}"
        raise HostError("lay links to libcuda", why, f"make {folder} writable, or set `libcuda: off`") from error
