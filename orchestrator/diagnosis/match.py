"""Which signature tells why an engine ended.

Every signature whose endings hold is tried, and the best of what was found wins:

1. its specific patterns in errors; then an ending that says enough by itself (the kernel killed it, or it waited and
   its last lines match); then general patterns (`Signature.general`) in errors; then hints, in lines of any level,
   for a cause may have been a warning; then an ending that says little (it was not ready in time);
2. among equals, one that is not general goes first; then one whose ``beside`` was found, before one that only its
   stage fits, and that before one that asked for neither; then one that asked more of the ending;
3. then what the process said that failed first (`errors_of`), before what others said of it or after it;
4. then the earliest line, for the first error is the root and the last an echo; of lines that the engine was silent
   after, the latest.

Whatever it is, a signature that another one names in ``over`` is out where both fit.

So the root cause wins over its echoes, and the specific over the general, even if the general one came first: a
compiler's "cannot find -lcuda" over the exception that wraps it. Errors are lines of level ERROR or worse and lines
without a level, without the frames of tracebacks: what a healthy start warns of never counts by itself. Of an engine
that had been ready only what it said since it last served counts.

Of many errors the first and the last `TRIED` are tried, what a process says again and again once.

If nothing is found, the first error of the process that failed first is shown, and how to write a signature of it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.diagnosis.cure import prescribe, say
from orchestrator.diagnosis.endings import holds
from orchestrator.diagnosis.errors_of import Trouble, after, find, was_ready
from orchestrator.diagnosis.literals import holds_one, literals
from orchestrator.diagnosis.model import Diagnosis, Ending, Line, Signature, Stage
from orchestrator.diagnosis.said import said
from orchestrator.model import Scalar

TRIED = 5000
"""Of the errors, from the first and from the last on."""
LAST = 12
"""How many lines from the end `Signature.last` is looked for in."""
SILENT = 4
"""How many of the last lines are shown of a log that tells of no error."""
KERNEL = "kernel"
"""The fact that holds lines of the kernel's log, and the process that they stand under, as number 0."""
_INTRODUCES = re.compile(r"validation errors? for \w+\s*$|:\s*$")
_SPECIFIC, _ENDED, _GENERAL, _HINTED, _ENDED_SOMEHOW = range(5)


class _Lines:
    """Lines that patterns are looked for in."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = tuple(lines)
        self._text = "\n".join(line.text for line in self._lines)

    def find(self, patterns: Sequence[re.Pattern[str]]) -> Iterator[tuple[Line, re.Match[str]]]:
        """Each line with the first of the patterns that fits it."""
        likely = [(one, literals(one)) for one in patterns if holds_one(self._text, literals(one))]
        for line in self._lines if likely else ():
            for pattern, texts in likely:
                if holds_one(line.text, texts) and (match := pattern.search(line.text)):
                    yield line, match
                    break


@dataclass(frozen=True, slots=True)
class _Places:
    """Where to look. ``trouble`` knows which process failed first."""

    every: _Lines
    errors: _Lines
    last: _Lines
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class _Found:
    rank: tuple[int, bool, int, int, bool, int, str]
    signature: Signature
    line: Line | None
    groups: Mapping[str, Scalar]


def diagnose(
    lines: Sequence[Line],
    ending: Ending,
    stage: Stage,
    signatures: Iterable[Signature],
    facts: Mapping[str, Scalar] | None = None,
) -> Diagnosis:
    """Why it ended. ``facts`` holds what is known from elsewhere: the deployment's fields by their dotted path
    ("serve.max_model_len", "environment.env.X"), its "name", "environment", "profile_file" and "environment_file",
    the "python" of its runtime, who "holders" of its cards' memory are, "peers_blocked", and lines of the kernel's log
    ("kernel"). Any may be missing."""
    known = facts or {}
    everything = (*_kernel(known), *lines)
    trouble = find(everything, ending)
    places = _Places(_Lines(everything), _Lines(_tried(trouble.errors)), _Lines(everything[-LAST:]), trouble)
    found = [
        one
        for signature in signatures
        if (one := _try(signature, places, stage))
        and all(holds(condition, ending, lines, known) for condition in signature.endings)
    ]
    outdone = {less for one in found for less in one.signature.over}
    found = [one for one in found if one.signature.id not in outdone]
    if not found:
        return _unknown(trouble, lines, ending, stage)
    best = min(found, key=lambda one: one.rank)
    values = {**said(lines), **{name: fact for name, fact in known.items() if fact != ""}, **best.groups}
    filled = prescribe(best.signature.cure, values)
    return Diagnosis(
        best.signature,
        stage,
        say(best.signature.title, values),
        _evidence(best.line, trouble, everything),
        say(best.signature.means, values),
        filled.words,
        filled.diff,
        filled.changes,
        best.signature.issues,
        best.signature.final,
    )


def _kernel(facts: Mapping[str, Scalar]) -> list[Line]:
    return [Line(0, text, KERNEL) for text in str(facts.get(KERNEL) or "").split("\n") if text.strip()]


def _tried(errors: Sequence[Line]) -> Sequence[Line]:
    first: dict[tuple[str, int, str], Line] = {}
    for line in errors:
        first.setdefault((line.process, line.pid, line.text), line)
    told = list(first.values())
    return told if len(told) <= 2 * TRIED else [*told[:TRIED], *told[-TRIED:]]


def _try(signature: Signature, places: _Places, stage: Stage) -> _Found | None:
    found = [
        (kind, not places.trouble.root(line), -line.number if kind == _ENDED else line.number, line, match)
        for kind, patterns, where in (
            (_GENERAL if signature.general else _SPECIFIC, signature.patterns, places.errors),
            (_ENDED, signature.last, places.last),
            (_HINTED, signature.hints, places.every),
        )
        for line, match in where.find(patterns)
    ]
    asks = signature.patterns or signature.hints or signature.last
    silent = bool(signature.endings) and (signature.alone or not asks)
    if (not found and not silent) or (fit := _context(signature, places, stage)) is None:
        return None
    if not found:
        kind = _ENDED_SOMEHOW if signature.general else _ENDED
        return _Found((*_weight(kind, fit, signature), False, 0, signature.id), signature, None, {})
    found.sort(key=lambda one: one[:3])
    kind, foreign, at, line, _ = found[0]
    groups: dict[str, Scalar] = {}
    for *_, match in found:  # an error of several lines names what it is about in a later one
        groups = {**{name: text for name, text in match.groupdict().items() if text}, **groups}
    return _Found((*_weight(kind, fit, signature), foreign, at, signature.id), signature, line, groups)


def _weight(kind: int, fit: int, signature: Signature) -> tuple[int, bool, int, int]:
    return kind, signature.general, fit, -len(signature.endings)


def _context(signature: Signature, places: _Places, stage: Stage) -> int | None:
    """How well what stands around it fits, 0 best; None: not at all."""
    if not signature.beside and not signature.stages:
        return 2
    if any(True for _ in places.every.find(signature.beside)):
        return 0
    return 1 if stage in signature.stages else None


def _evidence(line: Line | None, trouble: Trouble, lines: Sequence[Line]) -> tuple[Line, ...]:
    if line is not None:
        follows = after(line, trouble.errors) if _INTRODUCES.search(line.text) else None
        return (line, follows) if follows else (line,)
    return tuple(one for one in (trouble.first,) if one) or tuple(lines[-1:])


def _unknown(trouble: Trouble, lines: Sequence[Line], ending: Ending, stage: Stage) -> Diagnosis:
    evidence = [line for line in (trouble.first, trouble.last) if line]
    for at, line in enumerate(evidence):
        follows = after(line, trouble.errors)
        if _INTRODUCES.search(line.text) and follows:
            evidence[at] = follows
    if evidence:
        title = "this failure is not in the catalogue"
    elif ending.hung:
        title = "it stopped serving without a word about why"
    elif was_ready(lines) or not ending.before_ready:
        title = "it ended without a word about why"
    else:
        title = "it ended before it was ready, without a word about why"
    shown = tuple(dict.fromkeys(evidence)) or tuple(lines[-SILENT:])
    return Diagnosis(None, stage, title, shown, cure=_lesson(evidence[0]) if evidence else ())


def _lesson(line: Line) -> tuple[str, ...]:
    """A signature for this line, for someone to complete."""
    name = re.sub(r"[^a-z0-9]+", "-", line.text[:60].lower()).strip("-")[:32].strip("-") or "new"
    pattern = re.sub(r"[^A-Za-z0-9 :_.,/-]+", ".+", line.text.strip())[:90].replace(".", r"\.").replace(r"\.+", ".+")
    return (
        "[[signature]]",
        f'id = "{name}"',
        'title = "what went wrong, in a few words"',
        'means = "What that is. How it comes about."',
        f"patterns = ['{pattern}']",
        'advice = "what a person does about it"',
    )
