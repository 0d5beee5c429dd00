"""Files of orch's own, written whole or not at all."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from orchestrator.model import Json


def make_folder(path: Path) -> None:
    """With its parents, each that is missing with 0700: ``mkdir(parents=True)`` gives its mode to the last alone.
    Raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def write_json(path: Path, value: Json, *, durable: bool = True) -> None:
    """A temporary file beside ``path``, fsync, rename. Folders 0700, the file 0600. Raises OSError. What is not
    ``durable`` may be lost in a crash, and does not wait for the disk."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False), durable=durable)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        # A file's name may hold bytes that are no UTF-8; escaped so, JSON reads them back.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in the file; None for one that is absent, unreadable, damaged or of another shape."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
