"""The arithmetic as a person reads it, line by line, with where each figure is from. Pure."""

from collections.abc import Iterator, Sequence

from orchestrator.columns import columns
from orchestrator.fit.config import context
from orchestrator.fit.layout import length
from orchestrator.fit.model import Architecture, Cards, Figure, Fit, Layout, Weights
from orchestrator.fit.phrases import cards_word, listed, memory_text, small_text
from orchestrator.fit.variants import Candidate, Row, recommended
from orchestrator.units import format_memory, format_size

_DTYPES = 4
"""No more dtypes than this are listed by name; the smallest are summed up."""

_VERDICTS = {
    "fits": "It fits",
    "barely": "It fits barely",
    "too large": "It does not fit",
    "refused": "It cannot start",
    "unknown": "It cannot be said",
}


def fit_text(answer: Fit) -> list[str]:
    """All of it: the model, the sum for the cards asked for, the other numbers of cards, and what would do."""
    lines = model_text(answer.architecture, answer.weights)
    if answer.architecture.layers and answer.weights.bytes:
        lines += ["", *sum_text(answer)]
        lines += [] if answer.cards.cpu else ["", *cards_text(answer)]
    return [*lines, "", *verdict_text(answer)]


def model_text(found: Architecture, weights: Weights) -> list[str]:
    """What the model is."""
    lines = [f"{found.name or found.model_type or 'a model of no named kind'}: {_parameters(weights)}"]
    lines += [f"  {line}" for line in _shape(found)]
    if found.unknown:
        lines.append(f"  not found in {found.source}: {', '.join(found.unknown)}")
    lines += [f"  unsure: {what}" for what in weights.unsure]
    return lines


def sum_text(answer: Fit) -> list[str]:
    """The sum for one card, a line a figure."""
    held, cards = answer.layout, answer.cards
    head = f"{_on(held.cards, cards)}{_split(held)}:"
    if held.refused:
        return [head, f"  the engine refuses: {held.refused}"]
    table = [(sign, amount, label, figure.how, _source(figure)) for sign, amount, label, figure in _lines(answer)]
    return [head, *(f"  {line}" for line in columns(table))]


def cards_text(answer: Fit) -> list[str]:
    """One line for each number of cards that the engine takes; below them those that it refuses."""
    table = [("CARDS", "WEIGHTS", "FOR KV CACHE", "TOKENS", "AT ONCE", "LONGEST")]
    refused: dict[str, list[str]] = {}
    for one in answer.layouts:
        if one.refused:
            refused.setdefault(one.refused.replace(f"by {one.tensor}", "by it"), []).append(str(one.cards))
            continue
        longest = f"{one.longest.value:,.0f}" if one.longest and one.longest.value else "does not fit"
        table.append((str(one.cards), *_amounts(one), longest))
    return [*columns(table), *(f"not on {listed(counts, 'or')}: {why}" for why, counts in refused.items())]


def verdict_text(answer: Fit) -> list[str]:
    """In a sentence; below it what would make it fit, a line each."""
    lines = [_VERDICTS[answer.verdict] + (f": {answer.why}." if answer.why else ".")]
    if answer.needed and answer.verdict not in ("fits", "barely"):
        lines.append(
            f"It takes {cards_word(int(answer.needed.value))} {answer.needed.source}: {answer.needed.formula}."
        )
    if answer.changes:
        does = "makes room" if answer.verdict == "barely" else "would do"
        lines.append(f"This {does}:" if len(answer.changes) == 1 else f"Any one of these {does}:")
    return lines + [f"  {change.text}" for change in answer.changes]


def variants_text(rows: Sequence[Row], cards: Cards) -> list[str]:
    """The same model's checkpoints side by side, and the one to serve."""
    table = [("VARIANT", "ON DISK", "CARDS", "WEIGHTS", "FOR KV CACHE", "TOKENS", "AT ONCE", "HERE", "CACHED")]
    for row in rows:
        one = row.candidate
        disk = format_size(one.disk) if one.disk else "-"
        amounts = _amounts(row.least) if row.least else ("-", "-", "-", "-")
        table.append((one.name, disk, str(row.cards or "none"), *amounts, _runs(one), _yes(one.cached, "yes", "no")))
    best, why = recommended(rows, cards)
    notes = [f"{row.candidate.name}: {row.candidate.note}" for row in rows if row.candidate.note]
    return [
        *columns(table),
        *notes,
        "",
        f"Serve {best.candidate.name}: {why}." if best else f"{why[0].upper()}{why[1:]}.",
    ]


def _runs(one: Candidate) -> str:
    if not one.supported:
        return _yes(one.supported, "", "cannot run")
    return _yes(one.native, "natively", "unpacked") if one.native is not None else "runs"


def _lines(answer: Fit) -> Iterator[tuple[str, str, str, Figure]]:
    held, cards, use = answer.layout, answer.cards, answer.use
    if not cards.cpu:
        given = Figure(cards.memory, "bytes", cards.how, cards.source or cards.name)
        yield "", memory_text(cards.memory), "a card", given
        share = Figure(use.utilization, "", "declared", "gpu_memory_utilization")
        yield "x", f"{use.utilization:g}", "the engine's share of it", share
        if held.weights:
            yield "-", memory_text(held.weights.value), "weights", held.weights
        for line in held.overhead:
            yield "-", memory_text(line.figure.value), line.label, line.figure
    elif held.weights:
        yield "", memory_text(held.weights.value), "weights", held.weights
    if held.for_kv:
        yield "=", memory_text(held.for_kv.value), "left for the KV cache", held.for_kv
    yield from _cache_lines(answer)


def _cache_lines(answer: Fit) -> Iterator[tuple[str, str, str, Figure]]:
    held = answer.layout
    if not (held.kv_per_token and held.request and held.kv_tokens and held.concurrency and held.longest):
        return
    yield "", small_text(held.kv_per_token.value), "of KV cache a token", held.kv_per_token
    tokens = length(answer.architecture, answer.use)
    yield "", memory_text(held.request.value), f"a request of {tokens:,} tokens", held.request
    if held.for_kv and held.for_kv.value <= 0:
        return
    yield "", f"{held.kv_tokens.value:,.0f}", "tokens of KV cache", held.kv_tokens
    yield "", f"{held.concurrency.value:.2f}", "such requests at once", held.concurrency
    yield "", f"{held.longest.value:,.0f}", "tokens at most, max_model_len", held.longest


def _shape(found: Architecture) -> Iterator[str]:
    kinds = [kind.kind for kind in found.attention]
    sizes = f"hidden {found.hidden}, feed-forward {found.intermediate}, vocabulary {found.vocabulary:,}"
    yield f"{found.layers} layers, {sizes}"
    if found.heads:
        pairs = f"{found.heads} heads and {found.kv_heads} KV heads of {found.head_size}"
        yield (
            pairs
            if "mla" not in kinds
            else f"{found.heads} heads of {found.head_size}, one latent vector for all (MLA)"
        )
    counted = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds) if kind != "none"}
    if len(counted) > 1 or "sliding" in counted:
        yield "attention: " + ", ".join(_kind(kind, count, found) for kind, count in counted.items())
    if found.experts:
        shared = f" and {found.experts.shared} shared" if found.experts.shared else ""
        yield f"{found.experts.count} experts a layer, {found.experts.active} of them a token{shared}"
    if found.quantization:
        group = f", groups of {found.quantization.group}" if found.quantization.group > 0 else ""
        yield f"quantized: {found.quantization.method}, {found.quantization.bits:g} bit{group}"
    if most := context(found):
        rope = found.rope
        stretched = f", by {rope.kind} rope scaling x{rope.factor:g}" if rope.factor > 1 else ""
        yield f"reads {most:,} tokens{stretched}"
    if found.tied:
        yield "the head is tied to the embeddings"
    for tower in found.towers:
        yield f"{tower.name} tower: {tower.parameters / 1e6:,.0f} M parameters"


def _kind(kind: str, count: int, found: Architecture) -> str:
    window = next((layer.window for layer in found.attention if layer.kind == kind), 0)
    words = {
        "full": "of all tokens",
        "sliding": f"of the last {window:,} tokens",
        "chunked": f"of chunks of {window:,} tokens",
        "mla": "of all tokens, by a latent vector",
        "state": "with a state",
    }
    return f"{count} layers {words[kind]}"


def _parameters(weights: Weights) -> str:
    kinds = list(weights.by_dtype.items())
    listed_kinds = ", ".join(f"{format_size(size)} {dtype}" for dtype, (_, size) in kinds[:_DTYPES])
    more = f" and {len(kinds) - _DTYPES} more" if len(kinds) > _DTYPES else ""
    return (
        f"{_count(weights.parameters)} parameters, {format_size(weights.bytes)} ({listed_kinds}{more}; {weights.how})"
    )


def _amounts(one: Layout) -> tuple[str, str, str, str]:
    room = one.for_kv.value if one.for_kv else 0
    return (
        memory_text(one.weights.value) if one.weights else "-",
        memory_text(room) if one.for_kv else "-",
        f"{one.kv_tokens.value:,.0f}" if one.kv_tokens else "-",
        f"{one.concurrency.value:.1f}" if one.concurrency else "-",
    )


def _source(figure: Figure) -> str:
    return f"{figure.source}: {figure.formula}" if figure.source and figure.formula else figure.source or figure.formula


def _on(count: int, cards: Cards) -> str:
    if cards.cpu:
        return "on this CPU"
    many = f"{count} of {cards_word(cards.count)}" if cards.count else cards_word(count)
    return f"on {many} of {format_memory(cards.memory)}" + (f" ({cards.name})" if cards.name else "")


def _split(held: Layout) -> str:
    if held.cards == 1:
        return ""
    return f", tensor_parallel_size {held.tensor}" + (
        f", pipeline_parallel_size {held.pipeline}" if held.pipeline > 1 else ""
    )


def _count(parameters: int) -> str:
    for unit, scale in (("B", 1e9), ("M", 1e6)):
        if parameters >= scale:
            return f"{parameters / scale:.2f} {unit}"
    return f"{parameters:,}"


def _yes(value: bool | None, yes: str, no: str) -> str:
    return "-" if value is None else yes if value else no
