"""How the stand-in Hub stores a file the way of Xet, as far as hf_xet 1.8.0 looks: cut into chunks, packed in xorbs.

Served by HTTP, as the real one is, rather than by hf_xet's own ``local://FOLDER``: that one can be opened by a single
process at a time, and can neither be held in the middle of a file nor fail.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fakes.hub_store import File

CHUNK = 1 << 16  # as the real ones on average
XORB = 16 * CHUNK  # a real one has up to 64 MiB; so small, a test's file has several
HEADER = 8  # bytes before each chunk: version, packed size, scheme (0: as it is), size
TOKEN = "xet_"  # and the second until which it is good


@dataclass(frozen=True, slots=True)
class Xorb:
    """Chunks, each behind its header."""

    data: memoryview

    @property
    def size(self) -> int:
        return packed(len(self.data))

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        for index in range(start // (HEADER + CHUNK), -(-end // (HEADER + CHUNK))):
            chunk = self.data[index * CHUNK : (index + 1) * CHUNK]
            size = len(chunk).to_bytes(3, "little")
            first = index * (HEADER + CHUNK)
            for part in (memoryview(b"\0" + size + b"\0" + size), chunk):
                yield part[max(0, start - first) : max(0, end - first)]
                first += len(part)


def packed(size: int) -> int:
    return size + HEADER * -(-size // CHUNK)


def piece(data: memoryview, index: int) -> memoryview:
    return data[index * XORB : (index + 1) * XORB]


def asked(header: str, size: int) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", header)
    return (int(match[1]), min(int(match[2]) + 1, size)) if match else (0, size)


def reconstruction(url: str, file: File, start: int, end: int) -> dict[str, Any]:
    """Which chunks of which xorbs hold these bytes, and where each is to be had."""
    terms, xorbs = [], {}
    for index in range(start // XORB, -(-end // XORB)):
        data, base = piece(file.data, index), index * XORB
        first, last = max(0, start - base) // CHUNK, -(-min(end - base, len(data)) // CHUNK)
        name = f"{file.xet[:56]}{index:08x}"
        length = min(last * CHUNK, len(data)) - first * CHUNK
        chunks = {"start": first, "end": last}
        span = {"start": first * (CHUNK + HEADER), "end": packed(min(last * CHUNK, len(data))) - 1}
        terms.append({"hash": name, "unpacked_length": length, "range": chunks})
        where = f"{url}/xorbs/{file.xet}/{index}/{quote(file.path)}"
        xorbs[name] = [{"url": where, "ranges": [{"chunks": chunks, "bytes": span}]}]
    return {"offset_into_first_range": start % CHUNK, "terms": terms, "xorbs": xorbs}
