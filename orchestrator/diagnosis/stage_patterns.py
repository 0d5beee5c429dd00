"""What an engine writes as it starts, as data: `data/stages.toml` holds it, and says what its entries mean."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from orchestrator.diagnosis.literals import literals
from orchestrator.diagnosis.model import Stage
from orchestrator.engines.versions import series

Keep = Literal["max", "min"]
BARS = ("%|", "% Completed |")
"""One of these stands in each state of a bar."""
_VERSIONS = frozenset({"from", "until"})
_KEYS: Mapping[str, frozenset[str]] = {
    "fact": frozenset({"name", "pattern"}),
    "mark": frozenset({"step", "pattern", "needs", "lacks", "after"}),
    "bar": frozenset({"step", "title", "after"}),
    "measure": frozenset({"name", "pattern", "unit", "scale", "keep"}),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A line, or the title of a bar, that begins the step with this index, once the step ``after`` was reached and if
    the facts are so."""

    step: int
    pattern: re.Pattern[str]
    needs: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    after: int = 0


@dataclass(frozen=True, slots=True)
class Measure:
    """A number, in the group "value", times ``scale``; of those written, the largest or the smallest counts."""

    name: str
    pattern: re.Pattern[str]
    unit: str
    scale: float
    keep: Keep


@dataclass(frozen=True, slots=True)
class Stages:
    """What a version of the engine writes. ``steps`` are the stages in the order in which it goes through them; one of
    them may come twice. ``texts``: for each step, of which one stands in every line that tells anything while it lasts;
    none where every line may."""

    steps: tuple[Stage, ...]
    facts: tuple[tuple[str, re.Pattern[str]], ...]
    marks: tuple[Mark, ...]
    bars: tuple[Mark, ...]
    measures: tuple[Measure, ...]
    texts: tuple[tuple[str, ...], ...]


def read_stages(document: Mapping[str, Any], version: str = "") -> Stages:
    """What this version writes; all that any does where the version is unknown. ValueError says which entry is
    wrong."""
    stages = tuple(one["stage"] for one in document["steps"])
    if unknown := set(stages) - set(get_args(Stage)):
        raise ValueError(f"steps: there is no stage {min(unknown)!r}")
    steps = {one["id"]: index for index, one in enumerate(document["steps"])}
    facts = tuple((one["name"], re.compile(one["pattern"])) for one in _entries(document, "fact", version))
    marks = tuple(_mark(one, one["pattern"], steps) for one in _entries(document, "mark", version))
    measures = tuple(_measure(one) for one in _entries(document, "measure", version))
    always = [*(pattern for _, pattern in facts), *(one.pattern for one in measures)]
    return Stages(
        steps=stages,
        facts=facts,
        marks=marks,
        bars=tuple(_mark(one, one["title"], steps) for one in _entries(document, "bar", version)),
        measures=measures,
        texts=tuple(
            _texts([*always, *(one.pattern for one in marks if one.step > step)]) for step in range(len(stages))
        ),
    )


def _texts(patterns: Iterable[re.Pattern[str]]) -> tuple[str, ...]:
    found = [literals(one) for one in patterns]
    every = {*BARS, *(text for texts in found for text in texts)} if all(found) else set[str]()
    return tuple(sorted(one for one in every if not any(other in one for other in every - {one})))


def _entries(document: Mapping[str, Any], kind: str, version: str) -> Iterator[Mapping[str, Any]]:
    for number, entry in enumerate(document.get(kind, ()), 1):
        if unknown := entry.keys() - _KEYS[kind] - _VERSIONS:
            raise ValueError(f"{kind} {number}: there is no key {min(unknown)!r}")
        if _written_by(entry, version):
            yield entry


def _written_by(entry: Mapping[str, Any], version: str) -> bool:
    """A version that cannot be read may be any."""
    at = series(version)
    if at < (0, 0):
        return True
    return series(entry.get("from", "0")) <= at and ("until" not in entry or at <= series(entry["until"]))


def _mark(entry: Mapping[str, Any], pattern: str, steps: Mapping[str, int]) -> Mark:
    for name in (entry["step"], entry.get("after", "")):
        if name and name not in steps:
            raise ValueError(f"{pattern}: there is no step {name!r}")
    return Mark(
        step=steps[entry["step"]],
        pattern=re.compile(pattern),
        needs=frozenset(entry.get("needs", ())),
        lacks=frozenset(entry.get("lacks", ())),
        after=steps.get(entry.get("after", ""), 0),
    )


def _measure(entry: Mapping[str, Any]) -> Measure:
    pattern = re.compile(entry["pattern"])
    if "value" not in pattern.groupindex:
        raise ValueError(f"{entry['pattern']}: it has no group called value")
    if entry["keep"] not in get_args(Keep):
        raise ValueError(f"{entry['name']}: what to keep is max or min")
    return Measure(entry["name"], pattern, entry["unit"], entry.get("scale", 1.0), entry["keep"])
