"""What is told of a start while it lasts: how long it may take yet, and all of it in one line."""

from collections.abc import Mapping, Sequence
from statistics import median

from orchestrator.diagnosis.model import Stage
from orchestrator.diagnosis.stages import Bar, Progress, spent
from orchestrator.units import format_duration, format_size

WORDS: Mapping[str, str] = {
    "download": "download (unexpected)",
    "profiling": "memory profiling",
    "capture": "graph capture",
    "warmup": "warm-up",
}
"""Where a stage's own name does not say it."""
WIDTH = 80  # columns
LATE, SLACK = 1.5, 5.0  # what lasts longer than its median so many times, and seconds, is like no earlier one

Seconds = Mapping[str, float]  # by stage


def stage_words(stage: str) -> str:
    return WORDS.get(stage, stage)


def eta(progress: Progress, history: Sequence[Seconds], now: float) -> float | None:
    """Seconds until it serves, by what each stage took in this deployment's earlier starts (the median; 0 where one
    had no such stage) and, while weights are read, by the bar. None where that tells nothing: there was no earlier
    start, or this one is slower than they were."""
    if progress.stage == "serving":
        return 0.0
    here = _here(progress, history, now) if history else None
    if here is None:
        return None
    so_far, ahead = spent(progress, now), progress.ahead - {progress.stage}
    later = sum(max(0.0, _usual(history, stage) - so_far.get(stage, 0.0)) for stage in ahead)
    return here + later or None


def progress_text(progress: Progress, now: float, history: Sequence[Seconds] = (), size: float = 0.0) -> str:
    """``load 62% (3.1 GB/s), 41s, about 20s to go``: at most 80 columns. The first seconds are those of the stage.
    ``size``: bytes of the weights, where the engine does not tell."""
    if progress.stage == "serving":
        return f"serving, ready after {_seconds(progress.since - progress.started)}"
    share, detail = _share(progress, size)
    words = [stage_words(progress.stage) + share, _seconds(now - progress.since)]
    left = eta(progress, history, now)
    if left is not None:
        words.append(f"about {_seconds(max(1.0, left))} to go")
    elif history and (usual := _usual(history, progress.stage)):
        words.append(f"usually {_seconds(max(1.0, usual))}")
    text = ", ".join([words[0] + detail, *words[1:]])
    return text if len(text) <= WIDTH else ", ".join(words)


def _here(progress: Progress, history: Sequence[Seconds], now: float) -> float | None:
    """Seconds left of this stage; None where nobody can tell."""
    if progress.stage == "load" and progress.bar and (left := _of_bar(progress.bar, now)) is not None:
        return left
    so_far, usual = spent(progress, now)[progress.stage], _usual(history, progress.stage)
    return None if so_far > LATE * usual + SLACK else max(0.0, usual - so_far)


def _of_bar(bar: Bar, now: float) -> float | None:
    """None before it has moved, at its end, and where it stands still."""
    if not bar.rate or bar.done == bar.total:
        return None
    left = (1 - bar.fraction) / bar.rate - (now - bar.at)
    return max(0.0, left) if left > -SLACK else None


def _share(progress: Progress, size: float) -> tuple[str, str]:
    """How much of the bar, and how fast or by what count."""
    if (bar := progress.bar) is None:
        return "", ""
    told = progress.measured.get("checkpoint")
    size = (told.value if told else 0.0) or size
    rate = bar.rate if progress.stage == "load" and size else None
    detail = f"{format_size(rate * size)}/s" if rate else f"{bar.done:.6g}/{bar.total:.6g}"
    return f" {int(bar.fraction * 100)}%", f" ({detail})"  # 100 is said at the end alone


def _usual(history: Sequence[Seconds], stage: Stage) -> float:
    return median(one.get(stage, 0.0) for one in history)


def _seconds(seconds: float) -> str:
    """To the second, and from an hour on to the minute."""
    unit = 1 if seconds < 3600 else 60
    return format_duration(round(max(0.0, seconds) / unit) * unit)
