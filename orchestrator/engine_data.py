"""Reads what is known of each version of the engine: the files shipped with orch, and those that runtimes on this host
were asked for. A file is opened when its version is wanted; never does anything here start a process."""

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.engines.knowledge import Engine, read

SHIPPED = Path(__file__).resolve().parent / "engines" / "data"
PREFIX, ENDING = "vllm-", ".json.gz"


def shipped(folder: Path = SHIPPED) -> dict[str, Path]:
    """The file of each version, in no order that means anything. Opens none."""
    files = sorted(folder.glob(f"{PREFIX}*{ENDING}"))
    return {file.name.removeprefix(PREFIX).removesuffix(ENDING): file for file in files}


def remembered(folder: Path, key: str) -> Path:
    """Where the answer of the runtime with this key is kept, in the folder for such answers."""
    return folder / f"{key}.json"


def load(file: Path) -> Engine | None:
    """None for a file that is absent, unreadable, damaged or of another schema."""
    try:
        content = file.read_bytes()
        return read(json.loads(gzip.decompress(content) if file.name.endswith(".gz") else content))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError):
        return None


def load_all(files: Mapping[str, Path]) -> list[Engine]:
    """Of each version whose file can be read; some 5 ms a file."""
    return [engine for file in files.values() if (engine := load(file)) is not None]


def packed(document: Mapping[str, Any]) -> bytes:
    """A shipped file's content. The same document gives the same bytes."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return gzip.compress(text.encode(), 9, mtime=0)


def shipped_name(version: str) -> str:
    return f"{PREFIX}{version}{ENDING}"
