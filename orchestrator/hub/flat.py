"""A model in a plain folder (`hf download --local-dir`): real files, and what the Hub's client notes beside them in
``.cache/huggingface/download/PATH.metadata`` (the commit, the file's hash, the time), and since 1.32 in
``.cache/huggingface/trees/COMMIT.json`` all the files of the commit."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from orchestrator.engines.repos import is_commit
from orchestrator.files import read_json
from orchestrator.hub.layout import read_tree
from orchestrator.model import RemoteFile

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json", "consolidated.safetensors.index.json")
NOTES = Path(".cache/huggingface/download")
WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".tensors")
_NAME = re.compile(r"models--([A-Za-z0-9][\w.-]*?)--([A-Za-z0-9][\w.-]*)", re.ASCII)


def is_flat(folder: Path) -> bool:
    """Whether it holds a model that is served by its path alone, and no cache of the Hub's."""
    if folder.name.startswith(".") or (folder / "snapshots").is_dir():
        return False
    noted = (folder / NOTES.parent).is_dir()
    if folder.name.startswith("models--") and noted:
        return True
    return (noted or folder.name.startswith("models--")) and any(_is_model(name) for name in _names(folder))


def is_repo(folder: Path) -> bool:
    """Whether the Hub's client made this folder for a model of its cache, be it empty or damaged by now."""
    return folder.name.startswith("models--") and not is_flat(folder)


def repo_of(folder: Path) -> str:
    """OWNER/NAME when the folder's name tells, else ""."""
    found = _NAME.fullmatch(folder.name)
    return f"{found[1]}/{found[2]}" if found else ""


def commit_of(folder: Path) -> str:
    """The commit that all its files were downloaded from, when they agree; else ""."""
    lines = {_first_line(folder / NOTES / path) for path in walk(folder / NOTES) if path.endswith(".metadata")}
    found = lines.pop() if len(lines) == 1 else ""
    return found if is_commit(found) else ""


def list_of(folder: Path, commit: str) -> tuple[RemoteFile, ...] | None:
    """The Hub's list of the commit's files, when it was kept."""
    return read_tree(folder / NOTES.parent / "trees" / f"{commit}.json")


def files_of(folder: Path) -> tuple[dict[str, os.stat_result], list[os.stat_result]]:
    """The model's files by their path in it, links followed; and the downloads among the notes that never ended."""
    found, unfinished = {}, []
    for path in walk(folder):
        try:
            if not path.startswith(".cache/"):
                found[path] = (folder / path).stat()
            elif path.endswith(".incomplete"):
                unfinished.append((folder / path).stat())
        except OSError:  # a link to nothing, or gone meanwhile
            continue
    return found, unfinished


def lacking(top: Path, held: Mapping[str, int]) -> tuple[int, int | None]:
    """How many shards an index in ``top`` names that are not among ``held`` (sizes by path), and their bytes if it
    tells."""
    for name in INDEXES:
        index = read_json(top / name) if name in held else None
        shards = (index or {}).get("weight_map")
        if not isinstance(shards, dict):
            continue
        named = {str(shard) for shard in shards.values()}
        gone = len(named - held.keys())
        metadata = (index or {}).get("metadata")
        total = metadata.get("total_size") if isinstance(metadata, dict) else None
        there = sum(held.get(shard, 0) for shard in named)
        return gone, (max(0, total - there) if isinstance(total, int) else None) if gone else 0
    return 0, 0


def has_weights(paths: Iterable[str]) -> bool:
    return any(path.endswith(WEIGHTS) for path in paths)


def walk(top: Path) -> Iterator[str]:
    """Every file and link below, by its path from there; links to folders are not entered."""
    for folder, _, names in os.walk(top):
        inside = os.path.relpath(folder, top)
        yield from (name if inside == "." else f"{inside}/{name}" for name in names)


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _is_model(name: str) -> bool:
    return name == "config.json" or name.endswith((".safetensors", ".gguf"))


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as stream:
            return stream.readline(200).strip()
    except (OSError, ValueError):
        return ""
