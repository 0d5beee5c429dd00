"""The header of a GGUF file: counts, key-value pairs, and each tensor's type, shape and place among the data
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

Long arrays (a vocabulary has 150,000 texts) are walked over and only counted. Where a tensor's place and its type tell
different sizes, its place is believed: forks give the same number to types of their own.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

from orchestrator.fit.ggml import TYPES
from orchestrator.fit.header import BadHeader, More, Read, plain, refuse_other, whole
from orchestrator.fit.model import Header, Tensor

LIMIT = 1 << 28
"""Bytes; the largest vocabularies take a twentieth of it."""
KEPT = 1024
"""Values of an array that are kept; more are only counted."""
DIMENSIONS = 8
"""GGML itself has four."""
DEPTH = 4
"""Of arrays in arrays."""
VERSIONS = (2, 3)
ALIGNMENT = 32
"""Bytes, unless general.alignment says otherwise."""

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9


class _Short(Exception):
    """The bytes end before ``needed``."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class _Damaged(Exception):
    """In words that follow "its header is damaged: "."""


def parse(data: bytes, file: str, size: int | None = None) -> Read | More:
    """``data`` is the file's beginning, ``size`` bytes the whole file has, if that is known. Raises BadHeader."""
    refuse_other(data, file)
    if not b"GGUF".startswith(data[:4]):
        raise BadHeader(f"read {file}", "it does not begin with GGUF: it is no such file, or damaged", "fetch it again")
    try:
        return _read(data, file, size)
    except _Short as short:
        if size is not None and short.needed > size:
            raise BadHeader(f"read {file}", f"it ends within its header, at {size:,} bytes", "fetch it again") from None
        if short.needed > LIMIT:
            why = f"its header would have more than {LIMIT:,} bytes: it is damaged"
            raise BadHeader(f"read {file}", why, "fetch it again") from None
        return More(short.needed)
    except _Damaged as damaged:
        raise BadHeader(f"read {file}", f"its header is damaged: {damaged}", "fetch it again") from None


def _read(data: bytes, file: str, size: int | None) -> Read:
    order = _order(data, file)
    cursor = _Cursor(data, order, 8)
    tensors, pairs = cursor.number("Q"), cursor.number("Q")
    cursor.need(pairs * 13 + tensors * 24)  # each takes that much, at least
    metadata, twice = _metadata(cursor, pairs)
    alignment = _alignment(metadata)
    entries = [_entry(cursor) for _ in range(tensors)]
    start = -(-cursor.at // alignment) * alignment if entries else cursor.at
    sized = list(_sized(entries, alignment, None if size is None else size - start))
    end = max((entry.offset + entry.bytes for entry in sized), default=0)
    said = [*_order_note(order), *twice, *_type_notes(entries, sized), *_cut(start + end, size)]
    header = Header(tuple(entry.tensor() for entry in sized), metadata, file)
    return Read(header, start, end, tuple(f"{file}: {one}" for one in said))


def _order(data: bytes, file: str) -> Literal["<", ">"]:
    """Of its bytes, which the version tells: it is a small number."""
    if len(data) < 8:
        raise _Short(8)
    little, big = int.from_bytes(data[4:8], "little"), int.from_bytes(data[4:8], "big")
    if little in VERSIONS:
        return "<"
    if big in VERSIONS:
        return ">"
    known = " and ".join(str(one) for one in VERSIONS)
    why = f"it is GGUF of version {little if little & 0xFFFF else big}, and only {known} are known here"
    raise BadHeader(f"read {file}", why, "convert the model again, or use a newer orch")


def _order_note(order: str) -> list[str]:
    return ["it is big-endian, made for other machines: no engine here loads it"] if order == ">" else []


# -------------------------------------------------------------------------------------------------------------- bytes


@dataclass(slots=True)
class _Cursor:
    data: bytes
    order: str
    at: int

    def need(self, count: int) -> int:
        """Where they begin."""
        if self.at + count > len(self.data):
            raise _Short(self.at + count)
        return self.at

    def number(self, code: str) -> Any:
        form = struct.Struct(self.order + code)
        place = self.need(form.size)
        self.at += form.size
        return form.unpack_from(self.data, place)[0]

    def text(self) -> str:
        length = self.number("Q")
        place = self.need(length)
        self.at += length
        return self.data[place : self.at].decode("utf-8", "backslashreplace")

    def skip_texts(self, count: int) -> None:
        """As fast as it goes: a vocabulary is most of a header."""
        data, at, end = self.data, self.at, len(self.data)
        unpack = struct.Struct(self.order + "Q").unpack_from
        self.need(count * 8)
        for done in range(count):
            if at + 8 > end:
                raise _Short(at + (count - done) * 8)
            at += 8 + unpack(data, at)[0]
        self.at = at
        self.need(0)


# ---------------------------------------------------------------------------------------------------- key-value pairs


def _metadata(cursor: _Cursor, pairs: int) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    twice = []
    for _ in range(pairs):
        key = cursor.text()
        kind = cursor.number("I")
        for name, value in _pair(cursor, key, kind):
            if name in found:
                twice.append(f"{plain(name)} is there twice, and the last is taken")
            found[name] = value
    return found, twice


def _pair(cursor: _Cursor, key: str, kind: int) -> Iterator[tuple[str, str]]:
    if kind != ARRAY:
        value = _value(cursor, kind, key, 0)
        yield key, value if isinstance(value, str) else json.dumps(value)
        return
    values, count = _array(cursor, key, 0)
    yield (f"{key}.length", str(count)) if values is None else (key, json.dumps(values))


def _value(cursor: _Cursor, kind: int, key: str, depth: int) -> Any:
    if kind == TEXT:
        return cursor.text()
    if kind == ARRAY:
        values, count = _array(cursor, key, depth + 1)
        return values if values is not None else f"{count} values"
    if kind not in SCALARS:
        raise _Damaged(f"{plain(key)} has a value of the unknown kind {kind}")
    return cursor.number(SCALARS[kind])


def _array(cursor: _Cursor, key: str, depth: int) -> tuple[list[Any] | None, int]:
    """The values, or None of a long one; and how many."""
    if depth > DEPTH:
        raise _Damaged(f"{plain(key)} is an array in arrays without end")
    kind, count = cursor.number("I"), cursor.number("Q")
    if count <= KEPT:
        return [_value(cursor, kind, key, depth) for _ in range(count)], count
    if kind in SCALARS:
        width = struct.calcsize(cursor.order + SCALARS[kind])
        cursor.need(count * width)
        cursor.at += count * width
    elif kind == TEXT:
        cursor.skip_texts(count)
    else:
        raise _Damaged(f"{plain(key)} is a long array of kind {kind}")
    return None, count


def _alignment(metadata: Mapping[str, str]) -> int:
    text = metadata.get("general.alignment", str(ALIGNMENT))
    if not text.isdecimal() or not 0 < int(text) <= 1 << 20:
        raise _Damaged(f"its tensors would lie at multiples of {plain(text)}")
    return int(text)


# ------------------------------------------------------------------------------------------------------------- tensors


@dataclass(frozen=True, slots=True)
class _Entry:
    """``shape`` in the usual order, slowest dimension first. ``bytes`` by its type; 0 where that is unknown."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int
    bytes: int = 0

    @property
    def type(self) -> str:
        return TYPES[self.kind].name if self.kind in TYPES else f"type {self.kind}"

    def tensor(self) -> Tensor:
        return Tensor(self.name, self.type, self.shape, self.bytes)


def _entry(cursor: _Cursor) -> _Entry:
    name, dimensions = cursor.text(), cursor.number("I")
    if dimensions > DIMENSIONS:
        raise _Damaged(f"{plain(name)} has {dimensions} dimensions")
    shape = [cursor.number("Q") for _ in range(dimensions)]
    kind, offset = cursor.number("I"), cursor.number("Q")
    block = TYPES.get(kind)
    size = block.size(shape[0] if shape else 1, prod(shape[1:])) if block else 0
    return _Entry(whole(name), tuple(reversed(shape)), kind, offset, size)


def _sized(entries: Sequence[_Entry], alignment: int, data: int | None) -> Iterator[_Entry]:
    """Each with as many bytes as its place allows: up to where the next begins, the padding between them aside.
    ``data`` bytes follow the header, if that is known."""
    starts = sorted({entry.offset for entry in entries})
    ends = dict(zip(starts, [*starts, data][1:], strict=True))
    for entry in entries:
        end = ends[entry.offset]
        known, last = entry.kind in TYPES, entry.offset == starts[-1]
        if end is None or end < entry.offset or (known and (last or not entry.bytes)):
            yield entry  # what ends the file may be cut, or followed by anything
            continue
        room = end - entry.offset
        fills = known and entry.bytes <= room < entry.bytes + alignment
        yield entry if fills else replace(entry, bytes=room)


def _type_notes(entries: Sequence[_Entry], sized: Sequence[_Entry]) -> Iterator[str]:
    unknown = sorted({entry.kind for entry in entries if entry.kind not in TYPES})
    if unknown:
        count = sum(entry.kind not in TYPES for entry in entries)
        names = ", ".join(str(kind) for kind in unknown[:8])
        yield f"{count} of its tensors are of unknown types ({names}); their bytes are those of their places"
        if lost := [entry for entry in sized if entry.kind not in TYPES and not entry.bytes]:
            yield f"how many bytes {plain(lost[0].name)} has cannot be told"
    wrong = [(told, found) for told, found in zip(entries, sized, strict=True) if told.kind in TYPES and told != found]
    if wrong:
        told, found = wrong[0]
        yield (
            f"{len(wrong)} tensors do not fill their places ({plain(told.name)}: {told.bytes:,} bytes as {told.type}, "
            f"{found.bytes:,} in the file): it is damaged, or made by a fork for itself"
        )


def _cut(told: int, size: int | None) -> Iterator[str]:
    if size is not None and size < told:
        yield f"it has {size:,} bytes and its header tells of {told:,}: it is cut"
