"""What a tensor's name says of it: where it lies, how tensor parallelism divides it, how many weights it holds. Pure.

The names are those of transformers' modules and of GGUF; vLLM merges some of them (q, k, v; gate, up) and divides them
as it would the merged one.
"""

import re
from dataclasses import dataclass

from orchestrator.fit.model import Architecture, Place, Split, Tensor

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block|blk)\.(\d+)\.")
_TOWERS = frozenset(
    ("visual", "vision", "vision_tower", "vision_model", "vision_embed_tokens", "vision_encoder", "vit", "vpm", "v",
     "vision_language_adapter", "image_newline", "multi_modal_projector", "mm_projector", "mlp1", "connector", "mm",
     "audio_tower", "audio", "audio_model", "apm", "embed_vision", "embed_audio", "patch_merger", "resampler")
)  # fmt: skip
_EMBEDDINGS = frozenset(
    ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "token_embd", "embedding")
)
_POSITIONS = frozenset(("wpe", "embed_positions", "position_embd", "position_embeddings"))
_HEADS = frozenset(("lm_head", "embed_out", "output"))
_BUFFERS = re.compile(r"(?:inv_freq|masked_bias|rope_freqs(?:\.weight)?|attn\.bias|attention\.bias)$")
_EXTRA = re.compile(
    r"(?:qzeros|scales?|g_idx|\w*_scale(?:_inv|_2)?|\w*_scales|\w*absmax|\w*quant_map|weight_shape|weight_zero_point"
    r"|bitsandbytes__\w+|SCB|weight_format)$"
)
"""Ends of names of what a quantized weight has beside it."""

_KV = re.compile(r"(?:k_proj|v_proj|attn_k|attn_v|key|value|wk|wv)$")
_FUSED = re.compile(r"(?:qkv_proj|query_key_value|Wqkv|W_pack|attn_qkv|qkv)$")
_COPIED = re.compile(
    r"(?:\w*norm\w*|ln_\w+|ln\d*|q_a_proj|kv_a_proj_with_mqa|attn_q_a|attn_kv_a_mqa|gate|router|ffn_gate_inp\w*|wg"
    r"|e_score_correction_bias|exp_probs_b|shared_expert_gate|indexer\w*|\w*_layer_scalar)$"
)
_WIDTH = re.compile(
    r"(?:gate_proj|up_proj|down_proj|gate_up_proj|fc1|fc2|fc_in|fc_out|w1|w2|w3|v1|dense_h_to_4h|dense_4h_to_h|c_fc"
    r"|ffn_(?:up|down|gate)\w*|up|down|linear_[12v])$"
)
_HEADED = re.compile(
    r"(?:q_proj|o_proj|out_proj|q_b_proj|kv_b_proj|attn_q|attn_output|attn_q_b|attn_k_b|attn_v_b|attn_kv_b|query|dense"
    r"|c_proj|c_attn|wq|wo|wo_\w+|sinks|attn_sinks|in_proj\w*|conv1d|x_proj|dt_proj|A_log|D|dt_bias|A|ssm_\w+)$"
)


@dataclass(frozen=True, slots=True)
class Role:
    """``shares`` are the splits that the tensor's bytes go to, with how much of it. ``known`` False: a guess."""

    place: Place
    shares: tuple[tuple[Split, float], ...] = (("copied", 1.0),)
    layer: int | None = None
    known: bool = True


def role(tensor: Tensor, found: Architecture) -> Role:
    name, parts = tensor.name, tensor.name.split(".")
    if _BUFFERS.search(name) or any(part.startswith("mtp") for part in parts):
        return Role("unused")
    if _TOWERS.intersection(parts):
        return Role("other")
    layer = _layer(name)
    if layer is None:
        return _outside(parts, found)
    if found.layers and layer >= found.layers:
        return Role("unused")  # DeepSeek's and GLM's layer for predicting tokens ahead
    shares, known = _shares(parts, tensor, found)
    return Role("layers", shares, layer, known)


def is_head(name: str) -> bool:
    """Whether it is the matrix that turns the last layer into tokens."""
    parts = name.split(".")
    return _layer(name) is None and bool(_HEADS.intersection(parts[:-1])) and "norm" not in name


def weights_in(tensor: Tensor, bits: float) -> int:
    """How many weights a tensor holds; packed ones are counted unpacked at ``bits`` each, scales and the like not."""
    name = tensor.name
    if tensor.dtype == "U8" and name.endswith("_blocks"):
        return tensor.elements * 2  # mxfp4: two in a byte
    if _EXTRA.search(name):
        return 0
    if tensor.dtype in ("I32", "U32") and bits:
        return round(tensor.elements * 32 / bits)
    if tensor.dtype in ("U8", "I8") and bits == 4:
        return tensor.elements * 2
    return tensor.elements


def _layer(name: str) -> int | None:
    found = _LAYER.search(name)
    return int(found[1]) if found and len(found[1]) < 6 else None


def _outside(parts: list[str], found: Architecture) -> Role:
    if _EMBEDDINGS.intersection(parts):
        return Role("embeddings", (("vocabulary", 1.0),))
    if is_head(".".join(parts)):
        return Role("unused") if found.tied else Role("head", (("vocabulary", 1.0),))
    known = bool(_POSITIONS.intersection(parts)) or any("norm" in part or part.startswith("ln_") for part in parts)
    return Role("other", known=known)


def _shares(parts: list[str], tensor: Tensor, found: Architecture) -> tuple[tuple[tuple[Split, float], ...], bool]:
    path = [part for part in parts[:-1] if not part.isdigit()] + [
        parts[-1].removesuffix("_blocks").removesuffix("_bias")
    ]
    leaf = next((part for part in reversed(path) if _known(part)), "")
    if any(part == "experts" or part.endswith("_exps") for part in parts):
        return (("experts", 1.0),), True
    if not leaf:
        return (("copied", 1.0),), False
    if _COPIED.match(leaf):
        return (("copied", 1.0),), True
    if _FUSED.match(leaf) or (leaf == "c_attn" and found.kv_heads):
        return _fused(found), True
    if _KV.match(leaf):
        return (("kv", 1.0),), True
    if leaf == "c_proj":
        return ((("width" if "mlp" in parts else "heads"), 1.0),), True
    return ((("width" if _WIDTH.match(leaf) else "heads"), 1.0),), True


def _known(part: str) -> bool:
    return any(pattern.match(part) for pattern in (_COPIED, _FUSED, _KV, _WIDTH, _HEADED))


def _fused(found: Architecture) -> tuple[tuple[Split, float], ...]:
    """Of queries, keys and values in one tensor, how much is queries."""
    pairs, heads = found.kv_heads, found.heads
    if not heads or not pairs:
        return (("heads", 1.0),)
    share = heads / (heads + 2 * pairs)
    return (("heads", share), ("kv", 1 - share))
