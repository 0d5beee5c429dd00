"""What the stand-in Hub holds: repositories, commits, files and their bytes. Nothing of HTTP or of faults.

Bytes are memoryviews all the way to the socket, of a ``bytes`` or of a mapped file: a body of gigabytes costs no copy.
"""

import hashlib
import mmap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

LFS_PATTERNS = ("*.safetensors", "*.bin", "*.gguf", "*.pt")
LFS_SIZE = 1 << 20  # from here on a file is LFS whatever its name
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"


class Content(Protocol):
    """The bytes of an answer, which may be laid out in several pieces."""

    @property
    def size(self) -> int: ...

    def pieces(self, start: int, end: int) -> Iterator[memoryview]: ...


@dataclass(frozen=True, slots=True)
class Plain:
    view: memoryview

    @property
    def size(self) -> int:
        return len(self.view)

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        yield self.view[start:end]


@dataclass(frozen=True, slots=True)
class Hollow:
    """A beginning, and zeros behind it up to ``size``: of a model too large for a test only the header is there."""

    view: memoryview
    size: int

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        yield self.view[start:end]
        for at in range(max(start, len(self.view)), end, LFS_SIZE):
            yield memoryview(bytes(min(LFS_SIZE, end - at)))


@dataclass(frozen=True, slots=True)
class Flipped:
    """The same bytes but one, of which every bit is turned."""

    content: Content
    offset: int

    @property
    def size(self) -> int:
        return self.content.size

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        where = min(max(start, self.offset), end)
        yield from self.content.pieces(start, where)
        for piece in self.content.pieces(where, min(where + 1, end)):
            yield memoryview(bytes(byte ^ 0xFF for byte in piece))
        yield from self.content.pieces(min(where + 1, end), end)


@dataclass(frozen=True, slots=True)
class File:
    """``size`` is what the Hub announces; a test may make it differ from what there is. What an LFS file then lacks is
    zeros."""

    path: str
    data: memoryview
    size: int
    oid: str  # git's name of the blob, which for LFS is the pointer's
    sha256: str = ""  # LFS only
    pointer_size: int = 0
    xet: str = ""

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid

    @property
    def entry(self) -> dict[str, Any]:
        """As ``/tree`` lists it."""
        entry: dict[str, Any] = {"type": "file", "oid": self.oid, "size": self.size, "path": self.path}
        if self.sha256:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": self.pointer_size}
        return entry | ({"xetHash": self.xet} if self.xet else {})

    @property
    def sibling(self) -> dict[str, Any]:
        """As ``/api/models/ID?blobs=true`` lists it: the same facts under other names."""
        sibling: dict[str, Any] = {"rfilename": self.path, "size": self.size, "blobId": self.oid}
        if self.sha256:
            sibling["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": self.pointer_size}
        return sibling


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    files: Mapping[str, File]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The tree, recursively; the folders are in it too, as on the real Hub."""
        folders = {str(parent) for path in self.files for parent in Path(path).parents} - {"."}
        listed = [{"type": "directory", "oid": git_sha(b"", folder), "size": 0, "path": folder} for folder in folders]
        return sorted([*listed, *(file.entry for file in self.files.values())], key=lambda entry: str(entry["path"]))


@dataclass(slots=True)
class Repo:
    name: str
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    token: str | None = None  # the one that is granted
    labels: tuple[str, ...] = ()  # the Hub's "tags" of a model, which are no tags of git
    downloads: int = 0

    def commit(self, revision: str) -> Commit | None:
        return self.commits.get(self.branches.get(revision) or self.tags.get(revision) or revision)

    def push(self, files: Collection[File], branch: str) -> Commit:
        """The tree is exactly ``files``; the name depends on nothing but them and what was there before."""
        parent = self.branches.get(branch, "")
        tree = sorted(f"{file.path} {file.etag}" for file in files)
        sha = hashlib.sha1("\n".join([self.name, parent, *tree]).encode()).hexdigest()
        self.commits[sha] = Commit(sha, {file.path: file for file in files})
        self.branches[branch] = sha
        return self.commits[sha]


def view_of(data: bytes | Path) -> memoryview:
    if isinstance(data, bytes):
        return memoryview(data)
    if not data.stat().st_size:  # nothing cannot be mapped
        return memoryview(b"")
    with data.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def make_file(path: str, data: bytes | Path, lfs: Collection[str] | None, xet: bool, size: int | None) -> File:
    view = view_of(data)
    size = len(view) if size is None else size
    if not is_lfs(path, len(view), lfs):
        return File(path, view, size, git_sha(view))
    sha256 = hashlib.sha256(view).hexdigest()
    pointer = POINTER.format(sha256=sha256, size=size).encode()
    # A real Xet hash takes hf_xet to compute, which starts threads and writes to HOME. It compares a download with
    # none (1.8.0), so that any name does.
    name = hashlib.sha256(b"xet " + sha256.encode()).hexdigest() if xet else ""
    return File(path, view, size, git_sha(pointer), sha256, len(pointer), name)


def is_lfs(path: str, size: int, patterns: Collection[str] | None) -> bool:
    wanted = LFS_PATTERNS if patterns is None else patterns
    return any(fnmatch(path, pattern) for pattern in wanted) or (patterns is None and size >= LFS_SIZE)


def git_sha(data: bytes | memoryview, salt: str = "") -> str:
    digest = hashlib.sha1(f"blob {len(data)}\0{salt}".encode())
    digest.update(data)
    return digest.hexdigest()
