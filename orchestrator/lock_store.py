"""orch.lock on the disk, and what it is read with."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import HostError, InputError
from orchestrator.files import write_text
from orchestrator.find import display, read_text
from orchestrator.findings import coded
from orchestrator.lockfile import NAME, Base, Lock, parse, render
from orchestrator.model import Path as Place
from orchestrator.yamldoc import careful


def platform() -> str:
    """For which a runtime is built here."""
    return f"{sys.platform}-{os.uname().machine}"


def base(root: Path, variables: Mapping[str, str]) -> Base:
    return Base(os.path.abspath(root), variables.get("HOME", ""), platform())  # noqa: PTH100 (pathlib keeps "..")


def read_lock(root: Path) -> Lock | None:
    """None where the project has none. Raises InputError, at file:line:col, for one that cannot be used."""
    file = root / NAME
    if not os.path.lexists(file):
        return None
    with coded("lock-damaged"):
        text = read_text(file, "lock")
    return parse(text, display(file), lambda path: _place(text, display(file), path))


def write_lock(root: Path, lock: Lock) -> None:
    """Whole or not at all, with the mode of a file that is shared. Raises HostError."""
    file = Path(os.path.realpath(root / NAME))
    try:
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
        write_text(file, render(lock))
        file.chmod(mode)
    except OSError as error:
        raise HostError(f"write {display(root / NAME)}", error.strerror or str(error), "make it writable") from error


def _place(text: str, file: str, path: Place) -> str:
    """JSON is YAML, whose reader knows where everything stands; it is asked when something is wrong."""
    try:
        positions = careful(text, file).positions
    except InputError as error:
        return error.at if error.at.startswith(f"{file}:") else f"{file}:1:1"
    line, column = next((positions[path[:end]] for end in range(len(path), -1, -1) if path[:end] in positions), (1, 1))
    return f"{file}:{line}:{column}"
