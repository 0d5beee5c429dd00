"""Who keeps a project converged: the one `orch watch` that holds the lock of ``watch.json``. The lock ends with its
process, however that ends; the file only says who it was."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator import proc
from orchestrator.codec import from_file, to_json
from orchestrator.errors import HostError, PlanError
from orchestrator.files import make_folder, read_json, write_json
from orchestrator.model import Watcher

SCHEMA = 1


def living(folder: Path) -> Watcher | None:
    """``folder`` is the state of one project."""
    document = read_json(folder / "watch.json")
    found = from_file(Watcher, document.get("watcher")) if document and document.get("schema") == SCHEMA else None
    if found is None or found.boot != proc.boot_id():
        return None
    row = proc.read(found.pid)
    return found if row and row.start == found.start and not row.zombie else None


def say(folder: Path, watcher: Watcher) -> None:
    """Raises HostError."""
    try:
        write_json(folder / "watch.json", {"schema": SCHEMA, "watcher": to_json(watcher)})
    except OSError as error:
        raise HostError(f"write {folder / 'watch.json'}", error.strerror or str(error)) from error


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Only one watches a project. Yields the handle of its lock, which a fork has to close, or it holds it as well.
    Raises PlanError when another does, HostError when the state cannot be written."""
    try:
        make_folder(folder)
        handle = os.open(folder / "watch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(f"lock {folder / 'watch.lock'}", error.strerror or str(error)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        other = living(folder)
        who = f"pid {other.pid} does already" if other else "another orch does already"
        raise PlanError("watch this project", who, "end that one first") from None
    try:
        yield handle
    finally:
        with contextlib.suppress(FileNotFoundError):
            (folder / "watch.json").unlink()
        os.close(handle)
