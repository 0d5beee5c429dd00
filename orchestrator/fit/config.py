"""A model's config.json as an `Architecture`. Pure.

What is not there is filled in from the family's defaults, as the engine would, or else named in ``unknown``: a custom
model gives what it gives. Nothing raises, whatever the file holds.
"""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.fit.attention import KV_HEADS, layer_attention
from orchestrator.fit.families import Family, family
from orchestrator.fit.fields import Config, flag, number, numbers, part, real, word, words
from orchestrator.fit.model import Architecture, Attention, Experts, Quantization, Rope
from orchestrator.fit.quantization import quantization
from orchestrator.fit.towers import towers

_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_target_positions",
              "max_sequence_length", "max_seq_length", "seq_len", "n_ctx")  # fmt: skip
_TEXT = ("text_config", "llm_config", "language_config", "thinker_config")
_STRETCHED = ("su", "longrope", "llama3", "mrope", "default", "proportional")
"""Kinds of rope scaling that a model's own limit already counts in."""
MOST_LAYERS = 1000
"""A config that tells of more is no config; each layer is an entry of its own."""


def architecture(config: Config, source: str = "config.json") -> Architecture:
    """Of a whole config.json. ``source`` is where it was read, for the lines that quote it."""
    text = text_part(config)
    kin = family(word(text, "model_type") or word(config, "model_type"))
    text = {**kin.defaults, **{key: value for key, value in text.items() if value is not None}}
    layers = number(text, "num_hidden_layers", "n_layer", "num_layers", "n_layers")
    layers = layers if layers <= MOST_LAYERS else 0
    hidden = number(text, "hidden_size", "n_embd", "d_model", "dim")
    heads = number(text, "num_attention_heads", "n_head", "n_heads", "num_heads")
    base, head_size = _attention(text, hidden, heads)
    experts = _experts(text, layers)
    found = Architecture(
        name=next(iter(words(config, "architectures") or words(text, "architectures")), ""),
        model_type=word(text, "model_type") or word(config, "model_type"),
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=base.kv_heads,
        head_size=head_size,
        v_head_size=number(text, "v_head_dim") or head_size,
        vocabulary=number(text, "vocab_size", "padded_vocab_size"),
        max_positions=_positions(text),
        rope=_rope(text),
        intermediate=_intermediate(text, hidden),
        experts=experts,
        tied=_tied(config, text, kin),
        attention=layer_attention(text, layers, base, kin) if layers else (),
        quantization=quantization(config),
        dtype=(word(config, "torch_dtype", "dtype") or word(text, "torch_dtype", "dtype")).removeprefix("torch."),
        towers=towers(config, hidden),
        source=source,
        raw=text,
    )
    return _with_unknown(found)


def text_part(config: Config) -> Config:
    """The part of a multi-modal config that reads text; the whole of any other, or of one whose part says less."""
    inner: Config = config
    while (deeper := part(inner, *_TEXT)) and deeper is not inner:
        inner = deeper
    if inner is config:
        return config
    shared = ("torch_dtype", "dtype", "vocab_size", "architectures", "quantization_config")
    return {**{key: config[key] for key in shared if key in config}, **inner}


def context(found: Architecture) -> int:
    """The most tokens that the model reads: what it was trained for, stretched as its rope scaling says; 0: unknown."""
    rope, most = found.rope, found.max_positions
    if not most or rope.kind in _STRETCHED or "gemma3" in found.model_type:
        return most
    if "yarn" in rope.kind:
        return max(most, round(rope.original * rope.factor))
    return round(most * rope.factor)


def _attention(text: Config, hidden: int, heads: int) -> tuple[Attention, int]:
    head = number(text, "head_dim", "hidden_size_per_head", "attention_head_dim", "kv_channels")
    if rank := number(text, "kv_lora_rank"):
        turned = number(text, "qk_rope_head_dim")
        size = number(text, "qk_nope_head_dim") + turned
        return Attention("mla", 1, latent=rank + turned), size
    head = head or (hidden // heads if heads else 0)
    pairs = _pairs(text, heads)
    return Attention("full", pairs, head, number(text, "v_head_dim") or head), head


def _pairs(text: Config, heads: int) -> int:
    """KV heads; where layers differ, those of the one with most. Falcon's and BigCode's multi_query means one, unless
    the newer decoder counts them."""
    if flag(text, "multi_query") and not flag(text, "new_decoder_architecture"):
        return 1
    inner = part(text, "attn_config")
    return number(text, *KV_HEADS) or number(inner, "kv_n_heads") or heads


def _intermediate(text: Config, hidden: int) -> int:
    given = number(text, "intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "intermediate_dim", "d_ff")
    given = given or number(part(text, "ffn_config"), "ffn_hidden_size")
    if given or "intermediate_size" in text:
        return given
    return round(hidden * (real(text, "expansion_ratio") or 4)) if hidden else 0


def _experts(text: Config, layers: int) -> Experts | None:
    count = number(text, "num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
    inner = part(text, "ffn_config")
    count = count or number(inner, "moe_num_experts")
    if count < 2:
        return None
    active = number(
        text, "num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "moe_k"
    )
    width = number(text, "moe_intermediate_size", "expert_intermediate_size") or _intermediate(text, 0)
    shared = number(text, "n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
    together = number(text, "shared_expert_intermediate_size", "shared_intermediate_size") or shared * width
    if word(text, "model_type") == "llama4_text":
        shared, together = 1, width
    return Experts(
        count,
        active or number(inner, "moe_top_k"),
        shared or int(together > 0),
        width or number(inner, "ffn_hidden_size"),
        together,
        _dense(text, layers),
    )


def _dense(text: Config, layers: int) -> tuple[int, ...]:
    """The layers of a mixture that have no experts."""
    chosen = numbers(text, "moe_layers")
    if chosen:
        return tuple(layer for layer in range(layers) if layer not in chosen)
    first = number(text, "first_k_dense_replace", "moe_layer_start_index")
    step = (
        number(text, "decoder_sparse_step", "moe_layer_freq", "interleave_moe_layer_step", "expert_layer_period") or 1
    )
    offset = number(text, "expert_layer_offset") if "expert_layer_offset" in text else step - 1
    if "moe_layer_freq" in text:  # DeepSeek counts from 0
        offset = 0
    only = numbers(text, "mlp_only_layers")
    return tuple(layer for layer in range(layers) if layer < first or layer in only or layer % step != offset % step)


def _positions(text: Config) -> int:
    if most := number(text, "model_max_length"):
        return most
    return min((most for name in _POSITIONS if (most := number(text, name))), default=0)


def _rope(text: Config) -> Rope:
    held = part(text, "rope_scaling", "rope_parameters")
    nested = [value for value in held.values() if isinstance(value, Mapping)]
    if nested:  # one set for full attention, another for sliding windows
        held = part(held, "full_attention") or nested[0]
    kind = word(held, "rope_type", "type") or "default"
    original = number(held, "original_max_position_embeddings") or number(text, "original_max_position_embeddings")
    return Rope(kind, real(held, "factor") or 1.0, original)


def _tied(config: Config, text: Config, kin: Family) -> bool:
    return flag(text, "tie_word_embeddings", default=flag(config, "tie_word_embeddings", default=kin.tied))


def _with_unknown(found: Architecture) -> Architecture:
    stateful = bool(found.attention) and all(layer.kind in ("state", "none") for layer in found.attention)
    wanted = {
        "architectures": found.name,
        "num_hidden_layers": found.layers,
        "hidden_size": found.hidden,
        "num_attention_heads": found.heads or stateful,
        "vocab_size": found.vocabulary,
        "max_position_embeddings": found.max_positions or stateful,
        "intermediate_size": found.intermediate or found.experts or stateful,
        "torch_dtype": found.dtype,
        "quantization_config.bits": _bits(found.quantization),
        "the size of a layer's state": all(layer.state for layer in found.attention if layer.kind == "state"),
    }
    return replace(found, unknown=tuple(name for name, value in wanted.items() if not value))


def _bits(scheme: Quantization | None) -> bool:
    return scheme is None or scheme.bits > 0
