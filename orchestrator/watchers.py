"""Who keeps a project converged: the one `orch watch` that holds the lock of ``watch.json``. The lock ends with its
process, however that ends; the file only says who it was."""

import fcntl
import os
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


class Alone:
    """The lock of whoever watches a project: only one does. ``handle`` is the lock's, which a fork has to close, or it
    holds it as well. Raises PlanError when another watches, HostError when the state cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.handle = -1

    def __enter__(self) -> "Alone":
        self.handle = _lock(self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        found = living(self._folder)
        if found and found.pid == os.getpid():
            (self._folder / "watch.json").unlink(missing_ok=True)
        os.close(self.handle)

    def renew(self) -> None:
        """Takes it again where somebody has removed the state, and the lock with it."""
        try:
            there = (self._folder / "watch.lock").stat().st_ino
        except OSError:
            there = 0
        if there != os.fstat(self.handle).st_ino:
            before, self.handle = self.handle, _lock(self._folder)
            os.close(before)


def _lock(folder: Path) -> int:
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
        end = f": `{'orch service uninstall' if other.unit else f'kill {other.pid}'}`" if other else ""
        raise PlanError("watch this project", who, f"end that one first{end}") from None
    return handle
