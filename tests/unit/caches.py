"""The Hub's cache, made by hand as huggingface_hub lays it out: blobs, snapshots that link to them, refs."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.hub.layout import Repo
from orchestrator.hub.memory import Memory, stamp
from orchestrator.hub.parts import CHUNK, Part
from orchestrator.model import RemoteFile

A, B = "a" * 40, "b" * 40
WEIGHTS = b"w" * 300_000
MODEL = {"config.json": b"{}", "model.safetensors": WEIGHTS}


def remote(path: str, data: bytes, size: int | None = None) -> RemoteFile:
    return RemoteFile(path, len(data) if size is None else size, hashlib.sha256(data).hexdigest())


def listed(files: Mapping[str, bytes]) -> tuple[RemoteFile, ...]:
    return tuple(remote(path, data) for path, data in files.items())


class Cache:
    """One cache, and orch's memory of it."""

    def __init__(self, top: Path) -> None:
        self.top = top / "hf" / "hub"
        self.top.mkdir(parents=True, exist_ok=True)
        self.memory = Memory(top / "memory")

    def repo(self, name: str = "org/model") -> Repo:
        return Repo(self.top, name)

    def commit(
        self,
        files: Mapping[str, bytes],
        commit: str = A,
        repo: str = "org/model",
        *,
        refs: tuple[str, ...] = (),
        knows: Mapping[str, bytes] | tuple[RemoteFile, ...] | None = None,
        verified: bool = False,
    ) -> Repo:
        """``knows`` is the Hub's list (by default exactly ``files``; an empty one: nobody kept a list)."""
        made = self.repo(repo)
        made.snapshot(commit).mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            self.link(made, commit, path, self.blob(made, data))
        for ref in refs:
            self.ref(made, ref, commit)
        known = knows if isinstance(knows, tuple) else listed(files if knows is None else knows)
        if known:
            self.memory.keep_listing(made, commit, known)
        if verified:
            self.verify(made, *files.values())
        return made

    def verify(self, repo: Repo, *contents: bytes) -> None:
        names = [hashlib.sha256(data).hexdigest() for data in contents]
        self.memory.keep_verified(repo, {name: stamp(repo.blob(name)) for name in names})

    @staticmethod
    def blob(repo: Repo, data: bytes) -> Path:
        blob = repo.blob(hashlib.sha256(data).hexdigest())
        blob.parent.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            blob.write_bytes(data)
        return blob

    @staticmethod
    def link(repo: Repo, commit: str, path: str, blob: Path) -> Path:
        pointer = repo.pointer(commit, path)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        return pointer

    @staticmethod
    def ref(repo: Repo, name: str, commit: str) -> Path:
        file = repo.folder / "refs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(commit)
        return file

    @staticmethod
    def part(repo: Repo, data: bytes, chunks: int) -> Path:
        """An unfinished download: the first ``chunks`` of it are there."""
        part = Part(repo.blob(hashlib.sha256(data).hexdigest()), len(data))
        for index in range(chunks):
            first, end = part.span(index)
            part.write(first, memoryview(data)[first:end])
            part.mark(index)
        part.close()
        return part.blob

    def shared(self, repo: Repo, commit: str, path: str, data: bytes) -> Path:
        """A file whose bytes are in the store that all repositories of the cache share; answers where."""
        store = self.top / "blobs"
        name = hashlib.sha256(b"xet" + data).hexdigest()
        payload = store / name[:2] / name
        payload.parent.mkdir(parents=True, exist_ok=True)
        (store / ".huggingface-shared-blobs").write_text("1\n")
        payload.write_bytes(data)
        blob = repo.blob(hashlib.sha256(data).hexdigest())
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.symlink_to(os.path.relpath(payload, blob.parent))
        with payload.with_name(f"{name}.refs").open("a") as manifest:
            manifest.write(f"{blob.relative_to(self.top)}\n")
        self.link(repo, commit, path, blob)
        return payload


def index(shards: int, each: int) -> bytes:
    names = [f"model-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1)]
    document = {"metadata": {"total_size": shards * each}, "weight_map": {f"layer.{name}": name for name in names}}
    return json.dumps(document).encode()


def shard(number: int, of: int) -> str:
    return f"model-{number:05}-of-{of:05}.safetensors"


def everything(top: Path) -> dict[str, tuple[int, int, str]]:
    """Every path with what a write would change."""
    found = {}
    for path in sorted(top.rglob("*")):
        state = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes().hex() if path.is_file() else ""
        found[str(path.relative_to(top))] = (state.st_mtime_ns, state.st_mode, content)
    return found


BIG = os.urandom(2 * CHUNK + 1000)
"""Three chunks, the last one small."""
