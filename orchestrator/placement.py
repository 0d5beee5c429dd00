"""Which GPUs a start gets: those it was on if they still serve, else by memory, away from what others use, near each
other. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from orchestrator.cards import BUSY, Card, gpu_lines, means, rows
from orchestrator.engines import vllm
from orchestrator.errors import PlanError, Unfit
from orchestrator.model import Deployment, GpuLink, Inventory, Observed, Placement
from orchestrator.units import format_memory

WIDEST = 16
"""Cards looked at for one start; beyond that the sets are too many to compare."""
TRIES = 2_000
"""Sets tried before the first fit for each is taken as the answer."""
NO_DRIVER = "no NVIDIA driver can be seen on this host"
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
class Placed:
    """By deployment name; ``cards`` as they are once all of it runs."""

    placements: Mapping[str, Placement] = field(default_factory=dict)
    errors: tuple[PlanError, ...] = ()
    cards: tuple[Card, ...] = ()


# ------------------------------------------------------------------------------------------------------ what is asked


def asks(
    starting: Iterable[Deployment], observed: Observed, *, insist: bool = False
) -> tuple[list[Ask], list[PlanError]]:
    """What orch has to find cards for, and what cannot have any here. What is in neither is left to its engine: NVML
    does not know what it computes on, or cannot be seen from here. ``insist``: it is to come back."""
    found: list[Ask] = []
    errors: list[PlanError] = []
    for wanted in starting:
        state, inventory = observed.runtimes.get(wanted.name), observed.inventory
        kind = vllm.device(wanted.spec.runtime, state.info if state else None)
        one = ask(wanted, _before(wanted.name, observed, insist=insist))
        if kind == "cpu" and wanted.spec.gpus == "auto":
            found.append(Ask(wanted, 0, one.share, one.ranks))
        elif kind == "cpu" and one.count:
            do = "write gpus: 0, or change the runtime"
            errors.append(_refused(one, "its runtime computes on the processor", do))
        elif kind == "other" or (inventory is None and (insist or kind != "cuda" or wanted.spec.gpus == "auto")):
            continue
        elif one.count and (inventory is None or inventory.why):
            why, do = (inventory.why, inventory.do) if inventory else (NO_DRIVER, "see `orch doctor`")
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


def _before(name: str, observed: Observed, *, insist: bool) -> tuple[str, ...]:
    """Where it is, or was when it last started; to bring it back, where it was when it was last ready: what failed in
    its place may have been elsewhere."""
    record = observed.records.get(name)
    good = record.revision.gpus if record and record.revision else ()
    here = next((one.gpus for one in reversed(observed.instances) if one.name == name and one.gpus), ())
    last = record.attempt.gpus if record and record.attempt else ()
    return (good or here or last) if insist else (here or last or good)


# ------------------------------------------------------------------------------------------------------ what they get


def place(asks: Sequence[Ask], found: Sequence[Card], links: Sequence[GpuLink], *, insist: bool = False) -> Placed:
    """``insist``: what fits nowhere goes back to where it was, for it ran there a moment ago."""
    near = {(link.a, link.b): _STEPS[link.distance] for link in links}
    placing = _Placing(list(found), near, insist)
    free: list[Ask] = []
    for one in asks:
        if one.count and one.ranks > one.count:
            why = f"its parallel sizes need {_gpus(one.ranks)} and gpus gives it {one.count}"
            placing.refuse(one, why, "change gpus, or the parallel sizes under serve", Unfit)
        elif one.pinned is not None:
            placing.pin(one, one.pinned)
        elif one.count == 0:
            placing.placements[one.name] = Placement()
        else:
            free.append(one)
    placing.fit(free)
    if placing.errors and found:
        placing.errors[-1].tail = tuple(gpu_lines(rows(found, placing.cards)))
    return Placed(placing.placements, tuple(placing.errors), tuple(placing.cards))


@dataclass(slots=True)
class _Placing:
    """``cards`` by place, with what was placed on them so far. A set of cards is a tuple of places, ascending."""

    cards: list[Card]
    near: Mapping[tuple[int, int], int]  # by two indexes, the lower first: steps between them
    insist: bool
    placements: dict[str, Placement] = field(default_factory=dict)
    errors: list[PlanError] = field(default_factory=list)
    tries: int = 0

    def refuse(self, one: Ask, why: str, do: str, kind: type[PlanError] = PlanError) -> None:
        self.errors.append(_refused(one, why, do, kind))

    def pin(self, one: Ask, given: tuple[str, ...]) -> None:
        parts = {part for card in self.cards for part in card.gpu.parts}
        if parts.issuperset(given):  # slices of cards: the memory of each is its own
            self.placements[one.name] = Placement(given)
            return
        chosen: list[int] = []
        for name in given:
            places = [place for place, card in enumerate(self.cards) if means(name, card.gpu)]
            if len(places) != 1:
                why = f"{name} is the beginning of several UUIDs" if places else f"there is no GPU {name} here"
                self.refuse(one, why if places else why + self._there_are(), "correct gpus; see `orch gpus`", Unfit)
                return
            if places[0] in chosen:
                self.refuse(one, f"GPU {self.cards[places[0]].gpu.index} is named twice", "name each once", Unfit)
                return
            chosen.append(places[0])
        bad = [why for place in chosen if (why := self.cards[place].refusal(one.share))]
        if bad and not self.insist:
            self.refuse(one, f"{self._needs(one)}: {', '.join(bad)}", self._cure(chosen))
        else:
            self._put(one, chosen)

    def fit(self, asks: Sequence[Ask]) -> None:
        """The large ones first: a small one finds room beside them, and not the other way round."""
        ordered = sorted(asks, key=lambda one: (-one.count, -one.share, one.name))
        answer = self._staying(ordered) or self._search(ordered, self.cards)
        if answer is not None:
            for one, places in zip(ordered, answer, strict=True):
                self._put(one, places)
            return
        for one in ordered:
            if places := next(self._sets(one, self.cards), ()) or (self._back(one) if self.insist else ()):
                self._put(one, places)
            else:
                self._does_not_fit(one)

    def _staying(self, asks: Sequence[Ask]) -> tuple[tuple[int, ...], ...] | None:
        """All that were somewhere stay there, and the others find a place around them, if that can be."""
        cards, fixed = list(self.cards), dict[str, tuple[int, ...]]()
        for one in asks:
            places = self._where(one.before)
            if len(places) == one.count and not any(self._refusal(cards[place], one) for place in places):
                fixed[one.name] = places
                cards = _with(cards, places, one)
        others = [one for one in asks if one.name not in fixed]
        found = self._search(others, cards)
        if not fixed or found is None:
            return None
        fresh = dict(zip((one.name for one in others), found, strict=True))
        return tuple(fixed.get(one.name) or fresh[one.name] for one in asks)

    def _refusal(self, card: Card, one: Ask) -> str:
        return card.refusal(one.share, tight=self.insist)

    def _back(self, one: Ask) -> tuple[int, ...]:
        """Where it was; where that is gone, the roomiest cards."""
        was = self._where(one.before)
        if len(was) == one.count:
            return was
        able = [place for place, card in enumerate(self.cards) if not card.closed]
        return tuple(sorted(sorted(able, key=lambda place: -self.cards[place].room)[: one.count]))

    def _where(self, before: Iterable[str]) -> tuple[int, ...]:
        given = tuple(before)
        return tuple(place for place, card in enumerate(self.cards) if any(means(name, card.gpu) for name in given))

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
        able = [place for place, card in enumerate(cards) if not self._refusal(card, one)]
        able.sort(key=lambda place: (cards[place].foreign > BUSY, place))
        sets = combinations(sorted(able[:WIDEST]), one.count)
        yield from sorted(sets, key=lambda places: self._cost(one, places, cards))

    def _cost(self, one: Ask, places: tuple[int, ...], cards: Sequence[Card]) -> tuple[object, ...]:
        chosen = [cards[place] for place in places]
        steps = [self.near.get((a.gpu.index, b.gpu.index), _FARTHEST) for a, b in combinations(chosen, 2)]
        return (
            self._where(one.before) != places,
            sum(card.foreign > BUSY for card in chosen),
            len({(card.gpu.name, card.gpu.total) for card in chosen}),
            max(steps, default=0),
            sum(steps),
            sum(card.room - card.need(one.share) for card in chosen),
            places,
        )

    def _put(self, one: Ask, places: Sequence[int]) -> None:
        """In the order given: the first is the engine's rank 0."""
        chosen = [self.cards[place] for place in places]
        self.placements[one.name] = Placement(
            tuple(card.gpu.uuid or str(card.gpu.index) for card in chosen),
            tuple(card.gpu.index for card in chosen),
            tuple(card.need(one.share) for card in chosen),
        )
        self.cards = _with(self.cards, places, one)

    def _does_not_fit(self, one: Ask) -> None:
        if one.count > len(self.cards):
            why = self._needs(one) + (self._there_are() or ", and this host has none")
            self.refuse(one, why, "see `orch gpus`", Unfit)
            return
        bad = [(place, why) for place, card in enumerate(self.cards) if (why := card.refusal(one.share))]
        why = f"{self._needs(one)}: {', '.join(why for _, why in bad)}"
        self.refuse(one, why, self._cure([place for place, _ in bad]))

    def _needs(self, one: Ask) -> str:
        sizes = {card.need(one.share) for card in self.cards if not card.gpu.trouble}
        much = format_memory(sizes.pop()) if len(sizes) == 1 else f"{one.share:.0%} of its memory"
        return f"it needs {_gpus(one.count)} with {much} free"

    def _there_are(self) -> str:
        if not self.cards:
            return ""
        indexes = [card.gpu.index for card in self.cards]
        return f", and this host has {len(indexes)} (GPU {indexes[0]}" + (f" to {indexes[-1]})" if indexes[1:] else ")")

    def _cure(self, places: Iterable[int]) -> str:
        held = [holding for place in places for holding in self.cards[place].holdings]
        cures = ["start fewer together"] if any(one.planned for one in held) else []
        ours = sorted({one.name for one in held if one.name and not one.planned})
        cures += [f"stop {ours[0]} in the same plan (`--replace {ours[0]}`)"] if ours else []
        cures += ["wait for the others"] if any(not one.name for one in held) else []
        return ", or ".join([*cures, "lower serve.gpu_memory_utilization"])


def across(wanted: Deployment, placement: Placement, inventory: Inventory) -> Iterator[str]:
    """The known hang of engines that talk over PCIe (vllm 9920, 14449), told before the first start."""
    pairs = set(combinations(sorted(placement.indexes), 2))
    bridged = {(link.a, link.b) for link in inventory.links if link.distance == "nvlink"}
    if vllm.ranks(wanted.spec) < 2 or not pairs - bridged or "NCCL_P2P_DISABLE" in wanted.spec.env:
        return
    *first, last = (str(index) for index in sorted(placement.indexes))
    where = f"GPUs {', '.join(first)} and {last}"
    why = "where engines are known to hang at their first start if an IOMMU or ACS is in between"
    if inventory.peers_blocked:
        why = f"and {inventory.peers_blocked}: engines are known to hang so at their first start"
    cure = 'set NCCL_P2P_DISABLE: "1" under env in the environment, or have the IOMMU set to passthrough'
    yield f"{wanted.name}: {where} talk over PCIe, {why}; should it hang, {cure}"


def _with(cards: Sequence[Card], places: Sequence[int], one: Ask) -> list[Card]:
    return [card.taken(one.name, one.share) if place in places else card for place, card in enumerate(cards)]


def _refused(one: Ask, why: str, do: str, kind: type[PlanError] = PlanError) -> PlanError:
    return kind(f"place {one.name}", why, do, one.wanted.source.at("gpus"), "does-not-fit")


def _gpus(count: int) -> str:
    return f"{count} {'GPU' if count == 1 else 'GPUs'}"
