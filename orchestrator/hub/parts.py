"""A file on its way: ``HASH.part`` holds the bytes where they belong, ``HASH.map`` which chunks of them are there.

Written in this order, data before its mark, the two survive a killed process at any moment. What they cannot survive,
a power cut, is found by the hash in the end.
"""

import os
import struct
from pathlib import Path

CHUNK = 1 << 20
"""Bytes a mark stands for: as much as one connection can lose when the process is killed."""

_HEADER = struct.Struct("<8sQQ")
_MAGIC = b"orchmap1"


def part_file(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.part")


def map_file(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.map")


def chunk_count(size: int) -> int:
    return -(-size // CHUNK)


def fetched(blob: Path, size: int) -> int:
    """The bytes of an unfinished blob that are there; 0 without one."""
    marks = _read_marks(blob, size)
    if not marks:
        return 0
    last = size - (len(marks) - 1) * CHUNK
    return sum(marks[:-1]) * CHUNK + marks[-1] * last


def _read_marks(blob: Path, size: int) -> bytes:
    """One byte a chunk, 1 for there; empty when there are no part and map for a file of this size."""
    try:
        data = map_file(blob).read_bytes()
        held = part_file(blob).stat().st_size
    except OSError:
        return b""
    if held != size or data[: _HEADER.size] != _HEADER.pack(_MAGIC, size, CHUNK):
        return b""
    marks = data[_HEADER.size :]
    return marks if len(marks) == chunk_count(size) and not marks.strip(b"\0\1") else b""


class Part:
    """Opened for writing, and for reading back what is there. Raises OSError."""

    def __init__(self, blob: Path, size: int) -> None:
        self.blob, self.size = blob, size
        blob.parent.mkdir(parents=True, exist_ok=True)
        marks = _read_marks(blob, size)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._data = os.open(part_file(blob), flags | (0 if marks else os.O_TRUNC), 0o644)
        self._map = os.open(map_file(blob), flags | (0 if marks else os.O_TRUNC), 0o644)
        if not marks:
            os.ftruncate(self._data, size)
            marks = bytes(chunk_count(size))
            os.pwrite(self._map, _HEADER.pack(_MAGIC, size, CHUNK) + marks, 0)
        self._marks = bytearray(marks)

    def missing(self) -> list[int]:
        """The chunks that are not there, in order."""
        return [index for index, mark in enumerate(self._marks) if not mark]

    def has(self, index: int) -> bool:
        return index < len(self._marks) and bool(self._marks[index])

    def span(self, index: int) -> tuple[int, int]:
        """First byte of a chunk and the one after its last."""
        return index * CHUNK, min((index + 1) * CHUNK, self.size)

    def write(self, offset: int, data: memoryview) -> None:
        while data:
            count = os.pwrite(self._data, data, offset)
            offset, data = offset + count, data[count:]

    def mark(self, index: int) -> None:
        self._marks[index] = 1
        os.pwrite(self._map, b"\1", _HEADER.size + index)

    def read(self, offset: int, into: memoryview) -> int:
        return os.preadv(self._data, [into], offset)

    def forget(self) -> None:
        """Nothing of it is believed any more, and all is missing."""
        self._marks = bytearray(len(self._marks))
        os.pwrite(self._map, self._marks, _HEADER.size)

    def finish(self) -> None:
        """The blob gets its name."""
        self.close()
        part_file(self.blob).replace(self.blob)
        map_file(self.blob).unlink(missing_ok=True)

    def discard(self) -> None:
        """The map first: a part without one is not believed."""
        self.close()
        map_file(self.blob).unlink(missing_ok=True)
        part_file(self.blob).unlink(missing_ok=True)

    def close(self) -> None:
        for handle in (self._data, self._map):
            if handle >= 0:
                os.close(handle)
        self._data = self._map = -1
