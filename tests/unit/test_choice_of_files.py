"""Which files of a repository are chosen: those that vLLM's loader would load, and nothing twice."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model import RemoteFile, RepoUse
from orchestrator.weights import choose

TEXTS = ["config.json", "generation_config.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "vocab.json"]
PAPERS = [".gitattributes", "LICENSE", "README.md", "figures/chart.png"]
SAFE = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
BIN = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"]
GGUF = ["qwen3-8b-q4_k_m.gguf", "qwen3-8b-q8_0.gguf"]


def files(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, len(path), f"{index:040x}") for index, path in enumerate(paths)]


def use(load_format: str = "auto", variant: str = "", wants: str = "weights") -> RepoUse:
    return RepoUse("model", "o/m", wants=wants, load_format=load_format, variant=variant)  # type: ignore[arg-type]


def chosen(paths: Sequence[str], how: RepoUse | None = None, **more: Sequence[str]) -> list[str]:
    return [file.path for file in choose(files(*paths), how or use(), **more).files]


@pytest.mark.parametrize(
    ("how", "there", "weights"),
    [
        (use(), [*SAFE, *BIN], [SAFE[0], SAFE[1]]),
        (use(), BIN, [BIN[0]]),
        (use(), ["model.pt"], ["model.pt"]),
        (use("pt"), ["model.pt", *SAFE], ["model.pt"]),
        (use("npcache"), [*SAFE, *BIN], [BIN[0]]),
        (use(), ["consolidated.safetensors", "model.safetensors"], ["consolidated.safetensors"]),
        (use("safetensors"), ["consolidated.safetensors", *BIN], ["consolidated.safetensors"]),
        (use("hf"), ["consolidated.safetensors", "a.safetensors"], ["a.safetensors", "consolidated.safetensors"]),
        (use(), [*SAFE, "original/consolidated.00.pth", "original/model.safetensors", "onnx/model.onnx"], SAFE[:2]),
        (use(), ["model.safetensors", "flax_model.msgpack", "tf_model.h5", "rust_model.ot"], ["model.safetensors"]),
        (use(), ["model.safetensors", "1_Pooling/config.json", "2_Dense/pytorch_model.bin"],
         ["2_Dense/pytorch_model.bin", "model.safetensors"]),
        (use("dummy"), SAFE, []),
        (use(), [GGUF[0]], [GGUF[0]]),
        (use(variant="Q8_0"), GGUF, [GGUF[1]]),
        (use(variant="Q8_0"), ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "m-Q4_0.gguf"],
         ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"]),
        (use(), ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"],
         ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]),
    ],
)  # fmt: skip
def test_one_kind_of_weights_the_best_there_is(how: RepoUse, there: list[str], weights: list[str]) -> None:
    found = chosen([*TEXTS, *PAPERS, *there], how)
    kinds = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".msgpack", ".h5", ".ot", ".onnx")
    assert [path for path in found if path.endswith(kinds)] == weights
    assert set(TEXTS) <= set(found)
    assert not set(PAPERS) & set(found)


@pytest.mark.parametrize(
    ("how", "there", "why", "do"),
    [
        (use(), [], "it holds no weights at all", "name another repository"),
        (use("safetensors"), BIN, "no weights for load_format safetensors: there is .bin", "another load_format"),
        (use(), GGUF, "it holds 2 GGUF models (qwen3-8b-q4_k_m.gguf, qwen3-8b-q8_0.gguf)", "o/m:QUANT"),
        (use(variant="Q2_K"), GGUF, "no GGUF file called Q2_K", "there is qwen3-8b-q4_k_m.gguf, qwen3-8b-q8_0.gguf"),
    ],
)
def test_what_cannot_be_loaded_is_said(how: RepoUse, there: list[str], why: str, do: str) -> None:
    choice = choose(files(*TEXTS, *there), how)
    assert not choice.files
    assert why in choice.why
    assert do in choice.do


def test_a_tokenizer_needs_no_weights_and_code_needs_code() -> None:
    there = [*TEXTS, *SAFE, "modeling.py", "README.md"]
    assert chosen(there, use(wants="texts")) == sorted([*TEXTS, "modeling.py", SAFE[2]])
    assert chosen(there, use(wants="code")) == sorted([one for one in there if one.endswith((".json", ".py"))])


def test_what_a_person_asks_for_is_what_they_get() -> None:
    there = [*TEXTS, *PAPERS, *SAFE, *BIN, *GGUF]
    assert chosen(there, include=["*.gguf", "README*"]) == ["README.md", *GGUF]
    assert chosen(there, include=["*.gguf"], exclude=["*q8*"]) == GGUF[:1]
    assert chosen([*TEXTS, *SAFE], exclude=["*-00002-*", "vocab.json"]) == sorted(
        {*TEXTS, SAFE[0], SAFE[2]} - {"vocab.json"}
    )
    assert choose(files(*there), use(), include=["*.nothing"]).why == "none of its files matches"


paths = st.lists(
    st.sampled_from([*TEXTS, *PAPERS, *SAFE, *BIN, *GGUF, "consolidated.safetensors", "original/model.safetensors"]),
    unique=True,
)
formats = st.sampled_from(["auto", "hf", "safetensors", "pt", "npcache", "gguf", "mistral", "dummy", "who-knows"])


@given(paths, formats, st.randoms(use_true_random=False))
def test_the_order_of_a_list_means_nothing_and_every_file_is_counted(
    there: list[str], load_format: str, random: "object"
) -> None:
    listed = files(*there)
    choice = choose(listed, use(load_format))
    random.shuffle(listed)  # type: ignore[attr-defined]
    assert choose(listed, use(load_format)) == choice
    assert len(choice.files) + choice.left_out == len(there)
    assert set(choice.files) <= set(listed)
    assert choice.total == sum(file.size for file in choice.files)
