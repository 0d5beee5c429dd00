"""The header of a GGUF file: key-value pairs, exact bytes a tensor, both byte orders; nothing raised but BadHeader."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_files import KINDS, Gguf

from orchestrator.fit.ggml import TYPES
from orchestrator.fit.gguf_header import KEPT, parse
from orchestrator.fit.header import BadHeader, More, Read

FILE = "m.gguf"
NAMES = {block.name: number for number, block in TYPES.items()}

ROW = 512  # whole blocks of every type
BYTES = {  # of 512 weights, from the bits a weight that llama.cpp's own table gives: 512 * bits / 8
    "F32": 32, "F16": 16, "BF16": 16, "Q4_0": 4.5, "Q4_1": 5, "Q5_0": 5.5, "Q5_1": 6, "Q8_0": 8.5, "Q2_K": 2.625,
    "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625, "IQ1_S": 1.5625, "IQ1_M": 1.75, "IQ2_XXS": 2.0625,
    "IQ2_XS": 2.3125, "IQ2_S": 2.5625, "IQ3_XXS": 3.0625, "IQ3_S": 3.4375, "IQ4_NL": 4.5, "IQ4_XS": 4.25,
    "TQ1_0": 1.6875, "TQ2_0": 2.0625, "MXFP4": 4.25, "NVFP4": 4.5, "Q1_0": 1.125, "Q2_0": 2.25, "Q8_K": 9.125,
    "Q8_1": 9, "I8": 8, "I16": 16, "I32": 32, "I64": 64, "F64": 64,
}  # fmt: skip


def read(file: Gguf | bytes, size: int | None = None) -> Read:
    data = file if isinstance(file, bytes) else file.file()
    found = parse(data, FILE, len(data) if size is None else size)
    assert isinstance(found, Read)
    return found


def notes(file: Gguf | bytes, size: int | None = None) -> list[str]:
    return [one.removeprefix(f"{FILE}: ") for one in read(file, size).notes]


def test_every_type_has_its_bytes() -> None:
    assert BYTES.keys() == NAMES.keys()
    sizes = {name: int(ROW * bits / 8) for name, bits in BYTES.items()}
    file = Gguf({}, [(f"{name}.weight", (ROW, 3), NAMES[name], 3 * size) for name, size in sizes.items()])
    found = read(file)
    assert {tensor.dtype: tensor.bytes for tensor in found.header.tensors} == {
        name: 3 * size for name, size in sizes.items()
    }
    assert {tensor.shape for tensor in found.header.tensors} == {(3, ROW)}
    assert found.notes == ()


def test_pairs_are_text_and_a_vocabulary_is_only_counted() -> None:
    layers = [8, 8, 4]
    pairs = {
        "general.architecture": ("text", "qwen3"),
        "qwen3.block_count": ("u32", 3),
        "qwen3.attention.head_count_kv": ("[u32]", layers),
        "qwen3.rope.freq_base": ("f32", 1e6),
        "qwen3.rope.scaling.finetuned": ("bool", True),
        "tokenizer.ggml.tokens": ("[text]", [f"token {index}" for index in range(KEPT + 1)]),
        "tokenizer.ggml.token_type": ("[i32]", [1] * (KEPT + 1)),
        "general.tags": ("[text]", ["chat", "ü"]),
        "general.nested": ("[[u8]]", [[1, 2], [3]]),
    }
    assert read(Gguf(pairs)).header.metadata == {
        "general.architecture": "qwen3",
        "qwen3.block_count": "3",
        "qwen3.attention.head_count_kv": json.dumps(layers),
        "qwen3.rope.freq_base": "1000000.0",
        "qwen3.rope.scaling.finetuned": "true",
        "tokenizer.ggml.tokens.length": str(KEPT + 1),
        "tokenizer.ggml.token_type.length": str(KEPT + 1),
        "general.tags": json.dumps(["chat", "ü"]),
        "general.nested": "[[1, 2], [3]]",
    }


def test_the_other_byte_order_is_read_and_said() -> None:
    file = Gguf({"a.b": ("u32", 7)}, [("w", (32, 2), NAMES["Q8_0"], 68)], order=">")
    found = read(file)
    assert found.header.metadata == {"a.b": "7"}
    assert found.header.tensors[0].bytes == 68
    assert found.notes == (f"{FILE}: it is big-endian, made for other machines: no engine here loads it",)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("version", [1, 4, 77])
def test_an_unknown_version_is_named(order: str, version: int) -> None:
    with pytest.raises(BadHeader, match=f"it is GGUF of version {version}, and only 2 and 3 are known"):
        parse(Gguf({}, version=version, order=order).file(), FILE)


def test_version_2_is_read_alike() -> None:
    assert read(Gguf({"a": ("u8", 1)}, version=2)).header.metadata == {"a": "1"}


def test_alignment_is_the_files_own() -> None:
    tensors = [("a", (5,), NAMES["F32"], 20), ("b", (32,), NAMES["Q4_0"], 18)]
    found = read(Gguf({"general.alignment": ("u32", 256)}, tensors, align=256))
    assert [tensor.bytes for tensor in found.header.tensors] == [20, 18]
    assert (found.length % 256, found.data, found.notes) == (0, 256 + 18, ())


@pytest.mark.parametrize("alignment", [0, 1 << 21])
def test_an_absurd_alignment_is_damage(alignment: int) -> None:
    with pytest.raises(BadHeader, match="its tensors would lie at multiples of"):
        parse(Gguf({"general.alignment": ("u32", alignment)}).file(), FILE)


def test_an_unknown_type_has_the_bytes_of_its_place() -> None:
    tensors = [("a", (64,), 142, 96), ("b", (32,), NAMES["F32"], 128), ("c", (64,), 142, 64)]
    data = Gguf({}, tensors).file()
    found = read(data)
    assert [(one.dtype, one.bytes) for one in found.header.tensors] == [
        ("type 142", 96),
        ("F32", 128),
        ("type 142", 64),
    ]
    assert notes(data) == ["2 of its tensors are of unknown types (142); their bytes are those of their places"]
    # Whoever does not know how long the file is cannot know the last one's.
    cut = parse(data[: found.length], FILE)
    assert isinstance(cut, Read)
    assert cut.header.tensors[2].bytes == 0
    assert cut.notes[1] == f"{FILE}: how many bytes c has cannot be told"


def test_a_forks_own_meaning_of_a_type_is_seen_by_its_place() -> None:
    tensors = [("a", (128,), NAMES["Q2_0"], 160), ("b", (32,), NAMES["F32"], 128)]
    data = Gguf({}, tensors).file()
    assert [one.bytes for one in read(data).header.tensors] == [160, 128]
    assert notes(data) == [
        "1 tensors do not fill their places (a: 36 bytes as Q2_0, 160 in the file): it is damaged, or made by a fork "
        "for itself"
    ]


def test_a_file_that_is_cut_is_told_from_a_whole_one() -> None:
    data = Gguf({}, [("a", (32, 2), NAMES["F32"], 256)]).file()
    assert notes(data) == []
    assert notes(data[:-1]) == [f"it has {len(data) - 1} bytes and its header tells of {len(data)}: it is cut"]


def test_a_tensor_of_nothing_has_no_bytes() -> None:
    found = read(Gguf({}, [("a", (0,), NAMES["F32"], 0), ("b", (8,), NAMES["F32"], 32)]))
    assert [one.bytes for one in found.header.tensors] == [0, 32]


def test_a_pair_that_is_there_twice_is_said() -> None:
    once, twice = Gguf({"a": ("u8", 1)}).file(), Gguf({"a": ("u8", 1), "b": ("u8", 2)}).file()
    assert notes(twice.replace(b"b", b"a")) == ["a is there twice, and the last is taken"]
    assert notes(once) == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GGML....", "it does not begin with GGUF"),
        (b"ab", "it does not begin with GGUF"),
        (b"<html>", "it is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of git-lfs"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0), "its header would have more than 268,435,456 bytes"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63), "its header would have more than 268,435,456 bytes"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60) + b"\0" * 99, "its header would have more than"),
        (Gguf({"k\x07": ("u8", 1)}).file()[:-5] + b"\x63\0\0\0\1", "its header is damaged: k\\u0007 has a value of"),
        (Gguf({"k": ("[[[[[[u8]]]]]]", [[[[[[1]]]]]])}).file(), "its header is damaged: k is an array in arrays"),
        (Gguf({"k": ("[[u8]]", [[1]] * (KEPT + 1))}).file(), "its header is damaged: k is a long array of kind 9"),
        (Gguf({}, [("t", (1,) * 9, 0, 4)]).file(), "its header is damaged: t has 9 dimensions"),
    ],
)
def test_what_is_no_header_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BadHeader) as caught:
        parse(data, FILE)
    assert caught.value.why.startswith(why)


SMALL = Gguf(
    {"general.architecture": ("text", "llama"), "t": ("[text]", ["x"] * (KEPT + 2)), "n": ("[f32]", [0.5] * 2000)},
    [("a", (256,), NAMES["Q4_K"], 144)],
)


def test_less_than_the_header_is_never_read_as_all() -> None:
    whole = SMALL.file()
    end = len(SMALL.header())
    for part in [*range(60), *range(60, end, 997), end - 1]:
        found = parse(whole[:part], FILE, len(whole))
        assert isinstance(found, More)
        assert part < found.bytes <= end
        with pytest.raises(BadHeader, match="ends within its header"):
            parse(whole[:part], FILE, part)
    assert isinstance(parse(whole[:end], FILE, len(whole)), Read)


scalars = st.one_of(
    st.tuples(st.just("text"), st.text(max_size=9)),
    st.tuples(st.just("bool"), st.booleans()),
    st.tuples(st.just("f64"), st.floats(allow_nan=False)),
    *(
        st.tuples(st.just(kind), st.integers(-(1 << bits - 1) if kind[0] == "i" else 0, (1 << bits - 1) - 1))
        for kind in KINDS
        if kind[0] in "ui"
        for bits in (int(kind[1:]),)
    ),
)
arrays = st.sampled_from([*KINDS, "text"]).flatmap(
    lambda kind: st.lists(
        st.text(max_size=3) if kind == "text" else st.booleans() if kind == "bool" else st.just(1)
    ).map(lambda values: (f"[{kind}]", values))
)
pairs = st.dictionaries(
    st.text(min_size=1, max_size=9).filter(lambda key: key != "general.alignment"), scalars | arrays, max_size=6
)


@given(pairs, st.sampled_from("<>"), st.sampled_from([2, 3]), st.lists(st.sampled_from(sorted(TYPES)), max_size=5))
def test_what_was_written_is_read(told: Any, order: str, version: int, types: list[int]) -> None:
    tensors = [(f"t{index}", (ROW, 2), kind, TYPES[kind].size(ROW, 2)) for index, kind in enumerate(types)]
    file = Gguf(told, tensors, order, version)
    found = read(file)
    values = {key: value if kind == "text" else json.dumps(value) for key, (kind, value) in told.items()}
    floats = {key for key, (kind, _) in told.items() if "f" in kind}
    assert found.header.metadata.keys() == values.keys()
    for key, text in values.items():
        written = found.header.metadata[key]
        assert json.loads(written) == json.loads(text) if key in floats else written == text
    assert [(one.name, one.dtype, one.bytes) for one in found.header.tensors] == [
        (name, TYPES[kind].name, size) for name, _, kind, size in tensors
    ]
    assert len(found.notes) == (order == ">")


@settings(max_examples=200)
@given(st.integers(0, 300), st.binary(max_size=12), st.sampled_from([None, 40, 400, 1 << 40]))
def test_damaged_bytes_are_read_or_refused(place: int, damage: bytes, size: int | None) -> None:
    data = bytearray(SMALL.file())
    data[place : place + len(damage)] = damage
    read_or_refused(bytes(data), size)


@settings(max_examples=300)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"GGUF\3\0\0\0", b"GGUF\0\0\0\2"]), st.none() | st.integers(0, 300)
)
def test_any_bytes_are_read_or_refused(data: bytes, start: bytes, size: int | None) -> None:
    read_or_refused(start + data, size)


def read_or_refused(data: bytes, size: int | None) -> None:
    try:
        found = parse(data, FILE, size)
    except BadHeader as refused:
        assert str(refused).startswith(f"cannot read {FILE}: ")
    else:
        assert isinstance(found, Read) or found.bytes > len(data)
