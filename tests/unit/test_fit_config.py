"""A config.json, or GGUF's metadata, as an architecture: what it says, what is filled in, what is missing."""

from dataclasses import replace
from typing import Any

import pytest
from fit_kit import SOME, tensor, tiny
from hypothesis import given
from hypothesis import strategies as st
from known_models import MODELS, QWEN3_32B, QWEN3_32B_AWQ, QWEN3_32B_FP8

from orchestrator.fit.advice import fit
from orchestrator.fit.config import architecture, context
from orchestrator.fit.division import card_bytes, refusals
from orchestrator.fit.gguf import gguf_architecture
from orchestrator.fit.layout import length
from orchestrator.fit.model import Architecture, Attention, Cards, Header, Quantization, Rope, Tensor, Use, Weights
from orchestrator.fit.quantization import converts
from orchestrator.fit.text import fit_text
from orchestrator.fit.weights import computed, measured

BY_NAME = {known.name: architecture(known.config) for known in MODELS}


def test_qwen3_32b() -> None:
    found = architecture(QWEN3_32B)
    assert (found.name, found.model_type, found.dtype) == ("Qwen3ForCausalLM", "qwen3", "bfloat16")
    assert (found.layers, found.hidden, found.intermediate, found.vocabulary) == (64, 5120, 25600, 151936)
    assert (found.heads, found.kv_heads, found.head_size, found.max_positions) == (64, 8, 128, 40960)
    assert found.attention == (Attention("full", 8, 128, 128),) * 64
    assert (found.tied, found.experts, found.quantization, found.unknown) == (False, None, None, ())


def test_so_many_layers_as_no_model_has_are_a_mistake() -> None:
    assert architecture(tiny(num_hidden_layers=1000)).layers == 1000
    wrong = architecture(tiny(num_hidden_layers=1001))
    assert (wrong.layers, wrong.attention) == (0, ())
    assert "num_hidden_layers" in wrong.unknown


def test_a_multi_modal_model_is_its_text_part_and_towers() -> None:
    found = BY_NAME["Gemma-3-27B"]
    assert (found.name, found.model_type) == ("Gemma3ForConditionalGeneration", "gemma3_text")
    assert (found.vocabulary, found.max_positions, found.tied) == (262208, 131072, True)  # from the family's defaults
    # A layer of 4 x 1152 x 1153 and 2 x 1152 x 4304 + 4304 + 1152, two norms; patches of 14 x 14 x 3; 4096 positions;
    # a last norm; a projection to 5376 with a norm.
    layer = 4 * 1152 * 1153 + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152
    by_hand = 27 * layer + 1152 * 588 + 1152 + 4096 * 1152 + 2 * 1152 + 1152 * 5376 + 1152
    assert [(tower.name, tower.parameters) for tower in found.towers] == [("vision", by_hand)]


KINDS = {
    "Gemma-3-27B": (["sliding"] * 5 + ["full"], 1024),
    "Gemma-2-9B": (["sliding", "full"], 4096),
    "gpt-oss-20b": (["sliding", "full"], 128),
    "Mistral-7B-v0.1": (["sliding"], 4096),
    "Phi-3-mini-4k": (["sliding"], 2047),
    "Phi-4": (["full"], 0),
    "Qwen2.5-7B": (["full"], 0),
    "DeepSeek-V3": (["mla"], 0),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_each_layer_keeps(name: str) -> None:
    pattern, window = KINDS[name]
    found = BY_NAME[name]
    assert [kind.kind for kind in found.attention] == [pattern[at % len(pattern)] for at in range(found.layers)]
    assert {kind.window for kind in found.attention if kind.kind == "sliding"} == ({window} if window else set())


def _kinds(**config: Any) -> list[str]:
    return [kind.kind for kind in architecture(tiny(num_hidden_layers=4, **config)).attention]


def test_the_ways_in_which_configs_tell_what_layers_keep() -> None:
    state = {"mamba_d_state": 16}
    assert _kinds(sliding_window=64) == ["full"] * 4  # Qwen's, unless use_sliding_window
    assert _kinds(sliding_window=64, use_sliding_window=True, max_window_layers=3) == ["full"] * 3 + ["sliding"]
    assert _kinds(layer_types=["linear_attention", "full_attention"], **state) == ["state", "full"] * 2
    assert _kinds(full_attention_interval=2, **state) == ["state", "full"] * 2
    assert _kinds(attn_layer_period=4, attn_layer_offset=1, **state) == ["state", "full", "state", "state"]
    assert _kinds(attn_layer_indices=[2], **state) == ["state", "state", "full", "state"]
    assert _kinds(hybrid_override_pattern="M-*-", **state) == ["state", "none", "full", "none"]
    assert _kinds(attention_chunk_size=64, no_rope_layers=[1, 1, 0, 1]) == ["chunked", "chunked", "full", "chunked"]
    assert _kinds(attention_chunk_size=64) == ["chunked"] * 3 + ["full"]
    assert _kinds(num_kv_shared_layers=1) == ["full"] * 3 + ["none"]


def test_experts() -> None:
    deepseek = BY_NAME["DeepSeek-V3"].experts
    assert deepseek is not None
    assert (deepseek.count, deepseek.active, deepseek.shared, deepseek.width) == (256, 8, 1, 2048)
    assert (deepseek.shared_width, deepseek.dense) == (2048, (0, 1, 2))
    mixtral = BY_NAME["Mixtral-8x7B"].experts
    assert mixtral is not None
    assert (mixtral.count, mixtral.active, mixtral.width, mixtral.dense) == (8, 2, 14336, ())
    sparse = architecture(tiny(num_experts=4, decoder_sparse_step=2, mlp_only_layers=[1])).experts
    assert sparse is not None
    assert sparse.dense == (0, 1)


CONTEXTS: list[tuple[dict[str, Any], int]] = [
    ({}, 256),
    ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 1024),
    ({"rope_scaling": {"rope_type": "dynamic", "factor": 2}}, 512),
    ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}}, 512),
    ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 128}}, 256),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 32}}, 256),
    ({"rope_scaling": {"type": "longrope", "factor": 8.0}}, 256),
    ({"rope_parameters": {"rope_type": "linear", "factor": 4.0}}, 1024),
    ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {}}}, 512),
    ({"rope_scaling": {"type": "linear", "factor": None}}, 256),
    ({"rope_scaling": None}, 256),
    ({"n_positions": 128}, 128),
    ({"model_max_length": 4096}, 4096),
]


@pytest.mark.parametrize(("more", "tokens"), CONTEXTS, ids=range(len(CONTEXTS)))
def test_how_many_tokens_a_model_reads(more: dict[str, Any], tokens: int) -> None:
    assert context(architecture(tiny(**more))) == tokens


def test_how_many_tokens_the_known_ones_read() -> None:
    reads = {name: context(found) for name, found in BY_NAME.items()}
    assert reads["Qwen3-32B"] == 40960
    assert reads["Llama-3.1-8B"] == reads["gpt-oss-20b"] == reads["Gemma-3-27B"] == 131072
    assert reads["DeepSeek-V3"] == 163840
    assert BY_NAME["Llama-3.1-8B"].rope == Rope("llama3", 8.0, 8192)


GROUP = {"num_bits": 4, "type": "int", "group_size": 64, "strategy": "group", "symmetric": True}
CHANNEL = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}
SCHEMES: dict[str, tuple[dict[str, Any], Quantization]] = {
    "awq": (
        {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
        Quantization("awq", 4, 128, zero_points=True, kept=("lm_head",)),
    ),
    "gptq, a whole channel": (
        {"quant_method": "gptq", "bits": 4, "group_size": -1, "lm_head": True},
        Quantization("gptq", 4, 0, zero_points=True),
    ),
    "fp8": (
        {"quant_method": "fp8", "weight_block_size": [128, 128], "ignored_layers": ["lm_head"]},
        Quantization("fp8", 8, -1, (128, 128), kept=("lm_head",)),
    ),
    "compressed-tensors": (
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": GROUP}}, "ignore": ["lm_head"]},
        Quantization("compressed-tensors", 4, 64, kept=("lm_head",)),
    ),
    "compressed_tensors, with its cache": (
        {
            "quant_method": "compressed_tensors",
            "config_groups": {"group_0": {"weights": CHANNEL}},
            "kv_cache_scheme": {"num_bits": 8, "type": "float"},
        },
        Quantization("compressed-tensors", 8, 0, kv_cache="fp8"),
    ),
    "nvfp4": (
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"weights": {**GROUP, "type": "float", "group_size": 16}}},
        },
        Quantization("nvfp4", 4, 16),
    ),
    "modelopt": (
        {"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}},
        Quantization("modelopt_fp4", 4, 16, kv_cache="fp8"),
    ),
    "modelopt by its other name": ({"quant_method": "modelopt_fp4"}, Quantization("modelopt_fp4", 4, 16)),
    "bitsandbytes": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
        Quantization("bitsandbytes", 4, 64),
    ),
    "mxfp4": ({"quant_method": "mxfp4"}, Quantization("mxfp4", 4, 32)),
    "one that nobody knows": ({"quant_method": "brand_new"}, Quantization("brand-new", 0, -1)),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_quantization_as_checkpoints_have_it(name: str) -> None:
    held, scheme = SCHEMES[name]
    assert architecture(tiny(quantization_config=held)).quantization == scheme
    assert architecture({"text_config": tiny(quantization_config=held)}).quantization == scheme


def test_which_modules_are_kept() -> None:
    scheme = Quantization("fp8", 8, kept=("lm_head", "mlp.gate", "re:.*\\.self_attn\\..*", "model.layers.3.*", "re:("))
    kept = ("lm_head", "model.layers.0.mlp.gate", "model.layers.9.self_attn.q_proj", "model.layers.3.mlp.up_proj")
    assert [module for module in kept if converts(scheme, module)] == []
    assert converts(scheme, "model.layers.0.mlp.gate_proj")
    assert not converts(Quantization("mxfp4", 4), "model.layers.0.mlp.up_proj")


def test_what_is_missing_is_named() -> None:
    bare = architecture({"architectures": ["MyOwnModel"], "model_type": "my_own"})
    assert bare.unknown == (
        "num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings",
        "intermediate_size", "torch_dtype",
    )  # fmt: skip
    assert architecture({}).unknown[0] == "architectures"
    odd = tiny(quantization_config={"quant_method": "brand_new"}, layer_types=["linear_attention", "full_attention"])
    assert architecture(odd).unknown == ("quantization_config.bits", "the size of a layer's state")


def test_one_missing_field_costs_no_other() -> None:
    for field in ("max_position_embeddings", "torch_dtype", "architectures", "num_key_value_heads", "head_dim"):
        config = {key: value for key, value in tiny().items() if key != field}
        found = architecture(config)
        assert (found.layers, found.hidden, found.heads, found.vocabulary) == (2, 64, 4, 512)
        assert set(found.unknown) <= {field}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_FIELDS = sorted({*tiny(), *(key for known in MODELS for key in known.config), "text_config", "vision_config"})


@SOME
@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=6))
def test_no_config_is_too_odd_to_be_read(changed: dict[str, Any]) -> None:
    found = architecture(tiny(**changed))
    answer = fit(found, computed(found), Cards(1 << 30, 2), Use())
    assert fit_text(answer)
    assert architecture(changed).source == "config.json"


@SOME
@given(
    st.dictionaries(
        st.sampled_from([*_FIELDS, "block_count", "attention.head_count"]), st.text(max_size=8) | st.just("[" * 9999)
    )
)
def test_no_metadata_is_too_odd_to_be_read(changed: dict[str, str]) -> None:
    metadata = _gguf() | {f"qwen3.{key}": value for key, value in changed.items()}
    assert gguf_architecture((Header(metadata=metadata),)).model_type == "qwen3"


def test_a_config_of_a_billion_layers_is_not_believed() -> None:
    found = architecture(tiny(num_hidden_layers=1 << 30))
    assert (found.layers, found.attention, found.unknown) == (0, (), ("num_hidden_layers",))


def _gguf(**metadata: str) -> dict[str, str]:
    return {
        "general.architecture": "qwen3",
        "qwen3.block_count": "64",
        "qwen3.embedding_length": "5120",
        "qwen3.feed_forward_length": "25600",
        "qwen3.attention.head_count": "64",
        "qwen3.attention.head_count_kv": "8",
        "qwen3.attention.key_length": "128",
        "qwen3.attention.value_length": "128",
        "qwen3.context_length": "40960",
        "tokenizer.ggml.tokens.length": "151936",
        **metadata,
    }


def _blocks(name: str, dtype: str, bits: float, *shape: int) -> Tensor:
    plain = tensor(name, "U8", *shape)
    return Tensor(name, dtype, shape, round(plain.elements * bits / 8))


def test_a_gguf_file() -> None:
    tensors = (
        _blocks("token_embd.weight", "Q4_K", 4.5, 151936, 5120),
        _blocks("blk.0.attn_q.weight", "Q4_K", 4.5, 8192, 5120),
        _blocks("blk.0.attn_k.weight", "Q4_K", 4.5, 1024, 5120),
        _blocks("blk.0.ffn_gate.weight", "Q4_K", 4.5, 25600, 5120),
        _blocks("blk.0.ffn_up.weight", "Q4_K", 4.5, 25600, 5120),
        _blocks("blk.0.ffn_down.weight", "Q6_K", 6.5625, 5120, 25600),
        _blocks("blk.0.attn_norm.weight", "F32", 32, 5120),
        _blocks("output.weight", "Q6_K", 6.5625, 151936, 5120),
    )
    part = Header(tensors, _gguf(), "Qwen3-32B-Q4_K_M.gguf")
    found = gguf_architecture((part,))
    assert (found.model_type, found.layers, found.kv_heads, found.head_size) == ("qwen3", 64, 8, 128)
    assert (found.vocabulary, context(found), found.tied) == (151936, 40960, False)
    assert found.quantization == Quantization("gguf", 4.5)  # what most of the layers are in
    assert found.source == "metadata of Qwen3-32B-Q4_K_M.gguf"
    weights = measured([part], found)
    assert weights.parameters == sum(one.elements for one in tensors)
    assert weights.bytes == sum(one.bytes for one in tensors)
    assert {(one.place, one.split) for one in weights.parts} == {
        ("embeddings", "vocabulary"), ("head", "vocabulary"), ("layers", "heads"), ("layers", "kv"),
        ("layers", "width"), ("layers", "copied"),
    }  # fmt: skip


def test_a_gguf_file_whose_head_is_tied() -> None:
    part = Header((_blocks("token_embd.weight", "Q8_0", 8.5, 512, 64),), _gguf(), "small.gguf")
    assert gguf_architecture((part,)).tied
    assert gguf_architecture((Header(metadata=_gguf()),)).tied is False


def test_a_gguf_file_with_latent_attention() -> None:
    # DeepSeek-V3: key_length is the latent vector's 512 + 64, key_length_mla a head's 128 + 64.
    keys = {
        "block_count": "61", "attention.head_count": "128", "attention.head_count_kv": "1", "embedding_length": "7168",
        "attention.kv_lora_rank": "512", "attention.q_lora_rank": "1536", "rope.dimension_count": "64",
        "attention.key_length": "576", "attention.value_length": "512", "attention.key_length_mla": "192",
        "attention.value_length_mla": "128", "expert_count": "256", "expert_used_count": "8",
        "expert_feed_forward_length": "2048", "expert_shared_count": "1", "leading_dense_block_count": "3",
        "feed_forward_length": "18432", "context_length": "163840", "vocab_size": "129280",
    }  # fmt: skip
    metadata = {"general.architecture": "deepseek2"} | {f"deepseek2.{key}": value for key, value in keys.items()}
    found = gguf_architecture((Header(metadata=metadata),))
    assert (found.model_type, found.head_size, found.v_head_size) == ("deepseek_v2", 192, 128)
    assert found.attention == BY_NAME["DeepSeek-V3"].attention
    assert found.experts == BY_NAME["DeepSeek-V3"].experts
    # The router's correction bias is no key of the metadata: 58 x 256 weights.
    assert computed(found).parameters == 671_026_419_200 - 58 * 256


def test_by_itself_an_engine_stretches_nothing_by_yarn() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    found = architecture(tiny(max_position_embeddings=32768, rope_scaling=yarn))
    assert context(found) == 131072  # what it reads, if it is asked to
    assert length(found, Use()) == 32768
    assert length(found, Use(max_model_len=65536)) == 65536


def test_a_gguf_file_that_says_little() -> None:
    assert "num_hidden_layers" in gguf_architecture((Header(metadata={"general.architecture": "odd"}),)).unknown
    assert gguf_architecture(()).unknown[0] == "architectures"
    lists = gguf_architecture((Header(metadata=_gguf(**{"qwen3.attention.head_count_kv": "[8, 8, 4]"})),))
    assert {kind.kv_heads for kind in lists.attention} == {8}  # not one a layer
    assert gguf_architecture((Header(metadata=_gguf(**{"qwen3.block_count": "many"})),)).layers == 0


def _layers(count: int, **metadata: str) -> list[tuple[str, int]]:
    told = _gguf(**{"qwen3.block_count": str(count)}, **{f"qwen3.{key}": value for key, value in metadata.items()})
    return [(kind.kind, kind.kv_heads) for kind in gguf_architecture((Header(metadata=told),)).attention]


def test_a_gguf_file_whose_layers_differ() -> None:
    heads = {"attention.head_count_kv": "[8, 0, 2]"}
    assert _layers(3, **heads) == [("full", 8), ("none", 0), ("full", 2)]
    mamba = {"ssm.state_size": "16", "ssm.inner_size": "128", "ssm.conv_kernel": "4"}
    assert _layers(3, **heads, **mamba) == [("full", 8), ("state", 0), ("full", 2)]
    # Nemotron-H has layers that are a feed-forward part alone.
    widths = {"feed_forward_length": "[0, 21504, 0]"}
    assert _layers(3, **heads, **mamba, **widths) == [("full", 8), ("none", 0), ("full", 2)]
    windows = {"attention.sliding_window": "64", "attention.sliding_window_pattern": "[true, false, true]"}
    assert _layers(3, **heads, **windows) == [("sliding", 8), ("none", 0), ("sliding", 2)]


def test_layers_with_kv_heads_of_their_own_are_divided_each_by_them() -> None:
    found = architecture(tiny(num_hidden_layers=2, num_attention_heads=8, head_dim=16, num_key_value_heads=[8, 2]))
    assert [kind.kv_heads for kind in found.attention] == [8, 2]
    hidden = found.hidden
    # q, k, v of one layer have 8 + 8 + 8 heads, of the other 8 + 2 + 2.
    kv = [part for part in computed(found).parts if part.split == "kv"]
    assert [(part.layer, part.parameters) for part in kv] == [(0, 2 * 8 * 16 * hidden), (1, 2 * 2 * 16 * hidden)]
    # On 4 cards two of the 8 pairs each, and one of the 2, which are then copied.
    whole, quarter = (card_bytes(_kv_alone(computed(found)), found, Use(tensor=cards), 0) for cards in (1, 4))
    assert whole == 2 * (2 * 8 + 2 * 2) * 16 * hidden
    assert quarter == 2 * (2 * 2 + 2 * 1) * 16 * hidden
    odd = replace(found, heads=24, attention=(Attention("full", 24, 16, 16), Attention("full", 4, 16, 16)))
    assert any("4 KV heads" in why for why in refusals(odd, Use(tensor=6)))


def _kv_alone(weights: Weights) -> Weights:
    return replace(weights, parts=tuple(part for part in weights.parts if part.split == "kv"))


def test_nothing_is_known_of_nothing() -> None:
    assert architecture({}).attention == ()
    assert context(Architecture()) == 0


def test_the_checkpoints_of_one_model_differ_in_their_quantization_alone() -> None:
    plain = architecture(QWEN3_32B)
    for config in (QWEN3_32B_AWQ, QWEN3_32B_FP8):
        found = architecture(config)
        assert found.attention == plain.attention
        assert found.quantization is not None
