"""What each layer keeps of the past, as a config.json tells. Pure."""

from dataclasses import replace

from orchestrator.fit.families import Family
from orchestrator.fit.fields import LARGEST, Config, flag, items, number, numbers, word, words
from orchestrator.fit.model import Attention
from orchestrator.fit.states import state_bytes

_LINEAR = ("linear_attention", "mamba", "mamba2", "linear", "recurrent", "conv", "short_conv")
_SLIDING = ("sliding_attention", "sliding", "local", "local_attention")
KV_HEADS = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups")
"""The names that configs have for the number of KV heads."""


def layer_attention(config: Config, layers: int, base: Attention, family: Family) -> tuple[Attention, ...]:
    """One entry a layer. ``base`` is full attention with the model's own heads; or mla."""
    kinds, pairs = _kinds(config, layers, family), layer_pairs(config, layers)
    if not pairs or base.kind == "mla":
        return tuple(_one(kind, config, base) for kind in kinds)
    return tuple(
        _one(kind if held else _without(kind, config, layer), config, replace(base, kv_heads=held))
        for layer, (kind, held) in enumerate(zip(kinds, pairs, strict=True))
    )


def layer_pairs(config: Config, layers: int) -> tuple[int, ...]:
    """KV heads of each layer where a config counts them so; else nothing."""
    given = numbers(config, *KV_HEADS)
    return given if len(given) == layers and all(0 <= held < LARGEST for held in given) else ()


def _without(kind: str, config: Config, layer: int) -> str:
    """What a layer without KV heads keeps: a state, if it is not a feed-forward part alone, or nothing."""
    width = dict(enumerate(numbers(config, "intermediate_size"))).get(layer, 0)
    return "state" if kind != "none" and not width and state_bytes(config) else "none"


def _one(kind: str, config: Config, base: Attention) -> Attention:
    if kind == "state":
        return Attention("state", state=state_bytes(config))
    if kind == "none":
        return Attention("none")
    if base.kind == "mla":
        return base
    if kind == "sliding" and (window := number(config, "sliding_window")):
        return Attention("sliding", base.kv_heads, base.head_size, base.v_head_size, window)
    if kind == "chunked" and (chunk := number(config, "attention_chunk_size")):
        return Attention("chunked", base.kv_heads, base.head_size, base.v_head_size, chunk)
    return base


def _kinds(config: Config, layers: int, family: Family) -> list[str]:
    shared = number(config, "num_kv_shared_layers")  # the last layers read an earlier one's cache
    kinds = (_named(config, layers) or _by_rule(config, layers, family))[: layers - shared]
    return kinds + ["none"] * (layers - len(kinds))


def _named(config: Config, layers: int) -> list[str]:
    """From a list with a word a layer, however it is called."""
    given = words(config, "layer_types", "layers_block_type", "block_types")
    if given and len(given) < layers:  # a pattern that repeats
        given = tuple(given[layer % len(given)] for layer in range(layers))
    if given:
        return [_kind(item) for item in given[:layers]]
    if pattern := word(config, "hybrid_override_pattern"):
        return [{"*": "full", "M": "state"}.get(letter, "none") for letter in pattern[:layers]]
    if variants := numbers(config, "attn_type_list"):
        return ["full" if variant else "state" for variant in variants[:layers]]
    return []


def _kind(name: str) -> str:
    if name in _LINEAR:
        return "state"
    if name in _SLIDING:
        return "sliding"
    return {"chunked_attention": "chunked", "moe": "none", "mlp": "none"}.get(name, "full")


def _by_rule(config: Config, layers: int, family: Family) -> list[str]:
    every = range(layers)
    if period := number(config, "full_attention_interval"):
        return ["full" if (layer + 1) % period == 0 else "state" for layer in every]
    if period := number(config, "attn_layer_period"):
        offset = number(config, "attn_layer_offset")
        return ["full" if layer % period == offset else "state" for layer in every]
    if chosen := numbers(config, "attn_layer_indices"):
        return ["full" if layer in chosen else "state" for layer in every]
    if word(config, "model_type") in ("mamba", "mamba2", "falcon_mamba"):
        return ["state"] * layers
    if number(config, "attention_chunk_size") and not number(config, "sliding_window"):
        return _chunked(config, layers)
    return _sliding(config, layers, family)


def _chunked(config: Config, layers: int) -> list[str]:
    """Llama 4: the layers without rotary positions look at everything."""
    rotary = items(config, "no_rope_layers")
    if len(rotary) < layers:
        return ["chunked" if (layer + 1) % 4 else "full" for layer in range(layers)]
    return ["chunked" if rotary[layer] else "full" for layer in range(layers)]


def _sliding(config: Config, layers: int, family: Family) -> list[str]:
    window = number(config, "sliding_window")
    flags = items(config, "sliding_window_pattern")  # GGUF has one a layer
    if window and len(flags) == layers:
        return ["sliding" if windowed else "full" for windowed in flags]
    if not window or not flag(config, "use_sliding_window", default=not word(config, "model_type").startswith("qwen")):
        return ["full"] * layers
    if period := number(config, "sliding_window_pattern") or family.alternate:
        return ["sliding" if (layer + 1) % period else "full" for layer in range(layers)]
    first = number(config, "max_window_layers") if word(config, "model_type").startswith("qwen") else 0
    return ["full"] * min(first, layers) + ["sliding"] * max(0, layers - first)
