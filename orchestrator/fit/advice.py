"""Does it fit, and how many cards does it take. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from orchestrator.fit.changes import Variant, changes
from orchestrator.fit.layout import BARELY, layout, length, seen_as, splits
from orchestrator.fit.model import Architecture, Cards, Figure, Fit, Layout, Seen, Use, Verdict, Weights
from orchestrator.units import format_memory

MOST_CARDS = 64


def fit(
    found: Architecture,
    weights: Weights,
    cards: Cards,
    use: Use,
    variants: Sequence[Variant] = (),
    seen: Seen | None = None,
) -> Fit:
    """``variants`` are looked at only when the model itself does not fit."""
    asked = layout(found, weights, cards, use, seen)
    verdict, why = _verdict(found, weights, cards, use, asked)
    answer = Fit(found, weights, cards, use, verdict, asked, why=why)
    answer = replace(
        answer,
        needed=_needed(fewest(found, weights, cards, use, seen), cards),
        layouts=tuple(alternatives(found, weights, cards, use, seen)),
    )
    if verdict in ("fits", "unknown"):
        return answer
    return replace(answer, changes=tuple(changes(answer, variants, seen)))


def _verdict(found: Architecture, weights: Weights, cards: Cards, use: Use, asked: Layout) -> tuple[Verdict, str]:
    if not weights.bytes or not found.layers:
        missing = ", ".join(found.unknown) or "the weights"
        return "unknown", f"{found.source} does not tell {missing}"
    if lacks := [name for name in _needed_of(weights) if name in found.unknown]:
        return "unknown", f"{found.source} does not tell {', '.join(lacks)}"
    if asked.refused:
        return "refused", asked.refused
    if cards.count and asked.cards > cards.count:
        return "too large", f"{asked.cards} cards are asked for, and there are {cards.count}"
    left = round(asked.for_kv.value) if asked.for_kv else 0
    if left <= 0:
        return "too large", _over(cards, use, asked, -left)
    if not asked.request or not asked.concurrency:
        return ("fits", "") if not any(kind.kind != "none" for kind in found.attention) else _short(found)
    if not asked.fits:
        tokens = length(found, use)
        short = f"one request of {tokens:,} tokens takes {format_memory(asked.request.value)} of KV cache"
        where = "" if cards.cpu else " on each card"
        return "too large", f"{short}{where}, and {format_memory(left)} are left for it"
    if asked.concurrency.value < BARELY:
        tokens = length(found, use)
        return "barely", f"the KV cache holds {asked.concurrency.value:.2f} requests of {tokens:,} tokens at once"
    return "fits", ""


def _needed_of(weights: Weights) -> tuple[str, ...]:
    """Without these the sum is of something else. What was read off the weights themselves needs no width."""
    return ("num_attention_heads",) if weights.how == "measured" else ("hidden_size", "num_attention_heads")


def _short(found: Architecture) -> tuple[Verdict, str]:
    return "unknown", f"{found.source} does not say how many tokens the model reads; max_model_len would"


def _over(cards: Cards, use: Use, asked: Layout, excess: int) -> str:
    beside = sum(line.figure.value for line in asked.overhead)
    held = asked.weights.value if asked.weights else 0
    of = f"{use.utilization:g} of {format_memory(cards.memory)}"
    return (
        f"weights ({format_memory(held)}) and what the engine needs beside them ({format_memory(beside)}) are "
        f"{format_memory(excess)} more than {of} on each card"
    )


def fewest(found: Architecture, weights: Weights, cards: Cards, use: Use, seen: Seen | None = None) -> Layout | None:
    """On the fewest cards of this size that do, however many there are; None when no number of them does."""
    for count in range(1, MOST_CARDS + 1):
        for tensor, pipeline in splits(count):
            changed = replace(use, tensor=tensor, pipeline=pipeline)
            tried = layout(found, weights, cards, changed, seen_as(seen, use, changed))
            if tried.fits:
                return tried
    return None


def smallest(
    found: Architecture, weights: Weights, cards: Cards, use: Use, learnt: Callable[[Use], Seen | None]
) -> Layout | None:
    """The least tensor parallel size that does, with as many pipeline stages as ``use`` has, on the cards that there
    are. ``learnt`` is what is known of a use."""
    for tensor in range(1, max(1, (cards.count or MOST_CARDS) // use.pipeline) + 1):
        tried = replace(use, tensor=tensor)
        answer = layout(found, weights, cards, tried, learnt(tried))
        if answer.fits:
            return answer
    return None


def _needed(least: Layout | None, cards: Cards) -> Figure | None:
    if least is None:
        return None
    how = f"tensor_parallel_size {least.tensor}"
    how += f", pipeline_parallel_size {least.pipeline}" if least.pipeline > 1 else ""
    return Figure(least.cards, "cards", "computed", f"of {format_memory(cards.memory)}", how)


def alternatives(
    found: Architecture, weights: Weights, cards: Cards, use: Use, seen: Seen | None = None
) -> Iterator[Layout]:
    """One layout for each number of cards up to those at hand (8 when that is not said), refused ones too."""
    for count in range(1, (cards.count or 8) + 1):
        changed = replace(use, tensor=count, pipeline=1)
        yield layout(found, weights, cards, changed, seen_as(seen, use, changed))
