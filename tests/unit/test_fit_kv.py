"""What the KV cache takes. The recorded answers are those of vLLM 0.32's own functions (get_kv_cache_groups and what
follows it), asked about layers like these, with a cache in bfloat16 laid out layer by layer.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from fit_kit import ADA, GIB, H100, LINEAR, SOME, tiny
from hypothesis import given
from hypothesis import strategies as st
from known_models import MODELS, QWEN3_32B, Known

from orchestrator.fit.config import architecture
from orchestrator.fit.kv import Cache, batched_tokens, cache, in_flight, kv_dtype, sequences
from orchestrator.fit.model import Architecture, Attention, Cards, Use
from orchestrator.fit.states import state_bytes

RECORDED = json.loads((Path(__file__).parent.parent / "recorded" / "vllm-0.32-kv-cache.json").read_text())
BY_NAME = {known.name: known for known in MODELS}
CPU = Cards(GIB, cpu=True)


def _kind(kind: str, pairs: int, size: int, last: int) -> Attention:
    if kind == "mla":
        return Attention("mla", 1, latent=size)
    if kind == "state":
        return Attention("state", state=last)
    return Attention(kind, pairs, size, size, last)  # type: ignore[arg-type]


def _layers(case: dict[str, Any]) -> tuple[Attention, ...]:
    pattern = [_kind(*kind) for count, *kind in case["pattern"] for _ in range(count)]
    return tuple(pattern[layer % len(pattern)] for layer in range(case["layers"]))


def _held(found: Architecture, use: Use, cards: Cards = ADA) -> Cache:
    held = cache(found, use, cards, range(found.layers))
    assert held is not None
    return held


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["name"])
def test_as_the_engine_has_it(case: dict[str, Any]) -> None:
    layers = _layers(case)
    found = Architecture(layers=len(layers), attention=layers, dtype="bfloat16")
    held = _held(found, Use(block=case["block"], batched_tokens=case["in_flight"] // 2))
    blocks = case["memory"] // held.block_bytes
    assert held.block_bytes == case["block_bytes"]
    assert held.request(case["tokens"]) == case["request_bytes"]
    assert blocks == case["blocks"]
    assert int(blocks / held.blocks(case["tokens"]) * case["tokens"]) == case["kv_tokens"]
    assert held.longest(case["memory"], case["tokens"]) == case["longest"]


def _config(name: str, use: Use, cards: Cards = ADA) -> Cache:
    return _held(architecture(BY_NAME[name].config), use, cards)


TOKENS = {
    # layers x (key + value) x KV heads x head size x 2 bytes
    ("Qwen3-32B", 1, "auto"): 64 * 2 * 8 * 128 * 2,
    ("Qwen3-32B", 2, "auto"): 64 * 2 * 4 * 128 * 2,
    ("Qwen3-32B", 8, "auto"): 64 * 2 * 1 * 128 * 2,
    ("Qwen3-32B", 16, "auto"): 64 * 2 * 1 * 128 * 2,  # half of the cards hold a copy
    ("Qwen3-32B", 1, "fp8"): 64 * 2 * 8 * 128,
    ("Qwen3-32B", 1, "fp8_e5m2"): 64 * 2 * 8 * 128,
    ("Qwen3-32B", 1, "float32"): 64 * 2 * 8 * 128 * 4,
    ("Qwen3-32B", 1, "int8_per_token_head"): 64 * 2 * 8 * (128 + 4),  # a scale of four bytes a head
    ("Qwen3-32B", 1, "int4_per_token_head"): 64 * 2 * 8 * (64 + 4),
    ("Qwen3-32B", 1, "nvfp4"): 64 * 2 * 8 * (64 + 8),
    ("Llama-2-7B", 1, "auto"): 32 * 2 * 32 * 128 * 2,
    ("Llama-3.1-8B", 1, "auto"): 131072,
    ("Falcon-7B", 1, "auto"): 32 * 2 * 1 * 64 * 2,
    # MLA: layers x (512 + 64) x 2 bytes, whole on each card
    ("DeepSeek-V3", 1, "auto"): 61 * 576 * 2,
    ("DeepSeek-V3", 8, "auto"): 61 * 576 * 2,
    ("DeepSeek-V3", 8, "fp8"): 61 * 576,
    # of 62 layers 10 keep every token, of 24 layers 12
    ("Gemma-3-27B", 1, "auto"): 10 * 2 * 16 * 128 * 2,
    ("gpt-oss-20b", 1, "auto"): 12 * 2 * 8 * 64 * 2,
}


@pytest.mark.parametrize(("name", "cards", "dtype"), TOKENS)
def test_bytes_of_one_token(name: str, cards: int, dtype: str) -> None:
    held = _config(name, Use(tensor=cards, kv_cache_dtype=dtype))
    assert held.token_bytes == TOKENS[name, cards, dtype]


def test_a_stage_of_a_pipeline_keeps_its_own_layers() -> None:
    found = architecture(QWEN3_32B)
    first = cache(found, Use(pipeline=2), ADA, range(32))
    assert first is not None
    assert first.token_bytes == 32 * 2 * 8 * 128 * 2


def test_what_engines_reported() -> None:
    # Qwen3-8B on a card of 24 GB: "Available KV cache memory: 6.37 GiB", "GPU KV cache size: 46,368 tokens".
    held = _config("Qwen3-8B", Use())
    assert abs(6.37 * GIB / held.block_bytes * 16 - 46368) < 0.001 * 46368
    # Llama-3.1-8B: kv_cache_size=3.81GiB, GPU blocks: 1952.
    assert abs(3.81 * GIB / _config("Llama-3.1-8B", Use()).block_bytes - 1952) < 0.002 * 1952
    # Qwen3-30B-A3B with 262,144 tokens: "24.0 GiB KV cache is needed".
    assert _config("Qwen3-30B-A3B", Use()).request(262144) == 24 * GIB


def test_a_tiny_model_on_a_cpu_as_its_engine_reported() -> None:
    # tests/recorded/vllm-0.32-cpu-ready.log: 1 GiB for the cache, "CPU KV cache size: 2,097,152 tokens".
    # 2 layers x 2 x 2 heads x 32 x 2 bytes are 512 a token, and blocks have 128 of them.
    held = _held(architecture(tiny()), Use(), CPU)
    assert (held.token_bytes, held.block_bytes) == (512, 65536)
    assert GIB // held.block_bytes * 128 == 2_097_152


def test_a_window_bounds_what_a_request_keeps() -> None:
    held = _config("Mistral-7B-v0.1", Use(batched_tokens=2048))
    # (4096 - 1 + 2 x 2048) / 16 blocks, and one more because a window need not begin with a block
    assert held.blocks(32768) == held.blocks(16384) == 8191 // 16 + 1 + 1
    assert held.blocks(1000) == 63 + 1


def test_a_state_by_hand() -> None:
    # Three inputs of the convolution, which is two keys and a value wide, in two bytes; a matrix a head, in four.
    assert state_bytes(LINEAR) == (2 * 2048 + 4096) * 3 * 2 + 32 * 128 * 128 * 4
    mamba = {"hidden_size": 4096, "expand": 2, "state_size": 16, "conv_kernel": 4, "torch_dtype": "bfloat16"}
    assert state_bytes(mamba) == 8192 * 3 * 2 + 8192 * 16 * 2
    second = {"mamba_n_heads": 128, "mamba_d_head": 64, "mamba_n_groups": 8, "mamba_d_state": 128, "mamba_d_conv": 4}
    assert state_bytes({**second, "dtype": "bfloat16"}) == (8192 + 2 * 8 * 128) * 3 * 2 + 8192 * 128 * 2
    assert state_bytes({}) == 0


@pytest.mark.parametrize(
    ("dtype", "heads", "block"), [("auto", 32, 528), ("fp8", 32, 1056), ("auto", 48, 784), ("fp8", 48, 1568)]
)
def test_blocks_grow_until_a_state_fits_one(dtype: str, heads: int, block: int) -> None:
    # What engines reported as "Setting attention block size to N tokens" for Qwen3.5-9B (32 heads) and 27B (48).
    held = _held(architecture({**LINEAR, "linear_num_value_heads": heads}), Use(kv_cache_dtype=dtype))
    assert {group.block for group in held.groups} == {block}


def test_a_request_of_a_hybrid_model() -> None:
    # 8 layers of full attention, and three groups of 8 with a state, of which a request holds two.
    held = _held(architecture(LINEAR), Use())
    assert [(group.kind.kind, len(group.pages)) for group in held.groups] == [("state", 8)] * 3 + [("full", 8)]
    assert held.blocks(5280) == 10 + 3 * 2


def test_a_model_of_states_alone_keeps_one_a_request() -> None:
    found = architecture({"model_type": "mamba", "num_hidden_layers": 4, "hidden_size": 64, "state_size": 16})
    held = _held(found, Use())
    assert held.blocks(1) == held.blocks(100_000) == 1


def test_who_says_what_the_cache_is_kept_in() -> None:
    scheme = {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}
    found = architecture(tiny(quantization_config=scheme))
    assert kv_dtype(found, Use()) == ("fp8", "the checkpoint's quantization_config")
    assert kv_dtype(found, Use(kv_cache_dtype="bfloat16"))[0] == "bfloat16"
    assert kv_dtype(architecture(tiny()), Use()) == ("bfloat16", "the model's dtype")
    assert kv_dtype(architecture(tiny(torch_dtype="float32")), Use())[0] == "bfloat16"
    assert kv_dtype(architecture(tiny(torch_dtype="float16")), Use())[0] == "float16"


def test_the_engines_defaults() -> None:
    assert [batched_tokens(Use(), cards) for cards in (ADA, H100, Cards(180 * GIB))] == [2048, 8192, 16384]
    assert [sequences(Use(), cards) for cards in (ADA, H100, Cards(180 * GIB))] == [256, 1024, 1024]
    assert batched_tokens(Use(), Cards(80 * GIB, name="NVIDIA A100-SXM4-80GB")) == 2048
    assert (batched_tokens(Use(tensor=2), CPU), sequences(Use(tensor=2), CPU)) == (4096, 256)
    assert (batched_tokens(Use(batched_tokens=512), ADA), sequences(Use(sequences=8), ADA)) == (512, 8)
    assert (in_flight(Use(), ADA), in_flight(Use(pipeline=2), ADA), in_flight(Use(), CPU)) == (4096, 6144, 2048)


_USES = st.builds(Use, tensor=st.sampled_from([1, 2, 4, 8]), kv_cache_dtype=st.sampled_from(["auto", "fp8"]))


def test_a_layer_that_keeps_nothing_beside_one_that_does() -> None:
    """A config may have heads of no size, or a state of none: what the other layers keep is counted all the same."""
    layers = (Attention("full", 2, 64, 64), Attention("sliding", 2, 0, 0, 64), Attention("state"))
    assert _held(Architecture(layers=3, attention=layers), Use()).block_bytes == 16 * 2 * 2 * 64 * 2


@SOME
@given(st.sampled_from(MODELS), _USES, st.integers(1, 200_000), st.integers(1, 50_000))
def test_a_longer_request_never_takes_less(known: Known, use: Use, tokens: int, more: int) -> None:
    held = _held(architecture(known.config), use)
    assert held.request(tokens) <= held.request(tokens + more)


@SOME
@given(st.sampled_from(MODELS), _USES, st.integers(0, 64 * GIB), st.integers(1, 200_000))
def test_the_longest_that_fits_fits_and_one_more_does_not(known: Known, use: Use, memory: int, most: int) -> None:
    held = _held(architecture(known.config), use)
    longest = held.longest(memory, most)
    usable = memory - held.block_bytes
    assert 0 <= longest <= most
    assert longest == 0 or held.request(longest) <= usable
    assert longest == most or held.request(longest + 1) > usable


@SOME
@given(st.sampled_from(MODELS), st.sampled_from([1, 2, 4]))
def test_more_cards_never_keep_more_each(known: Known, cards: int) -> None:
    found = architecture(known.config)
    assert _held(found, Use(tensor=2 * cards)).block_bytes <= _held(found, Use(tensor=cards)).block_bytes


def test_a_model_that_keeps_nothing_has_no_cache() -> None:
    assert cache(Architecture(layers=2, attention=(Attention("none"),) * 2), Use(), ADA, range(2)) is None
    assert cache(Architecture(), Use(), ADA, range(0)) is None
