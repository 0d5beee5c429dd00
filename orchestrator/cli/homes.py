"""Where orch keeps what it made, and who looks at the runtimes there. By itself, for `orch validate` needs no more."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.lockfile import Lock
    from orchestrator.runtimes.catalogue import RuntimeReader


def home(kind: str, default: str) -> Path:
    """ORCH_DATA_DIR, or orch's folder in XDG_DATA_HOME; likewise for the cache."""
    if chosen := os.environ.get(f"ORCH_{kind}_DIR"):
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get(f"XDG_{kind}_HOME") or Path.home() / default) / "orch"


def runtime_reader(variables: Mapping[str, str], lock: "Callable[[], Lock] | None" = None) -> "RuntimeReader":
    from orchestrator.lockfile import EMPTY
    from orchestrator.runtimes.catalogue import RuntimeReader

    return RuntimeReader(home("DATA", ".local/share"), home("CACHE", ".cache"), variables, lock or (lambda: EMPTY))
