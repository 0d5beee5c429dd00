"""What an engine takes of a card beside weights and KV cache. Pure.

Nothing of it stands in a model's files. Each line gives its formula and what the assumption rests on; what an engine
reported on this host takes the place of all of them.
"""

from collections.abc import Iterator

from orchestrator.fit.config import context
from orchestrator.fit.families import family
from orchestrator.fit.fields import number, real
from orchestrator.fit.kv import batched_tokens, engine_dtype, sequences
from orchestrator.fit.model import Architecture, Cards, Figure, Line, Seen, Use
from orchestrator.fit.weights import DTYPES, WIDTHS

MIB, GIB = 1 << 20, 1 << 30

LOGIT_BYTES = 22
"""A candidate token of a request while sampling: its logit (2), in single precision (4), its probability (4), and the
sorted copy with its positions (4 + 8)."""
GRAPHS = 86
"""How many batch sizes are captured: 51 for prefill and decode together, 35 for decode alone."""
GRAPH_BYTES = 180 * 1024
"""A layer in one captured graph: Qwen3-8B, 36 layers, reported 0.52 GiB for 86 of them."""
ALONE, TOGETHER = 150 * MIB, 500 * MIB
"""Libraries' workspaces on one card; the buffers of NCCL and of custom all-reduce on each of several."""
UNFOLDED = 65536
"""Tokens whose latent vectors are unfolded at once while a long prompt is read."""


def overhead(found: Architecture, use: Use, cards: Cards, seen: Seen | None = None) -> tuple[Line, ...]:
    """Bytes on each card, a line each. On a CPU nothing: there the KV cache has a space of its own."""
    if cards.cpu:
        return ()
    if seen:
        return (Line("beside weights and KV cache", Figure(seen.overhead, "bytes", "measured", seen.source)),)
    return tuple(_assumed(found, use, cards))


def _assumed(found: Architecture, use: Use, cards: Cards) -> Iterator[Line]:
    yield Line("activations, at their peak", activations(found, use, cards))
    if not use.eager and found.layers:
        formula = f"{found.layers} layers x {GRAPHS} graphs x {GRAPH_BYTES // 1024} KiB"
        size = found.layers * GRAPHS * GRAPH_BYTES // use.pipeline
        yield Line(
            "CUDA graphs", Figure(size, "bytes", "assumed", "what engines report for graphs of such a depth", formula)
        )
    if rotary := rotary_table(found, use):
        yield Line("rotary positions", rotary)
    if unfolded := _mla_copies(found, use):
        yield Line("MLA's projections, unfolded", unfolded)
    many = use.tensor * use.pipeline > 1
    size = ALONE + (TOGETHER if many else 0)
    what = "libraries' workspaces" + (" and NCCL's buffers" if many else "")
    yield Line(what, Figure(size, "bytes", "assumed", "what engines report outside of PyTorch"))


def activations(found: Architecture, use: Use, cards: Cards) -> Figure:
    """The larger of two moments: a full batch in a layer, and sampling for every request at once."""
    tokens, width = batched_tokens(use, cards), WIDTHS[DTYPES[engine_dtype(found, use)]]
    wide = (
        4 * found.hidden + ((found.heads + 2 * found.kv_heads) * found.head_size + 3 * found.intermediate) // use.tensor
    )
    if found.experts:
        active = found.experts.active or 1
        wide = max(wide, 4 * found.hidden + active * (found.hidden + 3 * found.experts.width // use.tensor))
    forward = tokens * wide * width
    if any(kind.kind == "mla" for kind in found.attention):
        unfolded = number(found.raw, "qk_nope_head_dim") + found.v_head_size
        forward += UNFOLDED * found.heads * unfolded * width // use.tensor
    requests = sequences(use, cards)
    sampling = requests * found.vocabulary * LOGIT_BYTES
    if sampling >= forward:
        formula = f"{requests} requests x {found.vocabulary:,} logits x {LOGIT_BYTES} B"
        return Figure(sampling, "bytes", "assumed", "sampling for max_num_seqs requests at once", formula)
    formula = f"{tokens:,} tokens x {wide:,} values x {width} B"
    return Figure(forward, "bytes", "assumed", "a layer on max_num_batched_tokens tokens", formula)


def rotary_table(found: Architecture, use: Use) -> Figure | None:
    """Sines and cosines of every position, in the engine's dtype: engines count them to what loading took."""
    if family(found.model_type).positions is not None or not found.heads:
        return None
    size = number(found.raw, "qk_rope_head_dim", "rotary_dim") or found.head_size
    size = round(size * (real(found.raw, "partial_rotary_factor", "rotary_pct") or 1))
    positions, width = context(found), WIDTHS[DTYPES[engine_dtype(found, use)]]
    formula = f"{positions:,} positions x {size} x {width} B"
    return (
        Figure(positions * size * width, "bytes", "computed", "how the engine prepares them", formula)
        if positions
        else None
    )


def _mla_copies(found: Architecture, use: Use) -> Figure | None:
    """The engine keeps, beside the projection of the latent vectors, a copy laid out for decoding."""
    layers = sum(kind.kind == "mla" for kind in found.attention)
    if not layers:
        return None
    rank = number(found.raw, "kv_lora_rank")
    rows = found.heads * (number(found.raw, "qk_nope_head_dim") + found.v_head_size)
    width = WIDTHS[DTYPES[engine_dtype(found, use)]]
    formula = f"{layers} layers x {rank} x {rows:,} x {width} B over {use.tensor * use.pipeline} cards"
    size = layers * rank * rows * width // (use.tensor * use.pipeline)
    return Figure(size, "bytes", "computed", "how the engine prepares kv_b_proj", formula)
