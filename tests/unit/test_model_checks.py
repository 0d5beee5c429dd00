"""What a model and a host cannot carry, as far as config.json and the environment tell."""

from typing import Any

import pytest

from orchestrator.engines.knowledge import Engine
from orchestrator.findings import Findings
from orchestrator.model import GpuDeclaration, ModelRef, Profile, Serve, Source
from orchestrator.model_checks import Subject, check_model

QWEN = {"num_attention_heads": 64, "num_key_value_heads": 8, "max_position_embeddings": 40960}
ENGINE = Engine("0.32.0", {}, {"fp8": 89, "awq": 75, "odd": None})
TOO_OLD = (
    "capability: fp8 needs a GPU of compute capability 8.9, and RTX 3090 has 8.6; choose another variant of the model"
)
OLD_CARD = GpuDeclaration("RTX 3090", 4, 24 << 30, "8.6")


def found(
    config: Any = QWEN, *, engine: Engine | None = ENGINE, host: Any = None, env: Any = None, **fields: Any
) -> list[str]:
    model = {key: fields.pop(key) for key in tuple(fields) if key in ModelRef.__dataclass_fields__}
    profile = Profile("a", "lab", ModelRef("o/m", **model), Serve(**fields), source=Source("a.yaml"))
    findings = Findings(profile.source, "profile")
    check_model(profile, Subject(engine, config, host, env or {}), findings)
    return [f"{one.code}: {one.why}; {one.do}" for one in findings.errors] + [one.what for one in findings.notes]


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, []), (2, []), (8, []), (16, []), ("auto", []),
        (3, ["indivisible-heads: o/m has 64 attention heads, which 3 does not divide; use 2, 4, 8 or 16"]),
    ],
)  # fmt: skip
def test_ranks_divide_the_heads(ranks: Any, expected: list[str]) -> None:
    assert found(tensor_parallel_size=ranks) == expected


def test_ranks_and_key_value_heads_divide_one_another() -> None:
    config = {"num_attention_heads": 24, "num_key_value_heads": 4}
    assert found(config, tensor_parallel_size=8) == []
    assert found(config, tensor_parallel_size=6) == [
        "indivisible-heads: o/m has 4 key-value heads, and neither divides 6 nor is divided by it; use 4"
    ]


def test_the_text_part_of_a_model_that_sees() -> None:
    config = {"num_attention_heads": 7, "text_config": {"num_attention_heads": 6}}
    assert found({"text_config": config}, tensor_parallel_size=7) == []
    assert found({"text_config": {"num_attention_heads": 6}}, tensor_parallel_size=4) != []


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        (None, 40960),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"type": "linear", "factor": 2.0}, 81920),
        ({"rope_type": "llama3", "factor": 8.0}, 40960),
        ({"rope_type": "default"}, 40960),
        ("odd", 40960),
    ],
)
def test_the_context_is_at_most_what_the_model_reads(scaling: Any, longest: int) -> None:
    config = {**QWEN, "rope_scaling": scaling} if scaling else QWEN
    assert found(config, max_model_len=longest) == []
    (text,) = found(config, max_model_len=longest + 1)
    assert text.startswith(
        f"context-too-long: o/m reads {longest} tokens at most, not {longest + 1}; use {longest} or less"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"args": {"hf_overrides": {"rope_scaling": {"rope_type": "yarn", "factor": 4}}}},
        {"args": {"rope_scaling": '{"rope_type": "yarn"}'}},
        {"args": {"hf_overrides": {"max_position_embeddings": 131072}}},
        {"env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}},
    ],
)
def test_a_context_that_is_stretched_is_not_judged(fields: dict[str, Any]) -> None:
    assert found(max_model_len=1_000_000, **fields) == []


@pytest.mark.parametrize(
    ("config", "fields", "expected"),
    [
        (QWEN, {"quantization": "fp8"},
         [TOO_OLD]),
        ({**QWEN, "quantization_config": {"quant_method": "fp8"}}, {},
         [TOO_OLD]),
        (QWEN, {"quantization": "awq"}, []),
        (QWEN, {"quantization": "odd"}, []),
        (QWEN, {"quantization": "unheard"}, []),
    ],
)  # fmt: skip
def test_a_quantization_needs_its_cards(config: Any, fields: dict[str, Any], expected: list[str]) -> None:
    assert found(config, host=OLD_CARD, **fields) == expected
    assert found(config, **fields) == []


def test_what_could_not_be_checked_is_said() -> None:
    assert found(None, tensor_parallel_size=3) == [
        "heads and context could not be checked: the model's config.json is not here"
    ]


@pytest.mark.parametrize("odd", [{}, {"num_attention_heads": "x", "max_position_embeddings": True, "rope_scaling": []}])
def test_an_odd_config_is_no_reason_to_fail(odd: dict[str, Any]) -> None:
    assert found(odd, tensor_parallel_size=3, max_model_len=99) == []
