"""Where a project begins. By itself, for `orch status` needs this and no YAML."""

import os.path
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import InputError


def project_root(paths: Sequence[str], root: str | None, cwd: str) -> Path:
    """The project's folder: ``root`` if given, else the nearest one around the first PATH that exists, then around
    ``cwd``, which holds ``environments`` or ``profiles``; else ``cwd``."""
    if root is not None:
        given = os.path.join(cwd, root)  # noqa: PTH118 (here and below: a path that only os.path takes as it is)
        if not os.path.isdir(given):  # noqa: PTH112 (never raises)
            raise InputError(f"use --root {root}", "there is no such folder")
        return Path(os.path.normpath(given))
    exist = [full for path in paths if os.path.exists(full := os.path.join(cwd, path))]  # noqa: PTH110, PTH118
    for start in (*exist[:1], cwd):
        folder = Path(os.path.normpath(start))
        for ancestor in (folder, *folder.parents):
            if any((ancestor / name).is_dir() for name in ("environments", "profiles")):
                return ancestor
    return Path(cwd)
