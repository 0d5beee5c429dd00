"""What earlier starts on this host teach of the next: the engine's own numbers beside those that were reckoned. Pure.

The names are those of `diagnosis/data/stages.toml`: weights and kv_cache in bytes of one card, kv_cache_tokens in
tokens, concurrency in requests of the longest length.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from orchestrator.engines.knowledge import Engine
from orchestrator.fit.model import Cards, Fit, Seen, Use
from orchestrator.fit.use import use_of
from orchestrator.model import Deployment, Revision

LEAST = 0.001
"""Part of a card: what engines say is rounded to hundredths of a GiB, and less than this is nothing that was told."""


def estimate(answer: Fit | None) -> Mapping[str, float]:
    """What is reckoned for a start; empty where nothing can be."""
    if answer is None or answer.verdict in ("unknown", "refused"):
        return {}
    held = answer.layout
    room = held.for_kv if not answer.cards.cpu else None  # there it is given, not reckoned
    found = {"weights": held.weights, "kv_cache": room, "kv_cache_tokens": held.kv_tokens,
             "concurrency": held.concurrency}  # fmt: skip
    return {name: round(one.value, 2) for name, one in found.items() if one is not None}


def seen(
    wanted: Deployment, use: Use, cards: Cards, kept: Iterable[Revision], engine: Engine | None = None
) -> Seen | None:
    """What the newest start of the same model, spread and set alike, took of a card beside weights and KV cache: of
    this deployment, else of another one. ``kept`` are of this host, and have cards like ``cards``; ``engine`` is what
    is known of the version that takes its own default."""
    if cards.cpu:
        return None
    alike = [one for one in kept if _alike(one.deployment, wanted, use)]
    told = [(one, size) for one in alike if (size := _overhead(one, cards.memory, engine)) is not None]
    if not told:
        return None
    newest, size = max(told, key=lambda pair: (pair[0].deployment.name == wanted.name, pair[0].at, pair[0].number))
    return Seen(size, f"what {newest.deployment.name} reported as revision {newest.number}")


def _alike(earlier: Deployment, wanted: Deployment, use: Use) -> bool:
    """Whether nothing differs that decides what an engine takes beside weights and KV cache."""
    one, other = (replace(spec.model, revision=None) for spec in (earlier.spec, wanted.spec))
    return one == other and _beside(use_of(earlier.spec)) == _beside(use)


def _beside(use: Use) -> Use:
    return replace(use, max_model_len=0, utilization=0.5, kv_cache_dtype="auto", block=0)


def _overhead(one: Revision, memory: int, engine: Engine | None) -> int | None:
    """Bytes. What was reckoned for the weights comes before what the engine told: whatever they take more is then a
    part of this, and the sum comes out as the engine had it."""
    weights = one.estimate.get("weights") or one.measured.get("weights")
    room = one.measured.get("kv_cache")
    if not weights or not room:
        return None
    size = memory * use_of(one.deployment.spec, engine).utilization - weights - room
    return round(size) if memory * LEAST < size < memory else None
