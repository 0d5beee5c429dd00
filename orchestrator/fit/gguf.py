"""A GGUF file's metadata as an `Architecture`: its keys in config.json's words. Pure."""

import json
from collections.abc import Mapping
from dataclasses import replace

from orchestrator.fit.config import architecture
from orchestrator.fit.model import Architecture, Header, Quantization
from orchestrator.fit.names import is_head

_KEYS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "v_head_dim",
    "context_length": "max_position_embeddings",
    "vocab_size": "vocab_size",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_count": "n_shared_experts",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "leading_dense_block_count": "first_k_dense_replace",
    "attention.sliding_window": "sliding_window",
    "attention.sliding_window_pattern": "sliding_window_pattern",
    "attention.kv_lora_rank": "kv_lora_rank",
    "attention.q_lora_rank": "q_lora_rank",
    "attention.key_length_mla": "head_dim",
    "attention.value_length_mla": "v_head_dim",
    "rope.dimension_count": "qk_rope_head_dim",
    "ssm.conv_kernel": "conv_kernel",
    "ssm.inner_size": "mamba_intermediate_size",
    "ssm.state_size": "ssm_state_size",
    "ssm.time_step_rank": "time_step_rank",
    "full_attention_interval": "full_attention_interval",
}
_TYPES = {
    "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "qwen3next": "qwen3_next", "gemma3": "gemma3_text",
    "deepseek2": "deepseek_v2", "gpt-oss": "gpt_oss", "command-r": "cohere", "llama4": "llama4_text", "phi2": "phi",
    "bloom": "bloom", "gptneox": "gpt_neox",
}  # fmt: skip
"""GGUF's name of a family, where it is not transformers'."""


def gguf_architecture(headers: tuple[Header, ...]) -> Architecture:
    """Of the parts of one model; the first one's metadata counts."""
    metadata = headers[0].metadata if headers else {}
    source = f"metadata of {headers[0].file}" if headers else "GGUF metadata"
    kind = metadata.get("general.architecture", "")
    config: dict[str, object] = {"architectures": [kind] if kind else [], "model_type": _TYPES.get(kind, kind)}
    config |= {"torch_dtype": "float16"} | {
        word: value for key, word in _KEYS.items() if (value := _value(metadata, f"{kind}.{key}")) is not None
    }
    config |= _vocabulary(metadata, config) | _rope(metadata, kind) | _mixed(config)
    tied = not any(is_head(tensor.name) for header in headers for tensor in header.tensors)
    if any(header.tensors for header in headers):
        config["tie_word_embeddings"] = tied
    return replace(architecture(config, source), quantization=_scheme(headers))


def _value(metadata: Mapping[str, str], key: str) -> object:
    """Metadata come as text; a list is JSON's."""
    text = metadata.get(key)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _vocabulary(metadata: Mapping[str, str], config: Mapping[str, object]) -> dict[str, object]:
    length = _value(metadata, "tokenizer.ggml.tokens.length")
    return {} if "vocab_size" in config or length is None else {"vocab_size": length}


def _rope(metadata: Mapping[str, str], kind: str) -> dict[str, object]:
    """What GGUF's context length does not count in: it is already the stretched one, as yarn's is elsewhere."""
    factor = _value(metadata, f"{kind}.rope.scaling.factor")
    original = _value(metadata, f"{kind}.rope.scaling.original_context_length")
    scaling = metadata.get(f"{kind}.rope.scaling.type", "")
    if factor is None or scaling in ("", "none", "linear"):
        return {}
    return {"rope_scaling": {"rope_type": scaling, "factor": factor, "original_max_position_embeddings": original}}


def _mixed(config: Mapping[str, object]) -> dict[str, object]:
    """Of a head that is unfolded from a latent vector, the part that is not turned."""
    if "kv_lora_rank" not in config:
        return {"qk_rope_head_dim": None}
    size, turned = config.get("head_dim"), config.get("qk_rope_head_dim")
    nope = size - turned if isinstance(size, int) and isinstance(turned, int) and size > turned else None
    return {"qk_nope_head_dim": nope}


def _scheme(headers: tuple[Header, ...]) -> Quantization | None:
    """The commonest type of the layers' tensors names the file: Q4_K for a Q4_K_M one."""
    held = [one for header in headers for one in header.tensors if one.name.startswith("blk.")]
    sizes: dict[str, int] = {}
    for one in held:
        sizes[one.dtype] = sizes.get(one.dtype, 0) + one.bytes
    largest = max(sorted(sizes), key=lambda dtype: sizes[dtype], default="")
    if largest in ("", "F32", "F16", "BF16"):
        return None
    elements = sum(one.elements for one in held if one.dtype == largest)
    return Quantization("gguf", round(8 * sizes[largest] / max(1, elements), 2))
