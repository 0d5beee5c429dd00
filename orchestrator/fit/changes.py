"""What would make a model fit, each alone, what gives up least first. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.fit.kv import kv_dtype
from orchestrator.fit.layout import BARELY, layout, length, seen_as, splits
from orchestrator.fit.model import Architecture, Change, Fit, Layout, Seen, Use, Weights
from orchestrator.fit.phrases import cards_word, listed

UTILIZATION = 0.95
"""The most of a card that is worth giving to the engine: the driver and the CUDA context need the rest."""
SHORTEST = 1024
"""A context shorter than this is no use, and not proposed."""
STEP = 256
"""Proposed lengths are multiples of this."""
EIGHT_BIT_CACHE = "8.9"
"""The compute capability from which cards work on eight-bit floats."""
MORE = 8
"""So many times the cards asked for are tried, and not more."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Another checkpoint of the same model. ``supported`` False: these cards cannot run its quantization."""

    name: str
    architecture: Architecture
    weights: Weights
    supported: bool = True


_Does = Callable[[Use], Layout | None]
"""The layout, if a use would do."""


def changes(answer: Fit, variants: Sequence[Variant] = (), seen: Seen | None = None) -> Iterator[Change]:
    """For an answer that is not "fits". A tight fit is offered what makes room for two requests."""
    found, weights, cards, use = answer.architecture, answer.weights, answer.cards, answer.use

    def does(changed: Use) -> Layout | None:
        tried = layout(found, weights, cards, changed, seen_as(seen, use, changed))
        return tried if _good(tried, answer) else None

    if not answer.layout.refused:
        single = [*_utilization(answer, does), *_eight_bits(answer, does), *_tokens(answer, does)]
        yield from single or _together(answer, does)
    yield from _cards(answer, does)
    for variant in variants:
        tried = layout(variant.architecture, variant.weights, cards, use)
        if variant.supported and _good(tried, answer):
            yield Change("variant", variant.name, f"serve {variant.name}: it fits {cards_word(tried.cards)} as asked")


def _good(tried: Layout, answer: Fit) -> bool:
    roomy = tried.concurrency is not None and tried.concurrency.value >= BARELY
    return tried.fits and (roomy or answer.verdict != "barely")


def _utilization(answer: Fit, does: _Does) -> Iterator[Change]:
    if answer.cards.cpu:
        return
    percent = int(answer.use.utilization * 100) + 1
    for tried in range(percent, round(UTILIZATION * 100) + 1):
        if does(replace(answer.use, utilization=tried / 100)):
            text = f"gpu_memory_utilization: {tried / 100:.2f}, where nothing else uses the cards"
            yield Change("utilization", f"{tried / 100:.2f}", text)
            return


def _eight_bits(answer: Fit, does: _Does) -> Iterator[Change]:
    changed = _with_eight_bits(answer)
    if changed and does(changed):
        yield Change("kv_cache_dtype", "fp8", "kv_cache_dtype: fp8, which halves the KV cache")


def _with_eight_bits(answer: Fit) -> Use | None:
    able = not answer.cards.capability or _version(answer.cards.capability) >= _version(EIGHT_BIT_CACHE)
    dtype, _ = kv_dtype(answer.architecture, answer.use)
    plain = dtype in ("auto", "bfloat16", "float16", "float32")
    return replace(answer.use, kv_cache_dtype="fp8") if able and plain and not answer.cards.cpu else None


def _tokens(answer: Fit, does: _Does) -> Iterator[Change]:
    if most := _most_tokens(answer, answer.use, does):
        yield Change("tokens", str(most), f"max_model_len: {most}")


def _together(answer: Fit, does: _Does) -> Iterator[Change]:
    """Where nothing does alone: all of it, with the context that is then left."""
    wide = answer.use if answer.cards.cpu else replace(answer.use, utilization=max(answer.use.utilization, UTILIZATION))
    eight = _with_eight_bits(replace(answer, use=wide)) or wide
    if most := _most_tokens(answer, eight, does):
        parts = [f"max_model_len: {most}"]
        if eight.kv_cache_dtype != answer.use.kv_cache_dtype:
            parts.append("kv_cache_dtype: fp8")
        if eight.utilization != answer.use.utilization:
            parts.append(f"gpu_memory_utilization: {eight.utilization:.2f}")
        yield Change("tokens", str(most), listed(parts))


def _most_tokens(answer: Fit, use: Use, does: _Does) -> int:
    """The longest context below the one asked for that would do; 0 when none worth having does."""
    low, high = SHORTEST // STEP, (length(answer.architecture, use) - 1) // STEP
    if high < low or not does(replace(use, max_model_len=low * STEP)):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if does(replace(use, max_model_len=middle * STEP)) else (low, middle - 1)
    return low * STEP


def _cards(answer: Fit, does: _Does) -> Iterator[Change]:
    """More cards. Where their number was refused: the nearest that would do, and the same number as a pipeline."""
    asked, refused = answer.use.tensor * answer.use.pipeline, bool(answer.layout.refused)
    most = answer.cards.count or MORE * asked
    counts = [count for count in range(1, most + 1) if (count != asked if refused else count > asked)]
    nearest = sorted(counts, key=lambda count: (abs(count - asked), count))
    if refused:
        yield from _first([(count, 1) for count in nearest], answer, does)
        yield from _first([(1, asked)], answer, does)
        return
    yield from _first([split for count in nearest for split in splits(count)], answer, does)


def _first(tried: Sequence[tuple[int, int]], answer: Fit, does: _Does) -> Iterator[Change]:
    """The first of these (tensor, pipeline) that would do."""
    for tensor, pipeline in tried:
        if does(replace(answer.use, tensor=tensor, pipeline=pipeline)):
            text = f"tensor_parallel_size: {tensor}"
            text += f" and pipeline_parallel_size: {pipeline}" if pipeline > 1 else ""
            yield Change("cards", str(tensor * pipeline), f"{text}, on {cards_word(tensor * pipeline)}")
            return


def _version(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split(".") if part.isdigit())
