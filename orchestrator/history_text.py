"""What `orch history` prints: the kept revisions of a deployment, what failed, and how two revisions differ. Pure."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence

from orchestrator.columns import columns
from orchestrator.diagnosis.progress import stage_words
from orchestrator.drift import deployment_diff
from orchestrator.errors import InputError
from orchestrator.model import Json, Record, Rejected, Revision
from orchestrator.models_table import ago
from orchestrator.plan import FieldDiff
from orchestrator.render import VERSION, field_json, field_text
from orchestrator.units import format_duration, format_memory

HEAD = ("REVISION", "WHEN", "WHO", "MODEL", "ENGINE", "READY AFTER", "GPUS", "")
_NUMBERS: Sequence[tuple[str, str, Callable[[float], str]]] = (
    ("weights", "weights {}", format_memory),
    ("kv_cache", "KV cache {}", format_memory),
    ("kv_cache_tokens", "tokens in it {}", "{:,.0f}".format),
    ("concurrency", "requests at once {}", "{:.2f}".format),
    ("graphs", "graphs {}", format_memory),
    ("load", "loaded in {}", lambda seconds: format_duration(round(seconds))),
)
"""Of those that `diagnosis/data/stages.toml` names: the words around each, and how it is written."""
SHORT = 12
"""Characters of a card's UUID."""


def history_text(name: str, record: Record | None, revisions: Sequence[Revision], now: float) -> str:
    """The newest number first."""
    newest = sorted(revisions, key=lambda one: one.number, reverse=True)
    table = [HEAD, *(_row(one, record, now) for one in newest)]
    cards = any(one.gpus for one in newest)
    shown = [row if cards else (*row[:6], *row[7:]) for row in table]
    lines = columns(shown) if newest else [f"{name}: no revision is kept; each deployment that becomes ready is one"]
    lines += [_stages(one) for one in newest if one.stages and _is_current(one, record)]
    told = [(one, numbers_text(one.measured, one.estimate)) for one in newest if _is_current(one, record)]
    lines += [f"revision {one.number}, {text}" for one, text in told if text]
    failed = [f"  {_failure(one, now)}" for one in reversed(record.rejected)] if record else []
    head = ["failed, and not tried again while something older serves:"] if failed else []
    return "\n".join([*lines, *head, *failed])


def _row(one: Revision, record: Record | None, now: float) -> tuple[str, ...]:
    commit = one.deployment.spec.commits.get("model", "")[:8]
    return (
        str(one.number),
        ago(now - one.at),
        one.user or "-",
        one.deployment.spec.model.label + (f"@{commit}" if commit else ""),
        one.engine or "-",
        format_duration(one.ready_seconds) if one.ready_seconds else "-",
        ", ".join(gpu[:SHORT] for gpu in one.gpus) or "-",
        ", ".join(_marks(one, record)),
    )


def _stages(one: Revision) -> str:
    """Of the last time that it was started; what took no second is not worth a word."""
    spent = ", ".join(
        f"{stage_words(name)} {format_duration(round(sec))}" for name, sec in one.stages.items() if sec >= 1
    )
    return f"revision {one.number}, where the time went: {spent or 'nothing took a second'}"


def numbers_text(measured: Mapping[str, float], estimate: Mapping[str, float]) -> str:
    """What an engine told as it started, each beside what was reckoned before; empty when it told nothing."""
    shown = [_number(*one, measured, estimate) for one in _NUMBERS if one[0] in measured]
    if not shown:
        return ""
    beside = " (and as it was reckoned)" if any(name in estimate for name, _, _ in _NUMBERS) else ""
    return f"as its engine told{beside}: {', '.join(shown)}"


def _number(
    name: str, text: str, shown: Callable[[float], str], measured: Mapping[str, float], estimate: Mapping[str, float]
) -> str:
    reckoned = f" ({shown(estimate[name])})" if name in estimate else ""
    return text.format(f"{shown(measured[name])}{reckoned}")


def _marks(one: Revision, record: Record | None) -> Iterator[str]:
    if _is_current(one, record):
        yield "current"
    if _is_pinned(one, record):
        yield "pinned"


def _is_current(one: Revision, record: Record | None) -> bool:
    return bool(record and record.revision and record.revision.number == one.number)


def _is_pinned(one: Revision, record: Record | None) -> bool:
    return bool(record and record.pin and record.pin.number == one.number)


def _failure(one: Rejected, now: float) -> str:
    log = f" (log {one.log})" if one.log else ""
    return f"spec {one.digest}, {ago(now - one.at)}: {one.why}{log}"


def history_json(name: str, record: Record | None, revisions: Sequence[Revision]) -> Mapping[str, Json]:
    newest = sorted(revisions, key=lambda one: one.number, reverse=True)
    failed = reversed(record.rejected) if record else ()
    return {
        "version": VERSION,
        "name": name,
        "revisions": [_revision_json(one, record) for one in newest],
        "failed": [{"digest": one.digest, "at": one.at, "why": one.why, "log": one.log} for one in failed],
    }


def _revision_json(one: Revision, record: Record | None) -> Json:
    return {
        "number": one.number,
        "at": one.at,
        "user": one.user,
        "digest": one.digest,
        "model": one.deployment.spec.model.label,
        "commits": dict(one.deployment.spec.commits),
        "runtime": one.runtime,
        "engine": one.engine,
        "ready_seconds": one.ready_seconds,
        "stages": dict(one.stages),
        "measured": dict(one.measured),
        "estimate": dict(one.estimate),
        "gpus": list(one.gpus),
        "current": _is_current(one, record),
        "pinned": _is_pinned(one, record),
    }


# ------------------------------------------------------------------------------------------------------- two of them


def pick(name: str, known: Mapping[int, Revision], number: int) -> Revision:
    """Raises InputError."""
    if number in known:
        return known[number]
    numbers = f"kept are {', '.join(map(str, known))}" if known else "none is kept"
    raise InputError(f"show revision {number} of {name}", "it is not kept", numbers)


def diff_text(name: str, before: Revision, after: Revision) -> str:
    """Field by field; where only the text of the files differs, that."""
    fields, lines = _fields(before, after), _lines(before, after)
    title = f"{name}, from revision {before.number} to revision {after.number}:"
    if fields:
        return "\n".join([title, *(f"  {field_text(one)}" for one in fields)])
    if lines:
        return "\n".join([title, "nothing but the text of the files differs", *lines])
    return f"{name}: revision {before.number} and revision {after.number} are the same"


def diff_json(name: str, before: Revision, after: Revision) -> Mapping[str, Json]:
    return {
        "version": VERSION,
        "name": name,
        "from": before.number,
        "to": after.number,
        "fields": [field_json(one) for one in _fields(before, after)],
        "text": _lines(before, after),
    }


def _fields(before: Revision, after: Revision) -> tuple[FieldDiff, ...]:
    engine = (FieldDiff("engine", before.engine, after.engine),) if before.engine != after.engine else ()
    return (*deployment_diff(before.deployment, after.deployment), *engine)


def _lines(before: Revision, after: Revision) -> list[str]:
    """Of the profile, then of the environment."""
    texts = (
        ("profile", before.deployment.profile_text, after.deployment.profile_text),
        ("environment", before.deployment.environment_text, after.deployment.environment_text),
    )
    found: list[str] = []
    for what, old, new in texts:
        was, now = (f"{what} of revision {one.number}" for one in (before, after))
        found += difflib.unified_diff(old.splitlines(), new.splitlines(), was, now, lineterm="", n=1)
    return found
