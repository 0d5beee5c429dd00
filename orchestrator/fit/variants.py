"""The same model in several checkpoints, side by side, and which of them to serve. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.fit.advice import fewest
from orchestrator.fit.model import Architecture, Cards, Layout, Use, Weights


@dataclass(frozen=True, slots=True)
class Candidate:
    """``disk`` is what its files take, 0 when not known. ``supported``: whether these cards run its quantization
    themselves; None when that is not known. ``cached``: it is on this disk."""

    name: str
    architecture: Architecture
    weights: Weights
    disk: int = 0
    supported: bool | None = None
    cached: bool | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """``least`` is the candidate on as few cards as it takes; None when no number of them does."""

    candidate: Candidate
    least: Layout | None

    @property
    def cards(self) -> int:
        return self.least.cards if self.least else 0

    @property
    def bits(self) -> float:
        """Of a weight in the layers."""
        scheme = self.candidate.architecture.quantization
        return scheme.bits or 16 if scheme else 16


def compare(candidates: Sequence[Candidate], cards: Cards, use: Use) -> tuple[Row, ...]:
    """Each as ``use`` has it but for the number of cards."""
    return tuple(Row(one, fewest(one.architecture, one.weights, cards, use)) for one in candidates)


def recommended(rows: Sequence[Row], cards: Cards) -> tuple[Row | None, str]:
    """The one to serve, and why. Fewest cards first, then the one closest to the original weights: what several cards
    win in precision, one card wins back in requests served."""
    able = [row for row in rows if row.cards and row.candidate.supported is not False and _there(row, cards)]
    if not able:
        return None, "none of them fits" + (f" {_many(cards.count)}" if cards.count else "")
    best = min(able, key=lambda row: (row.cards, -row.bits, not row.candidate.cached, row.candidate.name))
    return best, _why(best, [row for row in rows if row is not best], cards)


def _there(row: Row, cards: Cards) -> bool:
    return not cards.count or row.cards <= cards.count


def _why(best: Row, others: Sequence[Row], cards: Cards) -> str:
    why = f"it takes {_many(best.cards)}"
    more = {row.candidate.name: row.cards for row in others if row.cards > best.cards}
    same = [row for row in others if row.cards == best.cards and row.bits < best.bits]
    if more:
        why += ", where " + ", ".join(f"{name} takes {count}" for name, count in more.items())
    if same:
        why += f", and keeps more of each weight than {_listed([row.candidate.name for row in same])}"
    refused = [row.candidate.name for row in others if row.candidate.supported is False]
    if refused:
        why += f"; {cards.name or 'these cards'} cannot run {_listed(refused)}"
    return why


def _many(count: int) -> str:
    return "1 card" if count == 1 else f"{count} cards"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
