"""All that `orch inspect` answers of a model, from what was found of its files and of its other forms. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.engines.knowledge import Engine
from orchestrator.fit.advice import fewest, fit
from orchestrator.fit.changes import Variant
from orchestrator.fit.description import Description
from orchestrator.fit.division import refusals
from orchestrator.fit.inputs import Counts, Input
from orchestrator.fit.known import model_of
from orchestrator.fit.layout import layout
from orchestrator.fit.model import Architecture, Cards, Fit, Layout, Seen, Use, Weights
from orchestrator.fit.relatives import Relative
from orchestrator.fit.support import UNKNOWN, Support, support
from orchestrator.fit.variants import Candidate, Row, compare

WIDEST, DEEPEST = 8, 4
"""Tensor and pipeline parallel sizes that are shown where nobody says how many cards there are."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Tokens of a person's own inputs; ``expected`` tokens are kept free for the answer."""

    inputs: tuple[Input, ...]
    counts: Counts
    expected: int = 0


@dataclass(frozen=True, slots=True)
class Unread:
    """A form of which no more than this is known."""

    name: str
    why: str
    disk: int = 0


@dataclass(frozen=True, slots=True)
class Inspection:
    """``what`` as it was asked for. ``cards`` and ``answer`` are None where nobody tells of any cards. ``rows`` are the
    model's forms side by side, empty when it was not asked for; ``unread`` those that could not be looked at.
    ``uncounted`` are flags that the arithmetic knows nothing of; ``runs`` is whether the cards compute in its form."""

    what: str
    found: Description
    architecture: Architecture
    weights: Weights
    use: Use
    cards: Cards | None = None
    answer: Fit | None = None
    rows: tuple[Row, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    unread: tuple[Unread, ...] = ()
    trouble: str = ""
    uncounted: tuple[str, ...] = ()
    counted: Counted | None = None
    runs: Support = UNKNOWN

    @property
    def readable(self) -> bool:
        """Whether anything of the model itself is known."""
        return self.architecture.layers > 0 or self.weights.bytes > 0


def inspection(
    what: str,
    found: Description,
    use: Use,
    cards: Cards | None,
    forms: Sequence[tuple[Relative, Description | None]] = (),
    engine: Engine | None = None,
    *,
    free: bool = False,
    trouble: str = "",
    uncounted: Sequence[str] = (),
    learnt: Callable[[Use], Seen | None] = lambda use: None,
) -> Inspection:
    """``free``: nobody says on how many cards, so it is as few as it takes. ``engine`` is what would serve it, if that
    is known; ``trouble`` why its forms could not be found, ``learnt`` what engines reported of such a use."""
    shape, weights = model_of(found)
    readable = [(one, told) for one, told in forms if told is not None and told_of(told)]
    candidates = tuple(candidate(one, told, cards, engine) for one, told in readable)
    unread = tuple(Unread(one.repo, one.why, one.disk or 0) for one, told in forms if told is None or not told_of(told))
    made = Inspection(what, found, shape, weights, use, unread=unread, candidates=candidates, trouble=trouble)
    made = replace(made, uncounted=tuple(uncounted))
    if cards is None or not made.readable:
        return replace(made, cards=cards)
    if free:
        use = chosen(shape, weights, cards, use)
    others = [Variant(one.name, one.architecture, one.weights, one.supported is not False) for one in candidates]
    others = [one for one in others if one.name != what]
    return replace(
        made,
        use=use,
        cards=cards,
        runs=support(shape, cards, engine),
        answer=fit(shape, weights, cards, use, others, learnt(use)),
        rows=compare(candidates, cards, use) if len(candidates) + len(unread) > 1 else (),
    )


def candidate(one: Relative, told: Description, cards: Cards | None, engine: Engine | None) -> Candidate:
    shape, weights = model_of(told)
    runs = support(shape, cards, engine) if cards else None
    return Candidate(
        one.repo,
        shape,
        weights,
        one.disk or 0,
        runs.runs if runs else None,
        _cached(one, told),
        runs.native if runs else None,
        runs.why if runs else "",
    )


def _cached(one: Relative, told: Description) -> bool | None:
    if one.cached is not None:
        return one.cached >= 1
    return False if told.here and not told.files else None


def told_of(found: Description) -> bool:
    """Whether anything of the model was found, and not only a list of files."""
    return bool(found.config or found.headers)


def chosen(shape: Architecture, weights: Weights, cards: Cards, use: Use) -> Use:
    """On as few cards as it takes; where there are too few of them, on as many as the engine takes."""
    least = fewest(shape, weights, cards, use)
    if least and (not cards.count or least.cards <= cards.count):
        return replace(use, tensor=least.tensor, pipeline=least.pipeline)
    wider = (replace(use, tensor=count, pipeline=1) for count in range(cards.count or 1, 0, -1))
    return next((one for one in wider if not any(refusals(shape, one))), use)


def divisions(shape: Architecture, weights: Weights, use: Use, cards: Cards | None) -> Iterator[Layout]:
    """What the fullest card holds at each tensor and pipeline parallel size worth a look."""
    most = max(WIDEST, cards.count if cards else 0)
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= most]
    for tensor in sizes:
        for pipeline in [size for size in sizes if size <= DEEPEST and size * tensor <= most]:
            yield layout(shape, weights, cards or Cards(0), replace(use, tensor=tensor, pipeline=pipeline))
