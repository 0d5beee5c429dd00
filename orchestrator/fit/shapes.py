"""The matrices that a config.json implies, without a weight file. Pure.

The shapes are those of transformers' modeling files; what a family has beside them is in `families`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.fit.families import Family, family
from orchestrator.fit.fields import flag, number
from orchestrator.fit.model import Architecture, Attention, Place, Split
from orchestrator.fit.states import state_matrices


@dataclass(frozen=True, slots=True)
class Matrix:
    """``count`` of ``rows`` outputs by ``columns`` inputs. ``module`` is its name as quantization tools have it, empty
    for what none of them converts (norms, routers, biases, embeddings)."""

    place: Place
    split: Split
    rows: int
    columns: int = 1
    layer: int | None = None
    module: str = ""
    count: int = 1


def matrices(found: Architecture) -> Iterator[Matrix]:
    kin = family(found.model_type)
    yield Matrix("embeddings", "vocabulary", found.vocabulary, found.hidden)
    if kin.positions is not None:
        yield Matrix("other", "copied", found.max_positions + kin.positions, found.hidden)
    if kin.embedding_norm:
        yield Matrix("other", "copied", 2 * found.hidden)
    for layer, attention in enumerate(found.attention):
        yield from _layer(found, kin, layer, attention)
    if kin.norm_weight:
        yield Matrix("other", "copied", found.hidden * (1 + kin.norm_bias))
    if not found.tied:
        yield Matrix("head", "vocabulary", found.vocabulary, found.hidden, module="lm_head")
    if kin.head_bias:
        yield Matrix("head", "vocabulary", found.vocabulary)
    for tower in found.towers:
        yield Matrix("other", "copied", tower.parameters)


def _layer(found: Architecture, kin: Family, layer: int, attention: Attention) -> Iterator[Matrix]:
    at = f"model.layers.{layer}"
    if kin.norm_weight:
        yield Matrix("layers", "copied", kin.norms * found.hidden * (1 + kin.norm_bias), layer=layer)
    if attention.kind == "state":
        for name, rows, columns in state_matrices(found.raw):
            yield Matrix("layers", "heads", rows, columns, layer, f"{at}.linear_attn.{name}" if name else "")
    elif attention.kind == "mla":
        yield from _latent(found, layer, f"{at}.self_attn")
    elif attention.kind != "none" or number(found.raw, "num_kv_shared_layers"):
        yield from _heads(found, kin, layer, attention, f"{at}.self_attn")
    if found.experts and layer not in found.experts.dense:
        yield from _mixture(found, kin, layer, f"{at}.mlp")
    else:
        yield from _dense(found, kin, layer, f"{at}.mlp")


def _heads(found: Architecture, kin: Family, layer: int, attention: Attention, at: str) -> Iterator[Matrix]:
    """Queries, keys, values and the output; of queries twice as many where the output is gated by them."""
    hidden, size = found.hidden, found.head_size
    queries = found.heads * size * (2 if flag(found.raw, "attn_output_gate", default="next" in found.model_type) else 1)
    pairs = attention.kv_heads or found.kv_heads
    keys, values = pairs * size, pairs * found.v_head_size
    yield Matrix("layers", "heads", queries, hidden, layer, f"{at}.q_proj")
    yield Matrix("layers", "kv", keys, hidden, layer, f"{at}.k_proj")
    yield Matrix("layers", "kv", values, hidden, layer, f"{at}.v_proj")
    yield Matrix("layers", "heads", hidden, found.heads * found.v_head_size, layer, f"{at}.o_proj")
    asked = flag(found.raw, "attention_bias", "qkv_bias", "use_qkv_bias", "bias", "use_bias")
    if kin.qkv_bias or asked:
        yield Matrix("layers", "heads", queries, layer=layer)
        yield Matrix("layers", "kv", keys + values, layer=layer)
    if kin.out_bias or (asked and not kin.qkv_bias):
        yield Matrix("layers", "copied", hidden, layer=layer)
    if kin.head_norms:
        wide = 2 * size if kin.head_norms == "head" else found.heads * size + keys
        yield Matrix("layers", "copied", wide, layer=layer)
    if kin.sinks:
        yield Matrix("layers", "heads", found.heads, layer=layer)


def _latent(found: Architecture, layer: int, at: str) -> Iterator[Matrix]:
    """Multi-head latent attention: keys and values are unfolded from one vector."""
    raw, hidden, heads = found.raw, found.hidden, found.heads
    rank, latent = number(raw, "kv_lora_rank"), number(raw, "kv_lora_rank") + number(raw, "qk_rope_head_dim")
    if lora := number(raw, "q_lora_rank"):
        yield Matrix("layers", "copied", lora, hidden, layer, f"{at}.q_a_proj")
        yield Matrix("layers", "copied", lora, layer=layer)
        yield Matrix("layers", "heads", heads * found.head_size, lora, layer, f"{at}.q_b_proj")
    else:
        yield Matrix("layers", "heads", heads * found.head_size, hidden, layer, f"{at}.q_proj")
    yield Matrix("layers", "copied", latent, hidden, layer, f"{at}.kv_a_proj_with_mqa")
    yield Matrix("layers", "copied", rank, layer=layer)
    unfolded = heads * (number(raw, "qk_nope_head_dim") + found.v_head_size)
    yield Matrix("layers", "heads", unfolded, rank, layer, f"{at}.kv_b_proj")
    yield Matrix("layers", "heads", hidden, heads * found.v_head_size, layer, f"{at}.o_proj")
    if number(raw, "index_n_heads"):
        yield from _indexer(found, layer, f"{at}.indexer")


def _indexer(found: Architecture, layer: int, at: str) -> Iterator[Matrix]:
    """The small attention that chooses which tokens a sparse one looks at."""
    heads, size = number(found.raw, "index_n_heads"), number(found.raw, "index_head_dim")
    yield Matrix("layers", "copied", heads * size, number(found.raw, "q_lora_rank"), layer, f"{at}.wq_b")
    yield Matrix("layers", "copied", size, found.hidden, layer, f"{at}.wk")
    yield Matrix("layers", "copied", heads, found.hidden, layer)
    yield Matrix("layers", "copied", 2 * size, layer=layer)


def _dense(found: Architecture, kin: Family, layer: int, at: str) -> Iterator[Matrix]:
    width = number(found.raw, "intermediate_size_mlp") or found.intermediate
    if not width:
        return
    yield from _feed(found.hidden, width, kin, layer, at, "width")
    if kin.mlp_bias or flag(found.raw, "mlp_bias"):
        yield Matrix("layers", "width", width * (1 + kin.gated) + found.hidden, layer=layer)


def _mixture(found: Architecture, kin: Family, layer: int, at: str) -> Iterator[Matrix]:
    experts = found.experts
    if experts is None:
        return
    hidden, width = found.hidden, experts.width
    yield Matrix("layers", "copied", experts.count, hidden, layer)
    if kin.router_bias or found.raw.get("topk_method") == "noaux_tc":
        yield Matrix("layers", "copied", experts.count, layer=layer)
    yield from _feed(hidden, width, kin, layer, f"{at}.experts", "experts", experts.count)
    if kin.mlp_bias:
        yield Matrix("layers", "experts", experts.count * (2 * width + hidden), layer=layer)
    if experts.shared_width:
        yield from _feed(hidden, experts.shared_width, kin, layer, f"{at}.shared_experts", "width")
    if number(found.raw, "shared_expert_intermediate_size"):
        yield Matrix("layers", "copied", hidden, layer=layer)


def _feed(hidden: int, width: int, kin: Family, layer: int, at: str, split: Split, count: int = 1) -> Iterator[Matrix]:
    if kin.gated:
        yield Matrix("layers", split, width, hidden, layer, f"{at}.gate_proj", count)
    yield Matrix("layers", split, width, hidden, layer, f"{at}.up_proj", count)
    yield Matrix("layers", split, hidden, width, layer, f"{at}.down_proj", count)
