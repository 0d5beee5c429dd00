"""What a family of models has that its config.json does not say. Pure data.

A config.json leaves out what its class has by default (transformers' configuration_*.py). Here is what the sums need:
tied embeddings, biases, norms, and the few numbers that published configs of a family really omit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Family:
    """``gated``: the feed-forward part has three matrices, not two. ``norms`` a layer, each ``hidden`` wide.
    ``head_norms``: norms of queries and keys, one head wide or as wide as all heads. ``positions``: a learned table of
    positions, with so many extra rows. ``defaults`` are config.json's own words."""

    gated: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    norms: int = 2
    norm_bias: bool = False
    norm_weight: bool = True
    head_norms: Literal["", "head", "all"] = ""
    head_bias: bool = False
    embedding_norm: bool = False
    positions: int | None = None
    sinks: bool = False
    router_bias: bool = False
    tied: bool = False
    alternate: int = 0
    """One layer in so many looks at everything; the others have a sliding window."""
    defaults: Mapping[str, object] = field(default_factory=dict)


_OLD = Family(gated=False, qkv_bias=True, out_bias=True, mlp_bias=True, norm_bias=True)
"""GPT-2's and its children's layer: everything has a bias."""

_QWEN3 = Family(head_norms="head")
_GEMMA3 = Family(
    norms=4,
    head_norms="head",
    tied=True,
    alternate=6,
    defaults={
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "sliding_window": 4096,
    },
)
_QWEN2_VL = {"num_key_value_heads": 8, "vocab_size": 152064, "max_position_embeddings": 32768}

FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(defaults={"num_key_value_heads": 8}),
    "mixtral": Family(defaults={"num_key_value_heads": 8}),
    "qwen2": Family(qkv_bias=True),
    "qwen2_moe": Family(qkv_bias=True),
    "qwen2_vl": Family(qkv_bias=True, defaults=_QWEN2_VL),
    "qwen2_vl_text": Family(qkv_bias=True, defaults=_QWEN2_VL),
    "qwen2_5_vl": Family(qkv_bias=True, defaults=_QWEN2_VL),
    "qwen2_5_vl_text": Family(qkv_bias=True, defaults=_QWEN2_VL),
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3,
    "qwen3_vl_text": _QWEN3,
    "qwen3_vl_moe_text": _QWEN3,
    "qwen3_next": _QWEN3,
    "qwen3_5_text": _QWEN3,
    "qwen3_5_moe_text": _QWEN3,
    "gemma": Family(tied=True),
    "gemma2": Family(norms=4, tied=True, alternate=2, defaults={"sliding_window": 4096, "head_dim": 256}),
    "gemma3": _GEMMA3,
    "gemma3_text": _GEMMA3,
    "phi3": Family(),
    "phi": Family(gated=False, qkv_bias=True, out_bias=True, mlp_bias=True, norms=1, norm_bias=True, head_bias=True),
    "falcon": Family(gated=False, norms=1, norm_bias=True, tied=True, defaults={"max_position_embeddings": 2048}),
    "deepseek_v2": Family(),
    "deepseek_v3": Family(),
    "kimi_k2": Family(),
    "gpt_oss": Family(
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        sinks=True,
        router_bias=True,
        alternate=2,
        defaults={"head_dim": 64},
    ),
    "olmo": Family(norms=2, norm_weight=False),
    "olmo2": Family(head_norms="all"),
    "olmo3": Family(head_norms="all", alternate=4),
    "olmoe": Family(head_norms="all"),
    "cohere": Family(norms=1, tied=True),
    "cohere2": Family(norms=1, tied=True, alternate=4),
    "gpt2": replace(_OLD, tied=True, positions=0),
    "gpt_bigcode": replace(_OLD, tied=True, positions=0),
    "opt": replace(_OLD, tied=True, positions=2),
    "bloom": replace(_OLD, tied=True, embedding_norm=True),
    "gpt_neox": _OLD,
    "starcoder2": replace(_OLD, tied=True),
    "mpt": Family(gated=False, tied=True),
    "stablelm": Family(norm_bias=True),
    "glm": Family(qkv_bias=True),
    "glm4": Family(qkv_bias=True, norms=4),
    "glm4_moe": Family(qkv_bias=True, router_bias=True),
    "smollm3": Family(tied=True),
    "ernie4_5": Family(tied=True),
    "granite": Family(),
    "seed_oss": Family(qkv_bias=True),
    "nemotron": Family(gated=False, norm_bias=True),
    "llama4_text": Family(),
}
"""By model_type. Of others the layer is taken to be Llama's, and the sum says so."""


def family(model_type: str) -> Family:
    return FAMILIES.get(model_type, Family())
