"""Which GPUs a start gets: by memory, by nearness, away from what others use, and where it was before if it can. Pure.

What a start needs of a card is what the engine will ask of it: its share (``gpu_memory_utilization``) of the memory
that the driver leaves. One that runs holds that much for good, whatever it uses at this moment: it may be loading.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, zip_longest
from math import ceil

from orchestrator.columns import columns
from orchestrator.engines import vllm
from orchestrator.errors import PlanError
from orchestrator.holders import holder_words
from orchestrator.model import Deployment, Gpu, GpuLink, GpuProcess, Instance, Inventory, Observed, Placement
from orchestrator.plan import GpuRow, Holding
from orchestrator.units import format_memory

BUSY = 256 << 20
"""Bytes: a card on which others hold more than a desktop does is one they use."""
WIDEST = 16
"""Cards looked at for one start; beyond that the sets are too many to compare."""
TRIES = 2_000
"""Sets tried before the first fit for each is taken as the answer."""
CURE = "start fewer, stop one in the same plan (`--replace NAME`), or lower serve.gpu_memory_utilization"
_FARTHEST = 5
_STEPS = {"nvlink": 0, "switch": 1, "bridge": 2, "node": 3, "system": 4}


@dataclass(frozen=True, slots=True)
class Ask:
    """One start: ``count`` cards, ``share`` of the memory of each. ``pinned``: just these, by index or UUID;
    ``before``: where it was, likewise. ``ranks`` is how many its parallel sizes need."""

    wanted: Deployment
    count: int
    share: float
    ranks: int
    pinned: tuple[str, ...] | None = None
    before: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.wanted.name


@dataclass(frozen=True, slots=True)
class Card:
    """A card as the starts of a plan find it. ``room`` in bytes is what none of its ``holdings`` has; ``foreign`` what
    others than this project hold."""

    gpu: Gpu
    room: int
    foreign: int = 0
    holdings: tuple[Holding, ...] = ()

    def need(self, share: float) -> int:
        return ceil(share * self.gpu.usable)

    def taken(self, name: str, share: float) -> "Card":
        need = self.need(share)
        return replace(self, room=self.room - need, holdings=(*self.holdings, Holding(name, need, planned=True)))

    @property
    def closed(self) -> str:
        """Why nothing at all can be placed on it, or nothing."""
        if self.gpu.trouble:
            return self.gpu.trouble
        if self.gpu.mig:
            return "is divided into MIG devices, which are named one by one under gpus"
        return "is in the compute mode that prohibits its use" if self.gpu.mode == "prohibited" else ""

    def refusal(self, share: float) -> str:
        """Why this card cannot serve, or nothing."""
        gpu = self.gpu
        if self.closed:
            return f"GPU {gpu.index} {self.closed}"
        if gpu.mode == "exclusive" and self.holdings:
            return f"GPU {gpu.index} is in exclusive mode and {self.held}"
        if self.room < self.need(share):
            left = f"GPU {gpu.index} has {format_memory(max(0, self.room))}"
            return f"{left} ({self.held})" if self.holdings else left
        return ""

    @property
    def held(self) -> str:
        return " and ".join(_held(one) for one in self.holdings)


def _held(one: Holding) -> str:
    how = "to go to" if one.planned else "held by"
    return f"{how} {one.who}" if one.memory is None else f"{format_memory(one.memory)} {how} {one.who}"


@dataclass(frozen=True, slots=True)
class Placed:
    """By deployment name; ``cards`` as they are once all of it runs."""

    placements: Mapping[str, Placement] = field(default_factory=dict)
    errors: tuple[PlanError, ...] = ()
    cards: tuple[Card, ...] = ()


# ------------------------------------------------------------------------------------------------------ what is asked


def asks(
    starting: Iterable[Deployment], observed: Observed, *, insist: bool = False
) -> tuple[list[Ask], list[PlanError]]:
    """What orch has to find cards for, and what cannot have any here. What is in neither is left to its engine: it
    computes on something that NVML does not know."""
    found: list[Ask] = []
    errors: list[PlanError] = []
    for wanted in starting:
        state = observed.runtimes.get(wanted.name)
        kind = vllm.device(wanted.spec.runtime, state.info if state else None)
        one = ask(wanted, _before(wanted.name, observed))
        inventory = observed.inventory
        if kind == "cpu" and wanted.spec.gpus == "auto":
            found.append(replace(one, count=0))
        elif kind == "cpu" and one.count:
            errors.append(
                _refused(one, "its runtime computes on the processor", "write gpus: 0, or change the runtime")
            )
        elif kind == "other" or (inventory is None and (kind != "cuda" or insist)):
            continue
        elif one.count and (inventory is None or inventory.why):
            why = inventory.why if inventory else "there is no NVIDIA driver on this host"
            do = inventory.do if inventory else "see `orch doctor`"
            errors.append(_refused(one, f"it needs {_gpus(one.count)}, and {why}", do))
        else:
            found.append(one)
    return found, errors


def ask(wanted: Deployment, before: Iterable[str] = ()) -> Ask:
    spec = wanted.spec
    ranks = vllm.ranks(spec)
    pinned = spec.gpus if isinstance(spec.gpus, tuple) else None
    count = len(spec.gpus) if isinstance(spec.gpus, tuple) else ranks if spec.gpus == "auto" else spec.gpus
    return Ask(wanted, count, vllm.memory_share(spec), ranks, pinned, tuple(before))


def _before(name: str, observed: Observed) -> tuple[str, ...]:
    """Where it is, or was when it last started."""
    here = next((one.gpus for one in reversed(observed.instances) if one.name == name and one.gpus), ())
    record = observed.records.get(name)
    return here or (record.attempt.gpus if record and record.attempt else ())


# ----------------------------------------------------------------------------------------------- what the cards have


def cards(inventory: Inventory, staying: Iterable[Instance], leaving: Iterable[Instance]) -> list[Card]:
    """The cards once ``leaving`` is gone, with ``staying`` on them."""
    stay, leave = tuple(staying), tuple(leaving)
    return [_card(gpu, stay, leave) for gpu in inventory.gpus]


def without(inventory: Inventory, gone: Sequence[Instance]) -> Inventory:
    """As it will be once these have ended."""
    pids = {process.pid for one in gone for process in one.processes}
    return replace(inventory, gpus=tuple(_freed(gpu, gone, pids) for gpu in inventory.gpus))


def _freed(gpu: Gpu, gone: Sequence[Instance], pids: Collection[int]) -> Gpu:
    released = sum(one.memory or 0 for one in gpu.processes if one.pid in pids)
    hidden = max(0, gpu.used - sum(one.memory or 0 for one in gpu.processes))
    released += min(hidden, sum(_reserved(one, gpu) for one in gone if sits_on(one, gpu) and not _is_shown(one, gpu)))
    left = tuple(one for one in gpu.processes if one.pid not in pids)
    return replace(gpu, used=max(0, gpu.used - released), processes=left)


def _card(gpu: Gpu, staying: Sequence[Instance], leaving: Sequence[Instance]) -> Card:
    gpu = _freed(gpu, leaving, {process.pid for one in leaving for process in one.processes})
    kept = [one for one in staying if sits_on(one, gpu)]
    ours = {process.pid for one in kept for process in one.processes}
    strangers = [one for one in gpu.processes if one.pid not in ours]
    told = sum(one.memory or 0 for one in gpu.processes)
    hidden = max(0, gpu.used - told)
    # What the driver shows of no process is somebody's: of our own that it does not show, as far as they may have it.
    hidden -= min(hidden, sum(_reserved(one, gpu) for one in kept if not _is_shown(one, gpu)))
    foreign = hidden + sum(one.memory or 0 for one in strangers)
    holdings = [Holding(_who(one), _reserved(one, gpu)) for one in kept]
    holdings += [Holding(holder_words(one), one.memory) for one in strangers]
    if hidden > BUSY and all(one.memory is not None for one in strangers):
        holdings.append(Holding("a process that cannot be seen", hidden))
    room = gpu.usable - foreign - sum(_reserved(one, gpu) for one in kept)
    return Card(gpu, room, foreign, tuple(holdings))


def _who(instance: Instance) -> str:
    return instance.name if instance.leader else f"what is left of {instance.name}"


def sits_on(instance: Instance, gpu: Gpu) -> bool:
    """By what it was told to use, or, of one that was told nothing, by where it is seen."""
    if instance.gpus:
        return any(means(given, gpu) for given in instance.gpus)
    return bool(_shown(instance, gpu))


def means(given: str, gpu: Gpu) -> bool:
    """Whether an index, a UUID or the beginning of one names this card. CUDA takes all three."""
    return given == str(gpu.index) or (given.startswith("GPU-") and given != "GPU-" and gpu.uuid.startswith(given))


def _shown(instance: Instance, gpu: Gpu) -> list[GpuProcess]:
    pids = {one.pid for one in instance.processes}
    return [one for one in gpu.processes if one.pid in pids]


def _is_shown(instance: Instance, gpu: Gpu) -> bool:
    return any(one.memory is not None for one in _shown(instance, gpu))


def _reserved(instance: Instance, gpu: Gpu) -> int:
    """What a left-over has, for it never takes more; what a living engine may take."""
    if instance.leader is None or instance.spec is None:
        return sum(one.memory or 0 for one in _shown(instance, gpu))
    return ceil(vllm.memory_share(instance.spec) * gpu.usable)


# ------------------------------------------------------------------------------------------------------ what they get


def place(asks: Sequence[Ask], found: Sequence[Card], links: Sequence[GpuLink], *, insist: bool = False) -> Placed:
    """``insist``: what fits nowhere goes back to where it was, for it ran there a moment ago."""
    placing = _Placing(list(found), {(link.a, link.b): _STEPS[link.distance] for link in links})
    for one in asks:
        if one.count and one.ranks > one.count:
            why = f"its parallel sizes need {one.ranks} GPUs and gpus gives it {one.count}"
            placing.refuse(one, why, "change gpus, or the parallel sizes under serve")
        elif one.pinned is not None:
            placing.pin(one, one.pinned)
        elif one.count == 0:
            placing.placements[one.name] = Placement()
    refused = {error.what for error in placing.errors}
    free = [one for one in asks if one.pinned is None and one.count and _what(one) not in refused]
    placing.fit(free, insist=insist)
    if placing.errors and found:
        placing.errors[-1].tail = tuple(gpu_lines(rows(found, placing.cards)))
    return Placed(placing.placements, tuple(placing.errors), tuple(placing.cards))


@dataclass(slots=True)
class _Placing:
    """``cards`` by place, with what was placed on them so far. A set of cards is a tuple of places, ascending."""

    cards: list[Card]
    near: Mapping[tuple[int, int], int]  # by two indexes, the lower first: steps between them
    placements: dict[str, Placement] = field(default_factory=dict)
    errors: list[PlanError] = field(default_factory=list)
    tries: int = 0

    def refuse(self, one: Ask, why: str, do: str) -> None:
        self.errors.append(_refused(one, why, do))

    def pin(self, one: Ask, given: tuple[str, ...]) -> None:
        parts = {part for card in self.cards for part in card.gpu.parts}
        chosen: list[int] = []
        for name in given:
            places = [place for place, card in enumerate(self.cards) if means(name, card.gpu)]
            if name in parts and len(given) == 1:  # a slice of a card: its memory is its own
                self.placements[one.name] = Placement(given)
                return
            if len(places) != 1:
                self.refuse(one, f"there is no GPU {name} here" + self._there_are(), "correct gpus; see `orch gpus`")
                return
            if places[0] in chosen:
                self.refuse(one, f"GPU {self.cards[places[0]].gpu.index} is named twice", "name each once")
                return
            chosen.append(places[0])
        bad = [why for place in chosen if (why := self.cards[place].refusal(one.share))]
        if bad:
            self.refuse(one, f"{self._needs(one)}: {', '.join(bad)}", CURE)
            return
        self._put(one, chosen)

    def fit(self, asks: Sequence[Ask], *, insist: bool) -> None:
        """The large ones first: a small one finds room beside them, and not the other way round."""
        ordered = sorted(asks, key=lambda one: (-one.count, -one.share, one.name))
        if (answer := self._search(ordered, self.cards)) is not None:
            for one, places in zip(ordered, answer, strict=True):
                self._put(one, places)
            return
        for one in ordered:
            places = next(self._sets(one, self.cards), ())
            if not places and insist:
                known = [(place, card.gpu) for place, card in enumerate(self.cards)]
                places = tuple(place for place, gpu in known if any(means(given, gpu) for given in one.before))
            if places:
                self._put(one, places)
            else:
                self._does_not_fit(one)

    def _search(self, asks: Sequence[Ask], cards: list[Card]) -> tuple[tuple[int, ...], ...] | None:
        """A set for each, the best first; None when there is none for all, or it was not found in time."""
        if not asks:
            return ()
        for places in self._sets(asks[0], cards):
            self.tries += 1
            if self.tries > TRIES:
                return None
            if (others := self._search(asks[1:], _with(cards, places, asks[0]))) is not None:
                return (places, *others)
        return None

    def _sets(self, one: Ask, cards: Sequence[Card]) -> Iterator[tuple[int, ...]]:
        able = [place for place, card in enumerate(cards) if not card.refusal(one.share)]
        able.sort(key=lambda place: (cards[place].foreign > BUSY, place))
        sets = combinations(sorted(able[:WIDEST]), one.count)
        yield from sorted(sets, key=lambda places: self._cost(one, places, cards))

    def _cost(self, one: Ask, places: tuple[int, ...], cards: Sequence[Card]) -> tuple[object, ...]:
        chosen = [cards[place] for place in places]
        steps = [self.near.get((a.gpu.index, b.gpu.index), _FARTHEST) for a, b in combinations(chosen, 2)]
        stays = bool(one.before) and all(any(means(given, card.gpu) for given in one.before) for card in chosen)
        return (
            not stays,
            sum(card.foreign > BUSY for card in chosen),
            len({(card.gpu.name, card.gpu.total) for card in chosen}),
            max(steps, default=0),
            sum(steps),
            sum(card.room - card.need(one.share) for card in chosen),
            places,
        )

    def _put(self, one: Ask, places: Sequence[int]) -> None:
        """In the order given: the first is the engine's rank 0."""
        chosen = [self.cards[place].gpu for place in places]
        need = max(self.cards[place].need(one.share) for place in places) if places else 0
        self.placements[one.name] = Placement(
            tuple(gpu.uuid or str(gpu.index) for gpu in chosen), tuple(gpu.index for gpu in chosen), need
        )
        self.cards = _with(self.cards, places, one)

    def _does_not_fit(self, one: Ask) -> None:
        if one.count > len(self.cards):
            why = f"{self._needs(one)}" + (self._there_are() or ", and this host has none")
        else:
            bad = [why for card in self.cards if (why := card.refusal(one.share))]
            why = f"{self._needs(one)}: {', '.join(bad)}"
        self.refuse(one, why, CURE)

    def _needs(self, one: Ask) -> str:
        sizes = sorted({card.need(one.share) for card in self.cards if not card.gpu.trouble})
        memory = format_memory(sizes[0]) if sizes else f"{one.share:.0%} of the memory"
        return f"it needs {_gpus(one.count)} with {memory} free"

    def _there_are(self) -> str:
        if not self.cards:
            return ""
        indexes = [card.gpu.index for card in self.cards]
        return f", and this host has {len(indexes)} (GPU {indexes[0]}" + (f" to {indexes[-1]})" if indexes[1:] else ")")


def _with(cards: Sequence[Card], places: Sequence[int], one: Ask) -> list[Card]:
    return [card.taken(one.name, one.share) if place in places else card for place, card in enumerate(cards)]


def _refused(one: Ask, why: str, do: str) -> PlanError:
    return PlanError(_what(one), why, do, one.wanted.source.at("gpus"))


def _gpus(count: int) -> str:
    return f"{count} {'GPU' if count == 1 else 'GPUs'}"


def _what(one: Ask) -> str:
    return f"place {one.name}"


# ------------------------------------------------------------------------------------------------------ before, after


def _shown_on(card: Card) -> tuple[Holding, ...]:
    return (Holding(card.closed, None), *card.holdings) if card.closed else card.holdings


def across(wanted: Deployment, placement: Placement, inventory: Inventory) -> Iterator[str]:
    """The known hang of engines that talk over PCIe (vllm 9920, 14449), told before the first start."""
    pairs = set(combinations(sorted(placement.indexes), 2))
    bridged = {(link.a, link.b) for link in inventory.links if link.distance == "nvlink"}
    if vllm.ranks(wanted.spec) < 2 or not pairs - bridged or "NCCL_P2P_DISABLE" in wanted.spec.env:
        return
    where = "GPUs " + " and ".join(str(index) for index in sorted(placement.indexes))
    why = "where engines are known to hang at their first start if an IOMMU or ACS is in between"
    if inventory.peers_blocked:
        why = f"and {inventory.peers_blocked}: engines are known to hang so at their first start"
    cure = 'set NCCL_P2P_DISABLE: "1" under env in the environment, or have the IOMMU set to passthrough'
    yield f"{wanted.name}: {where} talk over PCIe, {why}; should it hang, {cure}"


def gpu_lines(rows: Sequence[GpuRow]) -> list[str]:
    """Each card before and after, a line each, more where several share it."""
    table = [("GPU", "NAME", "MEMORY", "NOW", "THEN")]
    for row in rows:
        now, then = _holdings(row.before), _holdings(row.after)
        count = max(len(now), len(then))
        shown = [(str(row.index), row.name or "-", format_memory(row.usable)), *([("", "", "")] * (count - 1))]
        table += [(*left, *pair) for left, pair in zip(shown, zip_longest(now, then, fillvalue=""), strict=True)]
    return columns(table)


def _holdings(held: Sequence[Holding]) -> list[str]:
    words = [f"{one.who} {format_memory(one.memory)}" if one.memory is not None else one.who for one in held]
    return words or ["free"]


def rows(before: Sequence[Card], after: Sequence[Card]) -> tuple[GpuRow, ...]:
    return tuple(
        GpuRow(old.gpu.index, old.gpu.name, old.gpu.usable, _shown_on(old), _shown_on(new))
        for old, new in zip(before, after, strict=True)
    )
