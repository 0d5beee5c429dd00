"""The header of a weight file, read piece by piece from wherever it lies: as few bytes as tell all of it."""

from collections.abc import Callable

from orchestrator.fit import gguf_header, safetensors_header
from orchestrator.fit.header import More, Read

Piece = Callable[[int, int], bytes]
"""The file's bytes from the first to before the second; fewer where it ends. May raise what its maker says."""

FIRST = {".safetensors": 1 << 13, ".gguf": 1 << 16}
"""Bytes to begin with: half of all shards' headers are shorter than 8 KiB; a vocabulary alone takes megabytes."""
STEP = 1 << 16
"""Where only a vocabulary's end tells how long it is, at least so many more, and half as much again as there is."""

_PARSERS = {".safetensors": safetensors_header.parse, ".gguf": gguf_header.parse}


def can_read(path: str) -> bool:
    return _suffix(path) in _PARSERS


def read_header(path: str, size: int, piece: Piece) -> Read:
    """``size`` bytes the file has. Raises BadHeader, and what ``piece`` raises."""
    parse, exact = _PARSERS[_suffix(path)], _suffix(path) == ".safetensors"
    data = piece(0, min(size, FIRST[_suffix(path)]))
    while isinstance(found := parse(data, path, size), More):
        more = found.bytes if exact else max(found.bytes, len(data) * 3 // 2, len(data) + STEP)
        came = piece(len(data), min(size, more))
        if not came:  # it is shorter than it was said to be
            size = len(data)
        data += came
    return found


def _suffix(path: str) -> str:
    return f".{path.rpartition('.')[2]}"
