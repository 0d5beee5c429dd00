"""The header of a safetensors file: what it tells, what it lacks, and nothing raised but BadHeader."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_files import safetensors, with_length

from orchestrator.fit.header import BadHeader, More, Read
from orchestrator.fit.model import Tensor
from orchestrator.fit.safetensors_header import BITS, parse

FILE = "model.safetensors"


def read(data: bytes, size: int | None = None) -> Read:
    found = parse(data, FILE, size)
    assert isinstance(found, Read)
    return found


def notes(header: Any, size: int | None = None) -> list[str]:
    """Of one with this JSON."""
    return [one.removeprefix(f"{FILE}: ") for one in read(with_length(json.dumps(header)), size).notes]


def entry(dtype: str = "BF16", shape: Any = (2, 3), span: Any = (0, 12)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": span}


def test_a_header_tells_type_shape_and_bytes_of_each_tensor() -> None:
    data = safetensors({"a.weight": ("BF16", [2, 3], 12), "b": ("F8_E4M3", [5], 5)}, {"format": "pt"}, pad=7)
    found = read(data, len(data))
    assert found.header.tensors == (Tensor("a.weight", "BF16", (2, 3), 12), Tensor("b", "F8_E4M3", (5,), 5))
    assert found.header.metadata == {"format": "pt"}
    assert found.header.file == FILE
    assert (found.length, found.data, found.notes) == (len(data) - 17, 17, ())


def test_it_says_how_many_bytes_it_needs() -> None:
    data = safetensors({"a": ("F32", [1], 4)})
    assert parse(b"", FILE) == More(8)
    assert parse(data[:7], FILE, len(data)) == More(8)
    assert parse(data[:8], FILE, len(data)) == More(len(data) - 4)
    assert parse(data[: len(data) - 5], FILE, len(data)) == More(len(data) - 4)
    assert isinstance(parse(data[: len(data) - 4], FILE, len(data)), Read)


@pytest.mark.parametrize(
    ("data", "size", "why"),
    [
        (b"abc", 3, "it has only 3 bytes"),
        (struct.pack("<Q", 10**15), 10**16, "its header would have 1,000,000,000,000,000 bytes"),
        (struct.pack("<Q", 0), 100, "its header would have 0 bytes"),
        (struct.pack("<Q", 500), 100, "it ends within its header, of which it has 92 bytes of 500"),
        (with_length(b"{nothing}"), None, "its header is no JSON"),
        (with_length(b"\xff\xfe"), None, "its header is no JSON"),
        (with_length("[" * 100_000), None, "its header is no JSON"),
        (with_length('{"a": ' + "9" * 5000 + "}"), None, "its header is no JSON"),
        (with_length("[1]"), None, "its header is no JSON object"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", 134, "it is a pointer of git-lfs, not the file"),
        (b"\n<!DOCTYPE html><html>", 5000, "it is a web page, not weights"),
        (b"GGUF\3\0\0\0\0\0\0\0", 5000, "it is a GGUF file under another name"),
    ],
)
def test_what_is_no_header_is_refused(data: bytes, size: int | None, why: str) -> None:
    with pytest.raises(BadHeader) as caught:
        parse(data, FILE, size)
    assert caught.value.what == f"read {FILE}"
    assert caught.value.why.startswith(why)
    assert caught.value.do


@pytest.mark.parametrize(
    "bad",
    [
        7,
        {},
        entry(dtype=3),  # type: ignore[arg-type]
        entry(shape="2x3"),
        entry(shape=[2.0]),
        entry(shape=[True]),
        entry(shape=[-1]),
        entry(shape=[1 << 63]),
        entry(shape=[1] * 17),
        entry(span=[0]),
        entry(span=[12, 0]),
        entry(span=None),
    ],
)
def test_a_tensor_that_tells_nothing_is_named_and_the_others_are_read(bad: Any) -> None:
    data = with_length(json.dumps({"good": entry(), "b\x1b[31mad": bad}))
    found = read(data)
    assert [tensor.name for tensor in found.header.tensors] == ["good"]
    assert found.notes == (f"{FILE}: of b\\u001b[31mad neither type nor size can be told",)


def test_an_unknown_type_has_the_bytes_of_its_place() -> None:
    found = read(with_length(json.dumps({"a": entry("F2_NEW", [4, 4], [0, 4])})))
    assert found.header.tensors == (Tensor("a", "F2_NEW", (4, 4), 4),)
    assert found.notes == (f"{FILE}: a is of an unknown type, F2_NEW; its bytes are those of its place",)


def test_what_does_not_add_up_is_said() -> None:
    assert notes({"a": entry(shape=[2, 4])}) == ["a has room for 12 bytes and a shape of 16"]
    assert notes({"a": entry(span=[4, 16])}) == ["4 bytes belong to no tensor at 0: the engine will refuse it"]
    shared = notes({"a": entry(), "b": entry(span=[6, 18])})
    assert shared == ["two tensors share bytes at 6: the engine will refuse it"]
    length = len(with_length(json.dumps({"a": entry()})))
    assert notes({"a": entry()}, length + 5) == [
        f"it has {length + 5} bytes and its header tells of {length + 12}: it is cut"
    ]
    assert notes({"a": entry()}, length + 13)[0].endswith(": damaged")
    assert notes({"a": entry()}, length + 12) == []


def test_types_below_a_byte_are_packed() -> None:
    assert notes({"a": entry("F4", [3, 3], [0, 5])}) == []
    assert notes({"a": entry("F6_E2M3", [4], [0, 3])}) == []


def test_names_can_be_encoded_whatever_they_hold() -> None:
    found = read(with_length(json.dumps({"\ud800": entry(), "__metadata__": {"\udfff": "\ud801"}})))
    assert found.header.tensors[0].name.encode()
    assert [one.encode() for pair in found.header.metadata.items() for one in pair]


@st.composite
def models(draw: st.DrawFn) -> dict[str, tuple[str, list[int], int]]:
    names = draw(st.lists(st.text(min_size=1).filter(lambda name: name != "__metadata__"), unique=True, max_size=6))
    found = {}
    for name in names:
        dtype = draw(st.sampled_from(sorted(BITS)))
        shape = draw(st.lists(st.integers(0, 9), max_size=3))
        elements = 1
        for size in shape:
            elements *= size
        found[name] = (dtype, shape, -(-elements * BITS[dtype] // 8))
    return found


@given(models(), st.none() | st.dictionaries(st.text(), st.text(), max_size=3), st.integers(0, 9))
def test_what_was_written_is_read(model: Any, metadata: dict[str, str] | None, pad: int) -> None:
    data = safetensors(model, metadata, pad)
    found = read(data, len(data))
    assert [(one.name, one.dtype, list(one.shape), one.bytes) for one in found.header.tensors] == [
        (name, *told) for name, told in model.items()
    ]
    assert found.header.metadata == (metadata or {})
    assert found.length + found.data == len(data)
    assert found.notes == ()


@given(models(), st.data())
def test_less_than_the_header_is_never_read_as_all(model: Any, data: st.DataObject) -> None:
    whole = safetensors(model)
    length = read(whole).length
    part = data.draw(st.integers(0, length - 1))
    found = parse(whole[:part], FILE, len(whole))
    assert isinstance(found, More)
    assert part < found.bytes <= length


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(with_length), st.none() | st.integers(0, 300))
def test_any_bytes_are_read_or_refused(data: bytes, size: int | None) -> None:
    try:
        found = parse(data, FILE, size)
    except BadHeader as refused:
        assert str(refused).startswith(f"cannot read {FILE}: ")
    else:
        assert isinstance(found, Read) or found.bytes > len(data)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
almost = st.fixed_dictionaries(
    {}, optional={"dtype": anything | st.sampled_from(sorted(BITS)), "shape": anything, "data_offsets": anything}
)


@given(st.dictionaries(st.text(max_size=5) | st.just("__metadata__"), anything | almost, max_size=5))
def test_any_json_is_read_and_each_entry_is_a_tensor_or_a_note(header: dict[str, Any]) -> None:
    found = read(with_length(json.dumps(header)))
    told = [name for name in header if name != "__metadata__"]
    assert len(found.header.tensors) + sum("can be told" in note for note in found.notes) == len(told)
