"""Weight files written by hand, from what the formats say, for readers that shall not read what they wrote."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KINDS = {"u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"), "i32": (5, "i")}
KINDS |= {"f32": (6, "f"), "bool": (7, "?"), "u64": (10, "Q"), "i64": (11, "q"), "f64": (12, "d")}


def safetensors(
    tensors: Mapping[str, tuple[str, Sequence[int], int]], metadata: Mapping[str, str] | None = None, pad: int = 0
) -> bytes:
    """Each tensor as (dtype, shape, bytes), one after the other; ``pad`` spaces end the header."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    at = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    return with_length(json.dumps(header) + " " * pad) + b"\0" * at


def with_length(header: str | bytes) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text)) + text


@dataclass(frozen=True)
class Gguf:
    """``pairs``: name to (kind, value), where kind is one of KINDS, "text", or "[KIND]" for an array of them.
    ``tensors``: (name, dimensions fastest first, type number, bytes of data)."""

    pairs: Mapping[str, tuple[str, Any]]
    tensors: Sequence[tuple[str, Sequence[int], int, int]] = ()
    order: str = "<"
    version: int = 3
    align: int = 32

    def header(self) -> bytes:
        out = b"GGUF" + self.pack("I", self.version) + self.pack("QQ", len(self.tensors), len(self.pairs))
        for name, (kind, value) in self.pairs.items():
            number, body = self.value(kind, value)
            out += self.text(name) + self.pack("I", number) + body
        at = 0
        for name, dimensions, kind, size in self.tensors:
            shape = self.pack(f"I{len(dimensions)}Q", len(dimensions), *dimensions)
            out += self.text(name) + shape + self.pack("I", kind) + self.pack("Q", at)
            at += -(-size // self.align) * self.align
        return out

    def file(self) -> bytes:
        header = self.header()
        out = header + b"\0" * (-len(header) % self.align if self.tensors else 0)
        for _, _, _, size in self.tensors:
            out += b"w" * size + b"\0" * (-size % self.align)
        return out

    def value(self, kind: str, value: Any) -> tuple[int, bytes]:
        if kind == "text":
            return 8, self.text(value)
        if kind.startswith("["):
            inner = [self.value(kind[1:-1], one) for one in value]
            number = self.value(kind[1:-1], {"text": "", "bool": False}.get(kind[1:-1], []))[0] if not inner else 0
            number = inner[0][0] if inner else number
            return 9, self.pack("I", number) + self.pack("Q", len(value)) + b"".join(body for _, body in inner)
        number, code = KINDS[kind]
        return number, self.pack(code, value if value != [] else 0)

    def text(self, text: str) -> bytes:
        return self.pack("Q", len(text.encode())) + text.encode()

    def pack(self, code: str, *values: Any) -> bytes:
        return struct.pack(self.order + code, *values)
