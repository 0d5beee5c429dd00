"""One way of spreading a model over cards: what the fullest card holds, and what is left for the KV cache. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.fit.config import context
from orchestrator.fit.division import card_bytes, refusals, stages
from orchestrator.fit.kv import Cache, cache
from orchestrator.fit.model import Architecture, Cards, Figure, Layout, Line, Seen, Use, Weights
from orchestrator.fit.overhead import overhead

BARELY = 2.0
"""Fewer requests of max_model_len at once than this is a tight fit."""


def splits(count: int) -> Iterator[tuple[int, int]]:
    """(tensor, pipeline) that make so many cards, no more stages than cards in one: a pipeline keeps cards waiting."""
    return (
        (tensor, count // tensor) for tensor in range(count, 0, -1) if count % tensor == 0 and count // tensor <= tensor
    )


def seen_as(seen: Seen | None, asked: Use, tried: Use) -> Seen | None:
    """What was seen holds for as many cards, spread alike, and tells nothing of another number."""
    return seen if (asked.tensor, asked.pipeline) == (tried.tensor, tried.pipeline) else None


def length(found: Architecture, use: Use) -> int:
    """max_model_len: as asked for, else as the engine derives it; 0 when neither says. By itself it stretches nothing
    by yarn, of which older versions made the most."""
    if use.max_model_len:
        return use.max_model_len
    if found.rope.kind == "longrope" and found.rope.original:
        return found.rope.original
    if "yarn" in found.rope.kind:
        return found.max_positions
    return context(found)


def layout(found: Architecture, weights: Weights, cards: Cards, use: Use, seen: Seen | None = None) -> Layout:
    if why := next(refusals(found, use), ""):
        return Layout(use.tensor, use.pipeline, refused=why)
    beside = overhead(found, use, cards, seen)
    ranks = [
        _rank(found, weights, cards, use, stage, sum(round(line.figure.value) for line in beside))
        for stage in range(use.pipeline)
    ]
    tightest = min(ranks, key=lambda rank: (rank.blocks, -rank.weights))
    return _filled(found, weights, cards, use, beside, tightest)


@dataclass(frozen=True, slots=True)
class _Rank:
    weights: int
    for_kv: int
    cache: Cache | None

    @property
    def blocks(self) -> int:
        """Of the KV cache; of a model without one, all that is left."""
        if self.cache is None or not self.cache.block_bytes:
            return self.for_kv
        return max(0, self.for_kv // self.cache.block_bytes)


def _rank(found: Architecture, weights: Weights, cards: Cards, use: Use, stage: int, beside: int) -> _Rank:
    held = card_bytes(weights, found, use, stage)
    left = cards.memory if cards.cpu else int(cards.memory * use.utilization) - held - beside
    return _Rank(held, left, cache(found, use, cards, stages(found.layers, use.pipeline)[stage]))


def _filled(
    found: Architecture, weights: Weights, cards: Cards, use: Use, beside: tuple[Line, ...], rank: _Rank
) -> Layout:
    over = use.tensor * use.pipeline
    spread = f"{weights.bytes:,} B over {over} cards, what is copied to each included" if over > 1 else ""
    base = Layout(
        use.tensor,
        use.pipeline,
        weights=Figure(rank.weights, "bytes", weights.how, weights.source, spread),
        overhead=beside,
        for_kv=_left(cards, use, beside, rank),
    )
    tokens = length(found, use)
    if rank.cache is None or not tokens:
        return base
    return _with_cache(base, rank, rank.cache, tokens, context(found) or tokens)


def _left(cards: Cards, use: Use, beside: tuple[Line, ...], rank: _Rank) -> Figure:
    if cards.cpu:
        return Figure(rank.for_kv, "bytes", "declared", "VLLM_CPU_KVCACHE_SPACE")
    taken = " - ".join(f"{round(line.figure.value):,}" for line in beside)
    formula = f"{cards.memory:,} x {use.utilization:g} - {rank.weights:,} - {taken}"
    return Figure(rank.for_kv, "bytes", "computed", "gpu_memory_utilization of the card, less the above", formula)


def _with_cache(base: Layout, rank: _Rank, held: Cache, tokens: int, most: int) -> Layout:
    blocks, each = rank.blocks, held.blocks(tokens)
    usable = held.request(tokens) + held.block_bytes <= rank.for_kv
    concurrency = blocks / each if each else 0.0
    request = f"{each:,} blocks x {held.block_bytes:,} B"
    source = f"KV cache in {held.dtype} ({held.how})"
    return replace(
        base,
        kv_per_token=Figure(held.token_bytes, "bytes", "computed", source, _per_token(held)),
        request=Figure(held.request(tokens), "bytes", "computed", "", request),
        kv_tokens=Figure(int(concurrency * tokens), "tokens", "computed", "", f"{blocks:,} blocks"),
        concurrency=Figure(concurrency, "requests", "computed", "", f"{blocks:,} / {each:,} blocks"),
        longest=Figure(held.longest(rank.for_kv, max(most, tokens)), "tokens", "computed", "one request alone"),
        fits=usable,
    )


def _per_token(held: Cache) -> str:
    """Which layers keep what."""
    counts: dict[str, int] = {}
    for group in held.groups:
        kept = {
            "full": "every token",
            "mla": "one latent vector a token",
            "sliding": f"the last {group.kind.window:,} tokens",
            "chunked": f"chunks of {group.kind.window:,} tokens",
            "state": "a state",
        }[group.kind.kind]
        counts[kept] = counts.get(kept, 0) + len(group.pages)
    return ", ".join(f"{count} layers keep {kept}" for kept, count in counts.items())
