"""What `orch inspect` found, as a person reads it and as a JSON document. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.columns import columns
from orchestrator.fit.config import context
from orchestrator.fit.description import Description
from orchestrator.fit.inputs import Count, left
from orchestrator.fit.inspection import Counted, Inspection, divisions
from orchestrator.fit.layout import length
from orchestrator.fit.model import Architecture, Figure, Fit, Layout, Weights
from orchestrator.fit.phrases import memory_text, small_text
from orchestrator.fit.text import cards_text, model_text, sum_text, variants_text, verdict_text
from orchestrator.fit.variants import Candidate, Row, recommended
from orchestrator.model import Json
from orchestrator.units import format_size

NO_CARDS = (
    "There are no cards here that it could be fitted to, and no environment declares any: `--environment NAME` takes "
    "those that environments/NAME.yaml declares under host."
)


def inspection_text(found: Inspection) -> list[str]:
    parts = [_place(found.found), _notes(found)]
    if found.readable:
        parts[0] += model_text(found.architecture, found.weights)
        parts.append(_divided(found))
    if found.answer:
        parts += _answer(found.answer)
        parts[-1] += _runs(found)
    elif found.readable:
        parts.append([NO_CARDS])
    parts += [_uncounted(found), _forms(found)]
    if found.counted:
        parts.append(counted_text(found.counted, length(found.architecture, found.use)))
    lines: list[str] = []
    for part in parts:
        lines += ["", *part] if lines and part else part
    return lines


def _place(found: Description) -> list[str]:
    if not found.files:
        return [f"{found.place}: " + ("its config.json on this disk" if _only_config(found) else "no weights")]
    files = f"{found.files} {'file' if found.files == 1 else 'files'} of weights"
    where = "on this disk" if found.here else f"on the Hub, of which {format_size(found.read)} were read"
    return [f"{found.place}: {files}, {format_size(found.disk)} ({found.kind or 'of several kinds'}), {where}"]


def _only_config(found: Description) -> bool:
    """Of a repository of which the weights were not fetched: that it has none is not said."""
    return found.here and bool(found.commit and found.config) and not found.files


def _notes(found: Inspection) -> list[str]:
    notes = list(found.found.notes)
    most = context(found.architecture)
    if 0 < most < found.use.max_model_len:
        notes.append(f"max_model_len {found.use.max_model_len:,} is refused by the engine: it reads {most:,} tokens")
    return [f"! {note}" for note in notes]


def _divided(found: Inspection) -> list[str]:
    """Weights on the fullest card, and what a token of KV cache takes there."""
    held = [one for one in divisions(found.architecture, found.weights, found.use, found.cards) if not one.refused]
    if not found.weights.bytes or not held or (found.cards and found.cards.cpu):
        return []
    stages = sorted({one.pipeline for one in held})
    cells = {(one.tensor, one.pipeline): _cell(one) for one in held}
    head = ("TENSOR PARALLEL", *(f"PIPELINE {size}" for size in stages))
    rows = [
        (str(tensor), *(cells.get((tensor, stage), "") for stage in stages))
        for tensor in sorted({one.tensor for one in held})
    ]
    return ["weights on each card, and KV cache a token:", *columns([head, *rows])]


def _cell(one: Layout) -> str:
    weights = memory_text(one.weights.value) if one.weights else "-"
    return f"{weights} + {small_text(one.kv_per_token.value)}" if one.kv_per_token else weights


def _answer(answer: Fit) -> Iterator[list[str]]:
    if answer.architecture.layers and answer.weights.bytes:
        yield sum_text(answer)
        if not answer.cards.cpu:
            yield cards_text(answer)
    yield verdict_text(answer)


def _runs(found: Inspection) -> list[str]:
    if found.runs.runs is False:
        return [f"But it cannot run there: {found.runs.why}."]
    return [f"It does not run natively there: {found.runs.why}."] if found.runs.native is False else []


def _uncounted(found: Inspection) -> list[str]:
    if not found.uncounted or not found.answer:
        return []
    return [f"Not counted in: {', '.join(found.uncounted)}. What it comes to may differ."]


def _forms(found: Inspection) -> list[str]:
    lines = [f"Its other forms could not be looked for: {found.trouble}"] if found.trouble else []
    if found.rows and found.cards:
        lines += variants_text(found.rows, found.cards)
    elif len(found.candidates) > 1:
        table = [("VARIANT", "ON DISK", "WEIGHTS", "CACHED")]
        table += [
            (one.name, format_size(one.disk) if one.disk else "-", format_size(one.weights.bytes), _cached(one))
            for one in found.candidates
        ]
        lines += columns(table)
    for one in found.unread:
        size = f" ({format_size(one.disk)} on disk)" if one.disk else ""
        lines.append(f"not looked at: {one.name}{size}: {one.why or 'nothing of it could be read'}")
    return lines


def _cached(one: Candidate) -> str:
    return "-" if one.cached is None else "yes" if one.cached else "no"


# ------------------------------------------------------------------------------------------------------------- inputs


def counted_text(counted: Counted, context: int) -> list[str]:
    """``context``: tokens of prompt and answer together, 0 when that is not known."""
    table = [("INPUT", "TOKENS", "TEXT", "LEFT")]
    rows = [(one.name, count) for one, count in zip(counted.inputs, counted.counts.each, strict=True)]
    rows += [("together", counted.counts.together)] if len(rows) > 1 else []
    table += [(name, *_count(count, context, counted.expected)) for name, count in rows]
    lines = columns(table)
    lines += [f"{name} could not be counted: {count.why}" for name, count in rows if count.why]
    unseen = sum(one.unseen for one in counted.inputs)
    if unseen:
        lines.append(
            f"{unseen} {'part is' if unseen == 1 else 'parts are'} no text (an image, a sound), and not counted"
        )
    return [*lines, _context_line(counted, context)]


def _count(count: Count, context: int, expected: int) -> tuple[str, str, str]:
    if count.why:
        return "-", "-", "-"
    rest = left(context, count.tokens, expected)
    words = f"{rest:,}" if rest >= 0 else f"{-rest:,} too few"
    return f"{count.tokens:,}", f"{count.text:,}", words if context else "-"


def _context_line(counted: Counted, context: int) -> str:
    template = "the model's chat template with it" if counted.counts.template else "it has no chat template"
    if not context:
        return f"Counted by the model's own tokenizer, {template}; how much it reads is not known."
    answer = f", with {counted.expected:,} kept for the answer" if counted.expected else ""
    return f"Counted by the model's own tokenizer, {template}; of {context:,} tokens of context{answer}."


# --------------------------------------------------------------------------------------------------------------- JSON


def inspection_json(found: Inspection) -> Mapping[str, Json]:
    told, answer = found.found, found.answer
    return {
        "version": 1,
        "what": found.what,
        "place": told.place,
        "commit": told.commit,
        "here": told.here,
        "files": told.files,
        "disk_bytes": told.disk,
        "kind": told.kind,
        "read_bytes": told.read,
        "notes": list(told.notes),
        "error": str(told.error) if told.error else None,
        "architecture": _architecture(found.architecture),
        "weights": _weights(found.weights),
        "divisions": [
            _layout(one) for one in divisions(found.architecture, found.weights, found.use, found.cards)
        ] if found.readable else [],
        "cards": _cards(found),
        "use": _use(found),
        "uncounted": list(found.uncounted),
        "fit": _fit(answer) if answer else None,
        "support": {"runs": found.runs.runs, "native": found.runs.native, "why": found.runs.why},
        "variants": [_row(row) for row in found.rows] or [_candidate(one) for one in found.candidates],
        "recommended": _recommended(found),
        "unread": [{"name": one.name, "why": one.why, "disk_bytes": one.disk} for one in found.unread],
        "variants_trouble": found.trouble or None,
        "inputs": _inputs(found),
    }  # fmt: skip


def _architecture(one: Architecture) -> Json:
    names = (
        "name", "model_type", "layers", "hidden", "heads", "kv_heads", "head_size", "v_head_size", "vocabulary",
        "max_positions", "intermediate", "tied", "dtype", "source",
    )  # fmt: skip
    kinds: dict[str, int] = {}
    for layer in one.attention:
        kinds[layer.kind] = kinds.get(layer.kind, 0) + 1
    scheme, experts = one.quantization, one.experts
    return {name: getattr(one, name) for name in names} | {
        "rope": {"kind": one.rope.kind, "factor": one.rope.factor, "original": one.rope.original},
        "attention_layers": kinds,
        "window": max((layer.window for layer in one.attention), default=0),
        "experts": experts and {"count": experts.count, "active": experts.active, "shared": experts.shared},
        "quantization": scheme and {"method": scheme.method, "bits": scheme.bits, "group": scheme.group},
        "towers": [{"name": tower.name, "parameters": tower.parameters} for tower in one.towers],
        "unknown": list(one.unknown),
    }


def _weights(one: Weights) -> Json:
    kinds = {name: {"parameters": count, "bytes": size} for name, (count, size) in one.by_dtype.items()}
    told = {"parameters": one.parameters, "bytes": one.bytes, "by_dtype": kinds}
    return told | {"how": one.how, "source": one.source, "unsure": list(one.unsure)}


def _cards(found: Inspection) -> Json:
    if (one := found.cards) is None:
        return None
    names = ("memory", "count", "name", "capability", "cpu", "how", "source")
    return {name: getattr(one, name) for name in names}


def _use(found: Inspection) -> Json:
    names = ("tensor", "pipeline", "utilization", "kv_cache_dtype", "quantization", "dtype", "eager")
    told = {name: getattr(found.use, name) for name in names}
    return told | {"max_model_len": length(found.architecture, found.use)}


def _fit(answer: Fit) -> Json:
    return {
        "verdict": answer.verdict,
        "why": answer.why,
        "needed": _figure(answer.needed),
        "layout": _layout(answer.layout),
        "layouts": [_layout(one) for one in answer.layouts],
        "changes": [{"kind": one.kind, "to": one.to, "text": one.text} for one in answer.changes],
    }


def _layout(one: Layout) -> Json:
    figures = ("weights", "kv_per_token", "for_kv", "request", "kv_tokens", "concurrency", "longest")
    told = {"tensor": one.tensor, "pipeline": one.pipeline, "cards": one.cards, "refused": one.refused or None}
    beside = [{"label": line.label, **(_figure(line.figure) or {})} for line in one.overhead]
    return told | {name: _figure(getattr(one, name)) for name in figures} | {"overhead": beside, "fits": one.fits}


def _figure(one: Figure | None) -> dict[str, Json] | None:
    if one is None:
        return None
    names = ("value", "unit", "how", "source", "formula")
    return {name: getattr(one, name) for name in names}


def _row(row: Row) -> Json:
    least = {"cards_needed": row.cards or None, "layout": _layout(row.least) if row.least else None}
    return _candidate(row.candidate) | least


def _candidate(one: Candidate) -> dict[str, Json]:
    told = {"name": one.name, "disk_bytes": one.disk, "weights": _weights(one.weights), "cached": one.cached}
    return told | {"supported": one.supported, "native": one.native, "note": one.note}


def _recommended(found: Inspection) -> Json:
    if not found.rows or not found.cards:
        return None
    best, why = recommended(found.rows, found.cards)
    return {"name": best.candidate.name if best else None, "why": why}


def _inputs(found: Inspection) -> Json:
    if (counted := found.counted) is None:
        return None
    context = length(found.architecture, found.use)
    each: Sequence[tuple[str, Count]] = [
        (one.name, count) for one, count in zip(counted.inputs, counted.counts.each, strict=True)
    ]
    return {
        "context": context,
        "expected_output": counted.expected,
        "chat_template": counted.counts.template,
        "each": [{"name": name, **_tokens(count, context, counted.expected)} for name, count in each],
        "together": _tokens(counted.counts.together, context, counted.expected),
    }


def _tokens(count: Count, context: int, expected: int) -> dict[str, Json]:
    if count.why:
        return {"why": count.why}
    rest = left(context, count.tokens, expected) if context else None
    return {"tokens": count.tokens, "text_tokens": count.text, "left": rest}
