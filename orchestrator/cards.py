"""What the cards of a host have: for our own engines, for others, and free. Pure.

An engine that runs holds its share (``gpu_memory_utilization``) of what the driver leaves of a card, whatever it uses
at this moment: it may be loading. Of everybody else counts what the driver shows. What it shows of no process that can
be seen here (in a container it names none, or pids that mean nothing inside) is our own as far as ours may have it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from orchestrator.columns import columns
from orchestrator.engines import vllm
from orchestrator.holders import holder_words
from orchestrator.model import Gpu, GpuProcess, Instance, Inventory
from orchestrator.plan import GpuRow, Holding
from orchestrator.units import format_memory

BUSY = 256 << 20
"""Bytes: a card on which others hold more than a desktop does is one they use."""
CONTEXT = 512 << 20
"""Bytes that an engine takes before it measures what is free: two that share a card to the last byte do not start."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card as the starts of a plan find it. ``room`` in bytes is what none of its ``holdings`` has; ``foreign`` what
    others than this project hold."""

    gpu: Gpu
    room: int
    foreign: int = 0
    holdings: tuple[Holding, ...] = ()

    def need(self, share: float) -> int:
        """Bytes; 0 of a card whose memory the driver does not tell, for there nothing can be reckoned."""
        return part(share, self.gpu)

    def taken(self, name: str, share: float) -> "Card":
        holding = Holding(name, self.need(share), name, planned=True)
        return replace(self, room=self.room - self.need(share), holdings=(*self.holdings, holding))

    @property
    def closed(self) -> str:
        """Why nothing at all can be placed on it, or nothing."""
        if self.gpu.trouble:
            return self.gpu.trouble
        if self.gpu.mig:
            return "is divided into MIG devices, which are named one by one under gpus"
        return "is in the compute mode that prohibits its use" if self.gpu.mode == "prohibited" else ""

    def refusal(self, share: float, *, tight: bool = False) -> str:
        """Why this card cannot serve, or nothing. ``tight``: it did so before, with just as little to spare."""
        name, need = f"GPU {self.gpu.index}", self.need(share)
        if self.closed:
            return f"{name} {self.closed}"
        if self.gpu.mode == "exclusive" and any(one.memory is None or one.memory > BUSY for one in self.holdings):
            return f"{name} is in exclusive mode, for one process at a time ({self.held})"
        if need and self.room < need + (CONTEXT if self.holdings and not tight else 0):
            left = f"{name} has {format_memory(max(0, self.room))}"
            return f"{left} ({self.held})" if self.holdings else left
        return ""

    @property
    def held(self) -> str:
        return " and ".join(_held(one) for one in self.holdings)


def _held(one: Holding) -> str:
    how = "to go to" if one.planned else "held by"
    return f"{how} {one.who}" if one.memory is None else f"{format_memory(one.memory)} {how} {one.who}"


def part(share: float, gpu: Gpu) -> int:
    """Bytes of a card's usable memory."""
    return int(share * max(0, gpu.usable))


def cards(
    inventory: Inventory, staying: Iterable[Instance], leaving: Iterable[Instance] = (), others: Iterable[Instance] = ()
) -> list[Card]:
    """The cards once ``leaving`` is gone, with ``staying`` on them. ``others`` are engines of other projects."""
    stay, other = tuple(staying), tuple(others)
    left = without(inventory, tuple(leaving), (*stay, *other))
    return [_card(gpu, stay, other) for gpu in left.gpus]


def _card(gpu: Gpu, staying: Sequence[Instance], others: Sequence[Instance]) -> Card:
    known = [one for one in (*staying, *others) if sits_on(one, gpu)]
    hidden = _hidden(gpu, known)
    holdings, ours = [], 0
    for one in known:
        may = part(vllm.memory_share(one.spec), gpu) if one.spec else 0
        has = _shown(one, gpu)
        if has is None:
            has = min(hidden, may)
            hidden -= has
        held = max(has, may) if one.leader else has  # what is left over never takes more than it has
        mine = any(one is other for other in staying)
        holdings.append(Holding(_who(one, mine=mine), held, one.name if mine and one.leader else ""))
        ours += held
    strangers = [one for one in gpu.processes if _is_seen(one) and one.pid not in _pids(known)]
    foreign = hidden + sum(one.memory or 0 for one in strangers)
    holdings += [Holding(holder_words(one), one.memory) for one in strangers]
    if hidden > BUSY and all(one.memory is not None for one in strangers):
        holdings.append(Holding("a process that cannot be seen", hidden))
    return Card(gpu, gpu.usable - foreign - ours, foreign, tuple(holdings))


def without(inventory: Inventory, gone: Sequence[Instance], known: Sequence[Instance] = ()) -> Inventory:
    """As it will be once ``gone`` has ended. ``known`` are other engines, whose processes are theirs."""
    return replace(inventory, gpus=tuple(_freed(gpu, gone, known) for gpu in inventory.gpus)) if gone else inventory


def _freed(gpu: Gpu, gone: Sequence[Instance], known: Sequence[Instance]) -> Gpu:
    ending = [one for one in gone if sits_on(one, gpu)]
    hidden, released = _hidden(gpu, [*ending, *known]), 0
    for one in ending:
        has = _shown(one, gpu)
        if has is None:
            has = min(hidden, part(vllm.memory_share(one.spec), gpu) if one.spec else 0)
            hidden -= has
        released += has
    left = tuple(one for one in gpu.processes if one.pid not in _pids(ending))
    return replace(gpu, used=max(0, gpu.used - released), processes=left)


def _hidden(gpu: Gpu, known: Iterable[Instance]) -> int:
    """Bytes in use that are of no process that can be seen here."""
    pids = _pids(known)
    return max(0, gpu.used - sum(one.memory or 0 for one in gpu.processes if one.pid in pids or _is_seen(one)))


def _is_seen(process: GpuProcess) -> bool:
    return bool(process.user or process.command or process.marker)


def _pids(instances: Iterable[Instance]) -> set[int]:
    return {process.pid for one in instances for process in one.processes}


def _shown(instance: Instance, gpu: Gpu) -> int | None:
    """Bytes that the driver shows of it; None where it shows no process of it, or no memory."""
    told = [one.memory for one in gpu.processes if one.pid in _pids([instance])]
    return sum(one for one in told if one is not None) if any(one is not None for one in told) else None


def _who(instance: Instance, *, mine: bool) -> str:
    name = instance.name if mine else f"{instance.name} of {instance.marker.project}"
    return name if instance.leader else f"what is left of {name}"


def sits_on(instance: Instance, gpu: Gpu) -> bool:
    """By what it was told to use, or, of one that was told nothing, by where it is seen."""
    if instance.gpus:
        return any(means(given, gpu) for given in instance.gpus)
    return bool(_pids([instance]) & {one.pid for one in gpu.processes})


def means(given: str, gpu: Gpu) -> bool:
    """Whether an index, a UUID or the beginning of one names this card. CUDA takes all three."""
    return given == str(gpu.index) or (given.startswith("GPU-") and given != "GPU-" and gpu.uuid.startswith(given))


def lost(instance: Instance, inventory: Inventory) -> str:
    """Which of its cards are not usable any more, in a person's words; empty when all are."""
    parts = {part for gpu in inventory.gpus for part in gpu.parts}
    usable = [gpu for gpu in inventory.gpus if not gpu.trouble]
    gone = [one for one in instance.gpus if one not in parts and not any(means(one, gpu) for gpu in usable)]
    return f"the driver shows no {', '.join(gone)} any more, on which it runs; see `orch gpus`" if gone else ""


# ---------------------------------------------------------------------------------------------------------- the table


def rows(before: Sequence[Card], after: Sequence[Card]) -> tuple[GpuRow, ...]:
    return tuple(
        GpuRow(old.gpu.index, old.gpu.name, old.gpu.usable, _shown_on(old), _shown_on(new))
        for old, new in zip(before, after, strict=True)
    )


def _shown_on(card: Card) -> tuple[Holding, ...]:
    return (Holding(card.closed, None), *card.holdings) if card.closed else card.holdings


def gpu_lines(rows: Sequence[GpuRow]) -> list[str]:
    """Each card before and after, a line each, more where several share it."""
    table = [("GPU", "NAME", "MEMORY", "NOW", "THEN")]
    for row in rows:
        now, then = _holdings(row.before), _holdings(row.after)
        count = max(len(now), len(then))
        size = format_memory(row.usable) if row.usable else "-"
        shown = [(str(row.index), row.name or "-", size), *([("", "", "")] * (count - 1))]
        table += [(*left, *pair) for left, pair in zip(shown, zip_longest(now, then, fillvalue=""), strict=True)]
    return columns(table)


def _holdings(held: Sequence[Holding]) -> list[str]:
    words = [f"{one.who} {format_memory(one.memory)}" if one.memory is not None else one.who for one in held]
    return words or ["free"]
