"""What a model and a host cannot carry, as far as config.json and the environment tell."""

from typing import Any

import pytest
from fit_kit import ADA, tiny
from known_models import QWEN3_32B

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
    config: Any = QWEN,
    *,
    engine: Engine | None = ENGINE,
    host: Any = None,
    env: Any = None,
    cards: Any = None,
    fit: Any = "refuse",
    **fields: Any,
) -> list[str]:
    """Errors, warnings and notes."""
    model = {key: fields.pop(key) for key in tuple(fields) if key in ModelRef.__dataclass_fields__}
    profile = Profile("a", "lab", ModelRef("o/m", **model), Serve(**fields), source=Source("a.yaml"), fit=fit)
    findings = Findings(profile.source, "profile")
    check_model(profile, Subject(engine, config, host, env or {}, cards=cards), findings)
    errors = [f"{one.code}: {one.why}; {one.do}" for one in findings.errors]
    return errors + [f"{one.what}; {one.do}" for one in findings.warnings] + [one.what for one in findings.notes]


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, []), (2, []), (8, []), (16, []), ("auto", []),
        (3, ["indivisible-heads: o/m: 64 attention heads are not divisible by 3; use 2, 4, 8 or 16"]),
    ],
)  # fmt: skip
def test_ranks_divide_the_heads(ranks: Any, expected: list[str]) -> None:
    assert found(tensor_parallel_size=ranks) == expected


def test_ranks_and_key_value_heads_divide_one_another() -> None:
    config = {"model_type": "llama", "num_attention_heads": 24, "num_key_value_heads": 4, "num_hidden_layers": 2}
    why = "4 KV heads neither divide 6 nor are divided by it; use 2, 4, 8 or 12"
    assert found(config, tensor_parallel_size=8) == []
    assert found(config, tensor_parallel_size=6) == [f"indivisible-heads: o/m: {why}"]
    homemade = {**config, "model_type": "homemade"}
    maybe = [f"serve.tensor_parallel_size may be no way to divide o/m: {why}"]
    assert found(homemade, tensor_parallel_size=6) == maybe
    args = {"hf_overrides": {"num_key_value_heads": 6}}
    assert found(config, tensor_parallel_size=6, args=args) == maybe


def test_the_text_part_of_a_model_that_sees() -> None:
    config = {"num_attention_heads": 7, "text_config": {"num_attention_heads": 6}}
    assert found(config, tensor_parallel_size=3) == []
    (text,) = found(config, tensor_parallel_size=7)
    assert text == "indivisible-heads: o/m: 6 attention heads are not divisible by 7; use 2, 3 or 6"


def test_other_parts_that_do_not_divide() -> None:
    """Of a known kind of model an error; of one that may divide otherwise, a warning."""
    width = tiny(num_attention_heads=6, num_key_value_heads=6, intermediate_size=128)
    assert found(width, tensor_parallel_size=3) == [
        "indivisible-model: o/m: a vocabulary of 512 rows is not divisible by 3; use 2"
    ]
    assert found({**width, "model_type": "homemade"}, tensor_parallel_size=3) == [
        "serve.tensor_parallel_size may be no way to divide o/m: a vocabulary of 512 rows is not divisible by 3; use 2"
    ]
    assert found(tiny(), pipeline_parallel_size=3) == [
        "indivisible-model: o/m: 2 layers are too few for 3 pipeline stages; use 2 or fewer"
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # 61.0 GiB of weights, on a card of 48.0 GiB
        ({}, "does-not-fit: o/m: weights (61.0 GiB) and what the engine needs beside them (1.9 GiB) are 18.8 GiB more"
             " than 0.92 of 48.0 GiB on each card; set tensor_parallel_size: 2, on 2 cards;"
             " where the reckoning is wrong, `fit: warn` in the profile lets it start"),
        ({"tensor_parallel_size": 2}, None),
        ({"tensor_parallel_size": "auto"}, None),
        # A token takes 64 layers x 2 x 4 heads x 128 x 2 bytes = 128 KiB, a request of 40,960 of them 5.0 GiB.
        # There are 0.86 x 48.0 - 30.5 (half of the weights) - 2.4 (assumed beside them) = 8.4 GiB
        ({"tensor_parallel_size": 2, "gpu_memory_utilization": 0.86},
         "serve.gpu_memory_utilization of o/m: it fits barely: the KV cache holds 1.67 requests of 40,960 tokens at"
         " once; set gpu_memory_utilization: 0.90, where nothing else uses the cards"),
        ({"args": {"cpu_offload_gb": 40}},
         "serve.tensor_parallel_size of o/m: it may not fit: weights (61.0 GiB) and what the engine needs beside them"
         " (1.9 GiB) are 18.8 GiB more than 0.92 of 48.0 GiB on each card; set tensor_parallel_size: 2, on 2 cards"),
    ],
    ids=["too large", "fits", "auto", "barely", "a flag that makes room"],
)  # fmt: skip
def test_the_declared_host_has_the_room_or_not(fields: dict[str, Any], expected: str | None) -> None:
    assert found(QWEN3_32B, cards=ADA, **fields) == ([expected] if expected else [])


def test_whoever_knows_better_is_warned() -> None:
    (text,) = found(QWEN3_32B, cards=ADA, fit="warn")
    assert text.startswith("serve.tensor_parallel_size of o/m: it may not fit: weights (61.0 GiB)")


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
