"""How far a start came, by what the engine wrote: a fold over its lines. The patterns are data (`stage_patterns`)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.diagnosis.literals import Quick, holds_one
from orchestrator.diagnosis.model import Stage
from orchestrator.diagnosis.pieces import LONGEST
from orchestrator.diagnosis.stage_patterns import Mark, Measure, Stages

_BAR = re.compile(
    r": +\d+%(?: Completed )?\|(?:[^|]*\|)? *"
    r"(?P<done>\d+(?:\.\d+)?)(?P<unit>[kMGTP]?)/(?P<total>\d+(?:\.\d+)?)(?P=unit) \["
)
"""As tqdm draws them: ``title:  62% Completed | 10/16 [00:30<00:18, 3.07s/it]``, or with blocks between bars."""
_LONGEST_TITLE = 300  # characters, with the engine's prefix
_PROCESS = re.compile(r"^.*\bpid=\d+\)\S* ")
_STAMP = Quick(r"\b(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\b")
_BEFORE = (0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335)  # days before each month of a leap year
_SHORTEST = 0.5  # seconds of a bar that give a rate: a log is read a few times a second
_DAY, _YEAR = 86400.0, 366 * 86400.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A number that the engine told. ``unit``: "bytes", "s", "tokens", "requests"."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A progress bar: its first state, ``first`` of ``total`` at ``since``, and its last, ``done`` at ``at``."""

    title: str
    done: float
    total: float
    first: float
    since: float
    at: float

    @property
    def fraction(self) -> float:
        return self.done / self.total

    @property
    def rate(self) -> float | None:
        """How much of the whole a second; None before it has moved, and been seen for long enough to tell."""
        seconds, moved = self.at - self.since, self.done - self.first
        return moved / self.total / seconds if seconds >= _SHORTEST and moved > 0 else None


@dataclass(frozen=True, slots=True)
class Progress:
    """Times are seconds of the caller's clock: of the start, of the beginning of the ``step`` (an index into
    `Stages.steps`), and of the last line. ``ahead`` are the stages that may come yet, ``seconds`` is what each took so
    far, the present one from the step before; ``bar`` belongs to this step, ``measured`` goes by name."""

    started: float
    since: float
    at: float
    step: int
    stage: Stage
    ahead: frozenset[Stage]
    seconds: Mapping[Stage, float] = field(default_factory=dict)
    bar: Bar | None = None
    facts: frozenset[str] = frozenset()
    measured: Mapping[str, Measured] = field(default_factory=dict)

    @property
    def fraction(self) -> float | None:
        """Of this step, where a bar tells it."""
        return self.bar.fraction if self.bar else None


def begin(stages: Stages, at: float) -> Progress:
    """Of an engine whose process is made now."""
    return Progress(at, at, at, 0, stages.steps[0], frozenset(stages.steps[1:]))


def advance(stages: Stages, progress: Progress, text: str, at: float) -> Progress:
    """``text``: a line or one state of a bar, with the engine's prefix or without. ``at``: when it was read; a clock
    that goes back stands still. What is written by an engine that serves changes nothing."""
    if progress.stage == "serving":
        return progress
    if at > progress.at:
        progress = replace(progress, at=at)
    return _told(stages, progress, text[:LONGEST]) if _tells(stages, progress, text) else progress


def _tells(stages: Stages, progress: Progress, text: str) -> bool:
    return holds_one(text, stages.texts[progress.step])


def _told(stages: Stages, progress: Progress, text: str) -> Progress:
    if found := _BAR.search(text):
        title = text[max(0, found.start() - _LONGEST_TITLE) : found.start()]
        progress = _drawn(stages, progress, _PROCESS.sub("", title), found)
        text = text[found.end() :]  # a record may follow in the same line
    facts = progress.facts | {name for name, pattern in stages.facts if pattern.search(text)}
    progress = replace(progress, facts=facts, measured=_measured(stages.measures, progress.measured, text))
    begun = (one.step for one in stages.marks if _may_begin(one, progress) and one.pattern.search(text))
    return _reach(stages, progress, max(begun, default=0))


def replay(stages: Stages, texts: Sequence[str]) -> Progress:
    """Of a log that is read afterwards, by the times that the engine wrote into it, in seconds since the year began.
    What came before the first of them took no time that anyone knows."""
    times = list(map(stamp, texts))
    at = next((time for time in times if time is not None), 0.0)
    progress = begin(stages, at)
    for text, now in zip(texts, times, strict=True):
        if now is not None:
            at = max(at, _later(now, at))
        if _tells(stages, progress, text):
            progress = advance(stages, progress, text, at)
            if progress.stage == "serving":
                return progress
    return replace(progress, at=at)


def stamp(text: str) -> float | None:
    """Seconds since the year began, as the engine's own prefix has them; None without one."""
    if (parts := written(text)) is None:
        return None
    month, day, hours, minutes, seconds = parts
    return (_BEFORE[month - 1] + day - 1) * _DAY + hours * 3600 + minutes * 60 + seconds


def written(text: str) -> tuple[int, int, int, int, int] | None:
    """Month, day, hour, minute and second of the engine's own prefix; None without one."""
    if (found := _STAMP.search(text)) is None:
        return None
    month, day, hours, minutes, seconds = map(int, found.groups())
    return (month, day, hours, minutes, seconds) if 1 <= month <= 12 else None


def spent(progress: Progress, now: float) -> dict[Stage, float]:
    """Seconds of each stage so far, the present one included; to serve is none that a start takes time for."""
    total = dict(progress.seconds)
    if progress.stage != "serving":
        total[progress.stage] = total.get(progress.stage, 0.0) + max(0.0, now - progress.since)
    return total


def _later(at: float, before: float) -> float:
    """Where time goes back by half a year, a new one has begun."""
    return at + _YEAR if before - at > _YEAR / 2 else at


def _may_begin(mark: Mark, progress: Progress) -> bool:
    reached = mark.step > progress.step >= mark.after
    return reached and mark.needs <= progress.facts and not mark.lacks & progress.facts


def _reach(stages: Stages, progress: Progress, step: int) -> Progress:
    if step <= progress.step:
        return progress
    return replace(
        progress,
        step=step,
        stage=stages.steps[step],
        ahead=frozenset(stages.steps[step + 1 :]),
        since=progress.at,
        seconds=spent(progress, progress.at),
        bar=None,
    )


def _drawn(stages: Stages, progress: Progress, title: str, found: re.Match[str]) -> Progress:
    """Engines side by side draw into one log: the bar of a step that is over says nothing, and of two under one title
    the one that is further counts."""
    total = float(found["total"])
    fits = (one for one in stages.bars if one.step >= progress.step >= one.after)
    mark = next((one for one in fits if one.pattern.search(title)), None)
    if mark is None or not total:
        return progress
    progress = _reach(stages, progress, mark.step)
    done, old = min(float(found["done"]), total), progress.bar
    if old is None or (old.title, old.total) != (title, total) or done < old.done == total:
        return replace(progress, bar=Bar(title, done, total, done, progress.at, progress.at))
    return replace(progress, bar=replace(old, done=done, at=progress.at)) if done > old.done else progress


def _measured(measures: Iterable[Measure], known: Mapping[str, Measured], text: str) -> Mapping[str, Measured]:
    found = dict(known)
    for one in measures:
        if (match := one.pattern.search(text)) and (value := _number(match["value"])) is not None:
            old = found.get(one.name)
            values = [value * one.scale, *([old.value] if old else [])]
            found[one.name] = Measured(one.name, max(values) if one.keep == "max" else min(values), one.unit)
    return found


def _number(text: str) -> float | None:
    """Lines of several processes may run into each other."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None
