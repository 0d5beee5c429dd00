"""The header of a safetensors file: eight bytes that say how long the JSON after them is, and in it each tensor's
dtype, shape and place among the data (https://huggingface.co/docs/safetensors, "Format")."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.fit.header import BadHeader, More, Read, plain, refuse_other, whole
from orchestrator.fit.model import Header, Tensor

LIMIT = 100_000_000
"""Bytes of JSON; the format's own readers refuse more."""
DIMENSIONS = 16
"""More than any tensor has."""

BITS: Mapping[str, int] = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip

Span = tuple[int, int]


def parse(data: bytes, file: str, size: int | None = None) -> Read | More:
    """``data`` is the file's beginning, ``size`` bytes the whole file has, if that is known. Raises BadHeader."""
    refuse_other(data, file)
    if data[:4] == b"GGUF":
        raise BadHeader(f"read {file}", "it is a GGUF file under another name", "give it a name that ends in .gguf")
    if size is not None and size < 8:
        raise BadHeader(f"read {file}", f"it has only {size} bytes", "fetch it again")
    if len(data) < 8:
        return More(8)
    length = int.from_bytes(data[:8], "little")
    end = 8 + length
    if not 2 <= length <= LIMIT:
        why = f"its header would have {length:,} bytes: it is no safetensors file, or damaged"
        raise BadHeader(f"read {file}", why, "fetch it again")
    if size is not None and end > size:
        why = f"it ends within its header, of which it has {size - 8:,} bytes of {length:,}"
        raise BadHeader(f"read {file}", why, "fetch it again")
    if len(data) < end:
        return More(end)
    return _read(_object(data[8:end], file), file, end, size)


def _object(text: bytes, file: str) -> dict[str, Any]:
    try:
        found = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):  # no UTF-8, no JSON, or numbers of thousands of digits
        raise BadHeader(f"read {file}", "its header is no JSON: it is damaged", "fetch it again") from None
    if not isinstance(found, dict):
        raise BadHeader(f"read {file}", "its header is no JSON object: it is damaged", "fetch it again")
    return found


def _read(found: Mapping[str, Any], file: str, end: int, size: int | None) -> Read:
    told = found.get("__metadata__")
    metadata = {whole(key): whole(str(value)) for key, value in told.items()} if isinstance(told, dict) else {}
    tensors, spans, notes = [], [], []
    for name, value in found.items():
        if name == "__metadata__":
            continue
        if (read := _tensor(name, value)) is None:
            notes.append(f"{file}: of {plain(name)} neither type nor size can be told")
            continue
        tensor, span = read
        tensors.append(tensor)
        spans.append(span)
        if doubt := _doubt(tensor):
            notes.append(f"{file}: {doubt}")
    last = max((stop for _, stop in spans), default=0)
    notes += [f"{file}: {one}" for one in (_gaps(spans), _cut(end + last, size)) if one]
    return Read(Header(tuple(tensors), metadata, file), end, last, tuple(notes))


def _tensor(name: str, value: object) -> tuple[Tensor, Span] | None:
    if not isinstance(value, dict):
        return None
    dtype, shape, span = value.get("dtype"), _numbers(value.get("shape")), _numbers(value.get("data_offsets"))
    if not isinstance(dtype, str) or shape is None or len(shape) > DIMENSIONS:
        return None
    if span is None or len(span) != 2 or span[0] > span[1]:
        return None
    return Tensor(whole(name), whole(dtype), shape, span[1] - span[0]), (span[0], span[1])


def _numbers(value: object) -> tuple[int, ...] | None:
    """Sizes or offsets: what 64 bits hold."""
    if not isinstance(value, list):
        return None
    good = all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 1 << 63 for one in value)
    return tuple(value) if good else None


def _doubt(tensor: Tensor) -> str:
    bits = BITS.get(tensor.dtype)
    if bits is None:
        return f"{plain(tensor.name)} is of an unknown type, {plain(tensor.dtype)}; its bytes are those of its place"
    if tensor.bytes != (by_shape := -(-tensor.elements * bits // 8)):
        return f"{plain(tensor.name)} has room for {tensor.bytes:,} bytes and a shape of {by_shape:,}"
    return ""


def _gaps(spans: Sequence[Span]) -> str:
    """The format allows none, nor two tensors in one place."""
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            what = "two tensors share bytes" if start < end else f"{start - end:,} bytes belong to no tensor"
            return f"{what} at {min(start, end):,}: the engine will refuse it"
        end = stop
    return ""


def _cut(told: int, size: int | None) -> str:
    if size is None or size == told:
        return ""
    return f"it has {size:,} bytes and its header tells of {told:,}: " + ("it is cut" if size < told else "damaged")
