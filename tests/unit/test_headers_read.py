"""Models on a disk described by the first bytes of their files: what is told, what is missing, how little is read."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from weight_files import Gguf, safetensors, with_length

from orchestrator import headers
from orchestrator.describe import describe
from orchestrator.errors import HostError, HubRefused, HubUnreachable
from orchestrator.fit.description import Description, pack, unpack
from orchestrator.fit.header import BadHeader
from orchestrator.fit.read_header import FIRST, read_header
from orchestrator.model import RemoteFile, RepoUse
from orchestrator.pieces import pieces

CONFIG = {"model_type": "qwen3", "num_hidden_layers": 2}
ONE = safetensors({"model.embed_tokens.weight": ("BF16", [512, 64], 65536)})
TWO = safetensors({"lm_head.weight": ("BF16", [512, 64], 65536), "model.norm.weight": ("F32", [64], 256)})
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


def index(total: int | None = 65536 * 2 + 256, shards: tuple[str, ...] = SHARDS) -> bytes:
    names = {f"weight {number}": shard for number, shard in enumerate(shards)}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": names}).encode()


def sharded(**others: bytes) -> dict[str, bytes]:
    return {"config.json": json.dumps(CONFIG).encode(), SHARDS[0]: ONE, SHARDS[1]: TWO, INDEX: index()} | others


def laid(top: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    return top


def names(found: Description) -> list[str]:
    return [tensor.name for header in found.headers for tensor in header.tensors]


# ----------------------------------------------------------------------------------------------------------- a folder


def test_a_folder_tells_its_config_its_tensors_and_its_size(tmp_path: Path) -> None:
    found = headers.at(laid(tmp_path, sharded()))
    assert found.config == CONFIG
    assert names(found) == ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"]
    assert [header.file for header in found.headers] == list(SHARDS)
    assert (found.kind, found.files, found.disk) == ("safetensors", 2, len(ONE) + len(TWO))
    assert found.bytes == found.declared == 131328
    assert found.complete
    assert found.here
    assert found.notes == ()


def test_of_large_files_only_the_beginning_is_read(tmp_path: Path) -> None:
    big = safetensors({"w": ("U8", [1 << 24], 0)}).replace(b"[0, 0]", b"[0, 16777216]")
    laid(tmp_path, {"config.json": b"{}", "model.safetensors": with_length(big[8:])})
    os.truncate(tmp_path / "model.safetensors", len(big) + (1 << 24))
    found = headers.folder(tmp_path)
    assert found.bytes == 1 << 24
    assert found.disk > 1 << 24
    assert found.read <= FIRST[".safetensors"] + 2
    assert found.notes == ()


def test_a_copy_that_the_index_does_not_name_is_left_out_as_the_engine_does(tmp_path: Path) -> None:
    found = headers.folder(laid(tmp_path, sharded(**{"copy.safetensors": ONE})))
    assert (found.files, found.bytes) == (2, 131328)


def test_of_a_long_index_only_the_sum_at_its_beginning_is_read(tmp_path: Path) -> None:
    names = {f"weight {number}": SHARDS[number % 2] for number in range(1 << 16)}
    long = json.dumps({"metadata": {"total_size": 131328}, "weight_map": names}).encode()
    found = headers.folder(laid(tmp_path, sharded(**{INDEX: long})))
    assert (found.declared, found.notes) == (131328, ())
    assert found.read < 1 << 17 < len(long)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({INDEX: index(total=7)}, "the headers tell of 131,328 bytes of tensors, and the index of 7"),
        (
            {INDEX: index(shards=(*SHARDS, "lost.safetensors"))},
            "the index names lost.safetensors, which is not there: the engine will refuse it",
        ),
        ({SHARDS[1]: TWO[:40]}, f"cannot read {SHARDS[1]}: it ends within its header"),
        ({SHARDS[1]: TWO[:-1]}, f"{SHARDS[1]}: it has {len(TWO) - 1:,} bytes and its header tells of {len(TWO):,}: "),
        ({SHARDS[1]: b"version https://git-lfs.github.com"}, f"cannot read {SHARDS[1]}: it is a pointer of git-lfs"),
        ({"config.json": b"[]"}, "config.json is no JSON object: it is damaged"),
        ({"config.json": b"{"}, "config.json is no JSON object: it is damaged"),
    ],
)
def test_what_is_wrong_is_told_beside_what_was_found(tmp_path: Path, change: dict[str, bytes], note: str) -> None:
    found = headers.folder(laid(tmp_path, sharded() | change))
    assert any(one.startswith(note) for one in found.notes), found.notes
    assert "model.embed_tokens.weight" in names(found)


def test_no_config_is_said(tmp_path: Path) -> None:
    found = headers.folder(laid(tmp_path, {"model.safetensors": ONE}))
    assert found.config is None
    assert found.notes == ("there is no config.json that could be read: the model's shape is not known",)
    assert found.complete


def test_pickles_are_counted_and_not_opened(tmp_path: Path) -> None:
    found = headers.folder(laid(tmp_path, {"config.json": b"{}", "pytorch_model.bin": b"cos\nsystem\n"}))
    assert (found.kind, found.files, found.disk, found.headers) == ("bin", 1, 11, ())
    assert found.notes == ("pytorch_model.bin tells its tensors only to who runs it: only its size is known",)
    assert not found.complete


def test_a_folder_without_weights_tells_its_config(tmp_path: Path) -> None:
    found = headers.folder(laid(tmp_path, {"config.json": json.dumps(CONFIG).encode()}))
    assert found.config == CONFIG
    assert (found.kind, found.files) == ("", 0)
    assert found.notes[0].startswith("it has no weights for load_format auto: it holds no weights at all")


def test_that_weights_are_missing_is_not_said_of_a_part_of_what_there_is(tmp_path: Path) -> None:
    only = {"config.json": json.dumps(CONFIG).encode(), INDEX: index()}
    files = [RemoteFile(name, len(data), "") for name, data in only.items()]
    found = [
        describe("a/b", files, RepoUse("model", "a/b"), pieces(laid(tmp_path, only)), partial=partial)
        for partial in (True, False)
    ]
    assert found[0].config == CONFIG
    assert found[0].notes == ()
    assert any("it holds no weights at all" in note for note in found[1].notes)
    assert any("the engine will refuse it" in note for note in found[1].notes)


def test_what_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no such file or directory"):
        headers.folder(tmp_path / "nowhere")
    with pytest.raises(HostError, match="not a directory"):
        headers.folder(laid(tmp_path, {"file": b""}) / "file")
    with pytest.raises(HostError, match="there is no such file"):
        headers.gguf(tmp_path / "no.gguf")


def test_a_repository_in_the_hubs_cache_is_to_be_named(tmp_path: Path) -> None:
    top = tmp_path / "models--org--m"
    laid(top / "snapshots" / ("a" * 40), sharded())
    with pytest.raises(HostError, match=r"it is a repository in the Hub's cache, .*; name org/m$"):
        headers.folder(top)
    assert headers.folder(top / "snapshots" / ("a" * 40)).complete


def test_the_same_trouble_with_a_hundred_files_is_told_in_a_few_lines(tmp_path: Path) -> None:
    found = headers.folder(laid(tmp_path, {f"model-{number:05}.safetensors": b"abc" for number in range(99)}))
    assert len(found.notes) == 12
    assert found.notes[-1] == "and 89 more like these"


def test_a_pipe_under_a_files_name_is_passed_over(tmp_path: Path) -> None:
    laid(tmp_path, {"model.safetensors": ONE})
    os.mkfifo(tmp_path / "config.json")
    assert headers.folder(tmp_path).config is None


# --------------------------------------------------------------------------------------------------------------- GGUF


def part(number: int, count: int, tensors: int, total: int) -> bytes:
    split = {"split.no": ("u16", number), "split.count": ("u16", count), "split.tensors.count": ("i32", total)}
    return Gguf(split, [(f"blk.{number}.{index}", (32,), 8, 34) for index in range(tensors)]).file()


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"m-Q8_0-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for number, file in enumerate(files):
        file.write_bytes(part(number, 3, 2, 6))
    return files


@pytest.mark.parametrize("named", [0, 2])
def test_all_parts_of_a_split_file_are_found_by_any(parts: list[Path], named: int) -> None:
    (parts[0].parent / "other.gguf").write_bytes(b"not looked at")
    found = headers.at(parts[named])
    assert [header.file for header in found.headers] == [file.name for file in parts]
    assert found.bytes == 6 * 34
    assert (found.kind, found.config, found.notes) == ("gguf", None, ())


def test_a_missing_part_is_said(parts: list[Path]) -> None:
    parts[1].unlink()
    found = headers.gguf(parts[0])
    assert found.notes == ("it is in 3 parts, and 2 are here",)
    assert found.bytes == 4 * 34


def test_parts_that_lack_tensors_are_said(parts: list[Path]) -> None:
    parts[1].write_bytes(part(1, 3, 1, 6))
    assert headers.gguf(parts[0]).notes == ("its parts have 5 tensors, and 6 are told of",)


def test_of_several_models_in_one_folder_one_is_to_be_named(tmp_path: Path) -> None:
    one = Gguf({}, [("a", (32,), 8, 34)]).file()
    laid(tmp_path, {"m-Q4_K_M.gguf": one, "m-Q8_0.gguf": one})
    assert headers.folder(tmp_path).notes[0].startswith("it holds 2 GGUF models (m-Q4_K_M.gguf, m-Q8_0.gguf)")
    found = headers.folder(tmp_path, variant="Q8_0")
    assert [header.file for header in found.headers] == ["m-Q8_0.gguf"]


# ------------------------------------------------------------------------------------------------ piece by piece


def test_a_long_header_is_read_in_few_pieces_and_no_further(tmp_path: Path) -> None:
    words = {"tokenizer.ggml.tokens": ("[text]", [f"word {number}" for number in range(50_000)])}
    file = Gguf(words, [("a", (1 << 20,), 0, 1 << 22)])
    data, asked = file.file(), list[tuple[int, int]]()

    def piece(start: int, end: int) -> bytes:
        asked.append((start, end))
        return data[start:end]

    assert read_header("a.gguf", len(data), piece).header.tensors[0].bytes == 1 << 22
    assert len(asked) < 10
    assert asked[-1][1] < 2 * len(file.header())
    assert [start for start, _ in asked[1:]] == [end for _, end in asked[:-1]]


@pytest.mark.parametrize("name", ["a.gguf", "a.safetensors"])
@pytest.mark.parametrize("cut", [0, 4, 20, 70])
def test_a_file_that_ends_early_is_refused_and_not_asked_for_ever(name: str, cut: int) -> None:
    data = ONE if name == "a.safetensors" else Gguf({"k": ("text", "v" * 90)}).file()
    with pytest.raises(BadHeader, match=r"it (has only|ends within)"):
        read_header(name, len(data), lambda start, end: data[:cut][start:end])


# ---------------------------------------------------------------------------------------- errors of whoever reads


FILES = [RemoteFile("config.json", 2, ""), RemoteFile("model.safetensors", len(ONE), "")]
USE = RepoUse("model", "o/m")


def test_a_refusal_leaves_what_is_listed() -> None:
    refusal = HubRefused("fetch o/m", "it is gated", "ask")

    def piece(file: RemoteFile, start: int, end: int) -> bytes:
        raise refusal

    found = describe("o/m", FILES, USE, piece)
    assert found.error is refusal
    assert (found.kind, found.files, found.disk) == ("safetensors", 1, len(ONE))


def test_a_lost_connection_is_not_told_as_a_missing_file() -> None:
    def piece(file: RemoteFile, start: int, end: int) -> bytes:
        raise HubUnreachable("ask", "no way", "")

    with pytest.raises(HubUnreachable):
        describe("o/m", FILES, USE, piece)


def test_a_description_travels_as_json(tmp_path: Path) -> None:
    found = headers.folder(laid(tmp_path, sharded(**{SHARDS[1]: TWO[:-1]})))
    assert unpack(json.loads(json.dumps(pack(found)))) == found
