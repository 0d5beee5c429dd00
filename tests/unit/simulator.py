"""A world in which every step succeeds: from an observation and a plan's steps to the next observation."""

from collections.abc import Iterable
from dataclasses import replace

from builders import NOW, running

from orchestrator import history
from orchestrator.cards import cards, without
from orchestrator.codec import digest
from orchestrator.conflicts import claims
from orchestrator.model import Attempt, Deployment, Instance, Inventory, Observed, Phase, Placement, Record, Revision
from orchestrator.plan import Adjust, Adopt, AwaitReady, Clear, Forget, Pause, Start, Step, Stop
from orchestrator.revisions import numbered


def simulate(observed: Observed, steps: Iterable[Step]) -> Observed:
    for number, step in enumerate(steps):
        observed = _apply(observed, step, number)
    return observed


def _apply(observed: Observed, step: Step, number: int) -> Observed:
    match step.change:
        case Stop(instance) | Clear(instance):
            left = tuple(one for one in observed.instances if one.marker != instance.marker)
            assert len(left) < len(observed.instances), f"{step.id} ends what is not there"
            inventory = observed.inventory and without(observed.inventory, [instance])
            return replace(observed, instances=left, inventory=inventory)
        case Start(wanted, placement):
            return _start(observed, wanted, placement, number)
        case AwaitReady(wanted):
            last = _last(observed, wanted.name)
            up = tuple(replace(one, phase=Phase.READY) if one is last else one for one in observed.instances)
            return _ready(replace(observed, instances=up), wanted)
        case Adjust(wanted):
            return _ready(observed, wanted)
        case Adopt(attempt):
            wanted = attempt.deployment
            record = history.started(observed.records.get(wanted.name), wanted.name, attempt)
            return _ready(_with(observed, record), wanted)
        case Pause(name, because):
            return _with(observed, history.paused(_record(observed, name), because))
        case Forget(name):
            return replace(observed, records={key: one for key, one in observed.records.items() if key != name})
        case _:
            return observed


def _start(observed: Observed, wanted: Deployment, placement: Placement | None, number: int) -> Observed:
    for one in observed.instances:
        if one.leader and one.spec:
            held = claims(Deployment(one.name, "", one.spec), observed) & claims(wanted, observed)
            assert not held, f"{wanted.name} starts while {one.name} holds {held}"
    gpus = placement.gpus if placement else ()
    attempt = f"9{number:04d}-{wanted.name}"
    fields = {"attempt": attempt, "phase": Phase.STARTING, "started_at": NOW + number, "gpus": gpus}
    fresh = running(wanted, pid=9000 + number, **fields)
    record = history.started(observed.records.get(wanted.name), wanted.name, _attempt(fresh, wanted))
    observed = _with(replace(observed, instances=(*observed.instances, fresh)), record)
    for card in cards(observed.inventory or Inventory(), observed.instances):
        assert card.room >= 0 or card.gpu.uuid not in gpus, f"{wanted.name} starts on a full GPU {card.gpu.index}"
    return observed


def _ready(observed: Observed, wanted: Deployment) -> Observed:
    record = _record(observed, wanted.name)
    last = _last(observed, wanted.name)
    if record.attempt is None or record.attempt.id != last.marker.attempt:
        record = history.started(record, wanted.name, _attempt(last, wanted))
    number = numbered(wanted, record.revision, record.revision.number + 1 if record.revision else 1)
    return _with(observed, history.succeeded(record, Revision(number, digest(wanted.spec), wanted, NOW), NOW))


def _attempt(instance: Instance, wanted: Deployment) -> Attempt:
    assert instance.leader is not None
    return Attempt(
        instance.marker.attempt, instance.leader.pid, instance.leader.start, "boot", NOW, wanted, gpus=instance.gpus
    )


def _last(observed: Observed, name: str) -> Instance:
    return max(
        (one for one in observed.instances if one.name == name and one.leader), key=lambda one: one.started_at or 0
    )


def _record(observed: Observed, name: str) -> Record:
    return observed.records.get(name) or Record(name)


def _with(observed: Observed, record: Record) -> Observed:
    return replace(observed, records={**observed.records, record.name: record})
