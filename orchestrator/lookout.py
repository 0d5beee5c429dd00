"""The vital signs of the engines that are ready, from look to look, and what they say (`liveness`). Looking is done by
an errand: an engine that does not answer keeps nobody else waiting."""

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.cards import lost
from orchestrator.codec import from_json, to_json
from orchestrator.engines import vllm
from orchestrator.liveness import LIMITS, Canary, History, Limits, Sample, assess, patient, remember
from orchestrator.model import Deployment, Instance, Json, Record
from orchestrator.observe import token
from orchestrator.ports import Eyes, GpuReader, Pulse

EVERY = 30.0  # seconds between two looks
YOUNG = 2.0  # likewise, until one was seen twice: what then goes is missed

Patient = tuple[Record, Instance]
"""A deployment that became ready, and its living instance."""


def patients(records: Iterable[Record], instances: Sequence[Instance]) -> tuple[Patient, ...]:
    """Whoever was seen ready, and is not known as hung already."""
    living = {one.marker.attempt: one for one in instances if one.leader and not one.owned and one.spec}
    ready = [(one, one.attempt) for one in records if one.attempt and one.attempt.ready_at is not None]
    known = {death.attempt for one, _ in ready for death in one.deaths}
    return tuple((one, living[at.id]) for one, at in ready if at.id in living and at.id not in known)


def look(found: Sequence[Patient], pulse: Pulse, gpus: GpuReader) -> Json:
    """In an errand: a sample of each, by attempt; and what became of their cards, by name."""
    inventory = gpus.inventory()
    cards = {one.name: lost(one, inventory) for _, one in found} if inventory else {}
    return {"samples": _samples(found, pulse), "cards": {name: why for name, why in cards.items() if why}}


def _samples(found: Sequence[Patient], pulse: Pulse) -> Json:
    return {one.marker.attempt: to_json(pulse.sample(one, vllm.endpoint(one.spec))) for _, one in found if one.spec}


def ask(patient: Patient, pulse: Pulse, eyes: Eyes) -> Json:
    """In an errand: the canary of one."""
    record, instance = patient
    assert instance.spec is not None
    assert record.attempt is not None
    name = Deployment(instance.name, "", instance.spec).served_names[0]
    key = token(eyes, record.attempt.deployment.secret_refs)
    return to_json(pulse.canary(vllm.endpoint(instance.spec), name, key))


class Lookout:
    """``hung`` and ``due`` speak of the patients that were last looked at."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._histories: dict[str, History] = {}  # by attempt
        self.hung: Mapping[str, str] = {}  # by attempt: why
        self.canaries: frozenset[str] = frozenset()  # attempts of which one is due
        self._cards: Mapping[str, str] = {}

    def young(self, found: Sequence[Patient]) -> bool:
        """Whether one of them was not seen twice yet."""
        return any(len(self._histories.get(one.marker.attempt, ())) < 2 for _, one in found)

    def keep(self, found: Sequence[Patient]) -> None:
        """Whoever is no patient any more is neither hung nor asked."""
        alive = {one.marker.attempt for _, one in found}
        self._histories = {attempt: one for attempt, one in self._histories.items() if attempt in alive}
        self.hung = {attempt: why for attempt, why in self.hung.items() if attempt in alive}
        self.canaries &= alive

    def saw(self, found: Sequence[Patient], looked: Json, now: float) -> tuple[str, ...]:
        """What ``look`` brought; ``now`` in seconds of the monotonic clock. What is new of the cards, to be told: an
        engine that still serves without one is left alone."""
        for attempt, sample in looked["samples"].items():
            self._histories[attempt] = remember(self._histories.get(attempt, ()), from_json(Sample, sample))
        self._judge(found, now)
        before, self._cards = self._cards, looked["cards"]
        return tuple(f"{name}: {why}" for name, why in self._cards.items() if before.get(name) != why)

    def heard(self, found: Sequence[Patient], attempt: str, canary: Json, now: float) -> None:
        self._histories[attempt] = remember(self._histories.get(attempt, ()), from_json(Canary, canary))
        self._judge(found, now)

    def _judge(self, found: Sequence[Patient], now: float) -> None:
        self.keep(found)
        limits = {one.marker.attempt: patient(one.spec.drain, self._limits) for _, one in found if one.spec}
        judged = {attempt: assess(one, now, limits[attempt]) for attempt, one in self._histories.items()}
        self.hung = {attempt: one.why for attempt, one in judged.items() if one.state == "hung"}
        self.canaries = frozenset(attempt for attempt, one in judged.items() if one.canary)
