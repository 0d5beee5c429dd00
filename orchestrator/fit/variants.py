"""The same model in several checkpoints, side by side, and which of them to serve. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.fit.advice import fewest
from orchestrator.fit.layout import BARELY
from orchestrator.fit.model import Architecture, Cards, Layout, Use, Weights
from orchestrator.fit.phrases import cards_word, listed


@dataclass(frozen=True, slots=True)
class Candidate:
    """``disk`` is what its files take, 0 when not known. ``supported``: whether these cards run its quantization,
    and ``native``: whether in the form that it has; None when that is not known. ``note`` says why not. ``cached``: it
    is on this disk."""

    name: str
    architecture: Architecture
    weights: Weights
    disk: int = 0
    supported: bool | None = None
    cached: bool | None = None
    native: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """``least`` is the candidate on as few cards as it takes; None when no number of them does."""

    candidate: Candidate
    least: Layout | None

    @property
    def cards(self) -> int:
        return self.least.cards if self.least else 0

    @property
    def at_once(self) -> float:
        """Requests of max_model_len."""
        return self.least.concurrency.value if self.least and self.least.concurrency else 0.0

    @property
    def tight(self) -> bool:
        return self.at_once < BARELY

    @property
    def bits(self) -> float:
        """Of a weight in the layers."""
        scheme = self.candidate.architecture.quantization
        return scheme.bits or 16 if scheme else 16


def compare(candidates: Sequence[Candidate], cards: Cards, use: Use) -> tuple[Row, ...]:
    """Each as ``use`` has it but for the number of cards."""
    return tuple(Row(one, fewest(one.architecture, one.weights, cards, use)) for one in candidates)


def recommended(rows: Sequence[Row], cards: Cards) -> tuple[Row | None, str]:
    """The one to serve, and why: the fewest cards, on them room for two requests, and then the most of each weight."""
    able = [row for row in rows if row.least and row.candidate.supported is not False and _there(row, cards)]
    if not able:
        return None, "none of them fits" + (f" {cards_word(cards.count)}" if cards.count else "")
    best = min(able, key=lambda row: (row.cards, row.tight, -row.bits, not row.candidate.cached, row.candidate.name))
    return best, _why(best, [row for row in rows if row is not best], cards)


def _there(row: Row, cards: Cards) -> bool:
    return not cards.count or row.cards <= cards.count


def _why(best: Row, others: Sequence[Row], cards: Cards) -> str:
    reasons = [
        f"it takes {cards_word(best.cards)}" + _where(others, lambda row: row.cards > best.cards, "takes {cards}")
    ]
    if not best.tight and any(row.cards == best.cards and row.tight for row in others):
        fewer = _where(others, lambda row: row.cards == best.cards and row.tight, "serves {at_once:.1f}")
        reasons.append(f"serves {best.at_once:.1f} requests at once{fewer}")
    coarser = [
        row.candidate.name
        for row in others
        if (row.cards, row.tight) == (best.cards, best.tight) and row.bits < best.bits
    ]
    if coarser:
        reasons.append(f"keeps more of each weight than {listed(coarser)}")
    refused = [row.candidate.name for row in others if row.candidate.supported is False]
    tail = f"; {cards.name or 'such a card'} cannot run {listed(refused)}" if refused else ""
    return "; ".join(reasons) + tail


def _where(others: Sequence[Row], wanted: Callable[[Row], bool], what: str) -> str:
    chosen = [row for row in others if row.candidate.supported is not False and wanted(row)]
    each = [f"{row.candidate.name} {what.format(cards=row.cards, at_once=row.at_once)}" for row in chosen]
    return f", where {listed(each)}" if each else ""
