"""Which repositories are forms of one model, of which kind, and which of them are worth a look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.fit.model import Quantization
from orchestrator.fit.relatives import TREE, Listed, base_of, choose_relatives, expected, kind_of, usual_quant

BASE = "Qwen/Qwen3-32B"


@pytest.mark.parametrize(
    ("name", "kind", "bits"),
    [
        ("Qwen/Qwen3-32B", "base", 0),
        ("Qwen/Qwen3-32B-AWQ", "awq", 4),
        ("Qwen/Qwen3-32B-FP8", "fp8", 8),
        ("Qwen/Qwen3-32B-GPTQ-Int4", "gptq", 4),
        ("Qwen/Qwen3-32B-GPTQ-Int8", "gptq", 8),
        ("Qwen/Qwen3-32B-GGUF", "gguf", 0),
        ("unsloth/Qwen3-32B-bnb-4bit", "bitsandbytes", 4),
        ("RedHatAI/Qwen3-32B-quantized.w4a16", "int4", 4),
        ("RedHatAI/Qwen3-32B-quantized.w8a8", "int8", 8),
        ("RedHatAI/Qwen3-32B-FP8-dynamic", "fp8", 8),
        ("nvidia/Qwen3-32B-NVFP4", "nvfp4", 4),
        ("nvidia/Qwen3-32B-FP4", "nvfp4", 4),
        ("mlx-community/Qwen3-32B-MLX-4bit", "mlx", 4),
        ("someone/Qwen3-32B-exl3", "exl", 0),
        ("Intel/Qwen3-32B-int4-AutoRound", "autoround", 4),
        ("TheBloke/Llama-2-7B-AWQ", "awq", 4),
        ("meta-llama/Llama-3.1-8B-Instruct", "base", 0),
        ("google/gemma-3-12b-it", "base", 0),
    ],
)
def test_names_tell_the_kind_and_bits(name: str, kind: str, bits: int) -> None:
    assert kind_of(name) == (kind, bits, "assumed")


def test_a_tag_tells_where_the_name_does_not() -> None:
    assert kind_of("o/m", ["transformers", "awq"]) == ("awq", 4, "assumed")


@pytest.mark.parametrize(
    ("name", "method", "bits", "expected"),
    [
        ("o/m-AWQ", "gptq", 8, ("gptq", 8)),
        ("o/m", "fbgemm-fp8", 8, ("fp8", 8)),
        ("o/m-FP8-dynamic", "compressed-tensors", 8, ("fp8", 8)),
        ("o/m", "compressed-tensors", 4, ("compressed-tensors", 4)),
        ("o/m-FP4", "modelopt_fp4", 4, ("nvfp4", 4)),
        ("o/m-GPTQ-Int4", "gptq", 0, ("gptq", 4)),
    ],
)
def test_a_config_is_believed_before_a_name(name: str, method: str, bits: int, expected: tuple[str, int]) -> None:
    assert kind_of(name, (), Quantization(method, bits)) == (*expected, "declared")


@pytest.mark.parametrize(
    ("repo", "tags", "named", "base"),
    [
        (BASE, (), (), BASE),
        (BASE, ("base_model:Qwen/Qwen3-32B-Base",), ("Qwen/Qwen3-32B-Base",), BASE),  # tuned, not quantized
        ("Qwen/Qwen3-32B-AWQ", (), (), BASE),
        ("Qwen/Qwen3-32B-GPTQ-Int8", (), (), BASE),
        ("RedHatAI/Qwen3-32B-quantized.w4a16", (), (BASE,), BASE),
        ("nvidia/Qwen3-32B-FP4", (f"{TREE}{BASE}",), (), BASE),
        ("o/any-name", (f"{TREE}{BASE}",), ("somebody/else",), BASE),
        ("AWQ/AWQ", (), (), "AWQ/AWQ"),
    ],
)
def test_the_base_is_found_by_tree_card_or_name(
    repo: str, tags: tuple[str, ...], named: tuple[str, ...], base: str
) -> None:
    assert base_of(repo, tags, named) == base


@pytest.mark.parametrize("name", expected(BASE))
def test_the_owners_names_lead_back_to_the_base(name: str) -> None:
    assert base_of(name, ()) == BASE
    assert kind_of(name)[0] != "base"


TREED = (f"{TREE}{BASE}",)
LISTED = [
    Listed("Qwen/Qwen3-32B", (), 900),
    Listed("Qwen/Qwen3-32B-AWQ", TREED, 500),
    Listed("Qwen/Qwen3-32B-FP8", (), 400),  # its owner's, though nobody put it into the tree
    Listed("Qwen/Qwen3-32B-GGUF", TREED, 300),
    Listed("Qwen/Qwen3-32B-Base", (), 9000),  # another model
    Listed("Qwen/Qwen3-32B-Instruct-AWQ", (), 9000),  # of another model
    Listed("other/Qwen3-32B-AWQ", TREED, 99999),
    Listed("other/Qwen3-32B-FP8-dynamic", TREED, 99999),
    Listed("one/Qwen3-32B-NVFP4", TREED, 10),
    Listed("two/Qwen3-32B-NVFP4", TREED, 20),
    Listed("mlx-community/Qwen3-32B-4bit", (*TREED, "mlx"), 99999),
    Listed("x/Qwen3-32B-exl3", TREED, 5),
    Listed("x/Qwen3-32B-GPTQ-Int4", (f"{TREE}Qwen/Qwen3-32B-Base",), 5),  # of another model
]


def test_one_of_each_kind_is_chosen_the_owners_first() -> None:
    found = choose_relatives(BASE, LISTED)
    assert [one.repo for one in found] == [
        BASE,
        "Qwen/Qwen3-32B-FP8",
        "Qwen/Qwen3-32B-AWQ",
        "two/Qwen3-32B-NVFP4",
        "Qwen/Qwen3-32B-GGUF",
    ]
    assert [one.official for one in found] == [True, True, True, False, True]
    assert found[0].downloads == 900


def test_what_a_person_names_is_there_whatever_it_is() -> None:
    found = choose_relatives(BASE, LISTED, ["other/Qwen3-32B-AWQ", "my/own"], shown=1)
    assert [(one.repo, one.given, one.kind) for one in found[:3]] == [
        (BASE, False, "base"),
        ("other/Qwen3-32B-AWQ", True, "awq"),
        ("my/own", True, "base"),
    ]
    assert len(found) == 4


def test_gptq_of_4_and_of_8_bits_are_two() -> None:
    listed = [Listed(f"{BASE}-GPTQ-Int{bits}") for bits in (4, 8)]
    assert [one.bits for one in choose_relatives(BASE, listed)] == [0, 8, 4]


@given(st.permutations(LISTED))
def test_the_order_of_the_list_does_not_matter(listed: list[Listed]) -> None:
    assert choose_relatives(BASE, listed) == choose_relatives(BASE, LISTED)


@given(st.text(max_size=30), st.lists(st.text(max_size=20), max_size=3))
def test_any_name_has_a_kind_and_a_base(name: str, tags: list[str]) -> None:
    assert kind_of(name, tags)[0]
    assert isinstance(base_of(name, tags), str)


@pytest.mark.parametrize(
    ("names", "quant"),
    [
        (["m-Q8_0.gguf", "m-Q4_K_M.gguf"], "Q4_K_M"),
        (["m.q4_k_m.gguf", "m.q8_0.gguf"], "q4_k_m"),
        (["Q5_K_M/m-Q5_K_M-00001-of-00002.gguf", "m-Q3_K_L.gguf"], "Q5_K_M"),
        (["m-UD-Q4_K_XL.gguf", "m-Q8_0.gguf"], "Q4_K_XL"),
        (["m-Q4_0_4_4.gguf", "m-Q8_0.gguf"], "Q8_0"),
        (["m-xyz.gguf"], ""),
        (["Q4_K_M.safetensors"], ""),
    ],
)
def test_of_many_gguf_models_the_usual_one_is_named(names: list[str], quant: str) -> None:
    assert usual_quant(names) == quant
