"""What the watcher has done, each as one errand: the turn of `apply`, for a reason of the watcher's own. All of it is
decided anew under the locks, for a person may have acted meanwhile."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from orchestrator.controller import Outcome, look, turn
from orchestrator.diagnosis.text import AGAIN
from orchestrator.dump import dump
from orchestrator.engines import vllm
from orchestrator.errors import Interrupted, OrchError, StalePlan
from orchestrator.history import attempts
from orchestrator.model import Death, Deployment, Endpoint, Exit, Instance, Intent, Json, Marker, Observed, Record
from orchestrator.observe import ending, observe
from orchestrator.plan import Plan, Reason
from orchestrator.policy import Due, again, died, due, judge, of_the_files, refused
from orchestrator.ports import Answer, Eyes, Prober, World
from orchestrator.postmortem import examine
from orchestrator.reconcile import Options, reconcile
from orchestrator.units import format_duration

TAIL = 400  # lines of a log that may hold why it ended
Wanted = Callable[[Eyes], Sequence[Deployment]]
"""What the files say, when they are good. Raises OrchError."""


def attend(name: str, ended: Exit | None, hung: str, world: World) -> Json:
    """One deployment that is not as it should be: records how it ended (``ended`` where that is known, ``hung`` why it
    has to be ended), and starts it again when its time has come. {"idle": whether there was nothing to do}."""
    with world.state.lock([name], (), world.events, "watch"):
        record, live = _look(name, world)
        task = _task(record, live, world)
        if record and live and hung and _serves_as_recorded(record, live, task):
            world.events.say(f"{name} hangs: {hung}; {_dumped(live, world)}")
            record = _mourn(record, None, hung, world)
            task = _task(record, live, world)
        elif record and task.what == "mourn":
            record = _mourn(record, ended, "", world)
            task = _task(record, live, world)
    wanted = again(record) if record else None
    if record is None or wanted is None or not _now(task):
        return {}
    narrow = replace(world, prober=_Only(world.prober, vllm.endpoint(wanted.spec)))
    try:
        outcome = turn(lambda seen: _as_it_was(wanted, seen, world), [wanted], narrow, lambda _: None)
    except (Interrupted, StalePlan):
        raise
    except OrchError as error:
        outcome = Outcome(Plan(), failed=name, error=error)
    _tell(outcome, world)
    if outcome.error:
        _never_started(name, record, outcome.error, world)
    return {"idle": outcome.plan.empty and not outcome.error}


def follow_files(wanted: Wanted, world: World, show: Callable[[Plan], None]) -> Json:
    """The whole set, as far as the files have moved; {"names": of all of the set, "error", "final", "said"}."""
    desired = wanted(world)
    names: Json = {"names": [one.name for one in desired]}
    chosen = _moved(desired, observe(world, desired))
    plan = look(lambda seen: reconcile(_moved(chosen, seen), seen), chosen, world)
    concerned = {step.name for step in plan.steps}
    moved = [one for one in chosen if one.name in concerned]
    for held in plan.held:
        world.events.say(f"{held.name} is left as it is: {held.why}; {held.do}")
    if plan.empty:
        return names
    outcome = turn(lambda seen: reconcile(_moved(moved, seen), seen), moved, world, show)
    _tell(outcome, world)
    if outcome.error is None:
        return names
    return names | {"error": str(outcome.error), "final": outcome.error.final, "said": True}


def report(wanted: Wanted, eyes: Eyes, text: Callable[[Plan], str]) -> Json:
    """What `apply` would do now, in words; {"names", "plan"}."""
    desired = wanted(eyes)
    plan = look(lambda seen: reconcile(desired, seen), desired, eyes)
    return {"names": [one.name for one in desired], "plan": text(plan)}


# ------------------------------------------------------------------------------------------------------ one deployment


def _look(name: str, world: World) -> tuple[Record | None, Instance | None]:
    records = world.state.records()
    seen = world.target.list(world.state.project, attempts(world.state.project, records.values()))
    return records.get(name), living(name, seen)


def living(name: str, instances: Iterable[Instance]) -> Instance | None:
    """The newest one of that name with a leader; ``instances`` are oldest first."""
    mine = [one for one in instances if one.name == name and one.leader]
    return mine[-1] if mine else None


def _task(record: Record | None, live: Instance | None, world: World) -> Due:
    return due(record, live, world.target.boot, world.clock.now())


def _dumped(live: Instance, world: World) -> str:
    made = dump(live, world.state.folder / live.name / "logs" / f"{live.marker.attempt}.dump")
    return f"{made.saw}; see {made.path}" if made.path else made.saw


def _now(task: Due) -> bool:
    return task.what in {"start", "await"} and task.at is None


def _serves_as_recorded(record: Record, live: Instance, task: Due) -> bool:
    """A person may have stopped it, or started it anew, since it was found hanging."""
    known = record.attempt is not None and live.marker.attempt == record.attempt.id
    mourned = any(one.attempt == live.marker.attempt for one in record.deaths)
    return known and not mourned and task.what == "rest" and record.intent is Intent.RUNNING and not record.given_up


def _mourn(record: Record, ended: Exit | None, hung: str, world: World) -> Record:
    attempt, now = record.attempt, world.clock.now()
    assert attempt is not None
    ended = ended or attempt.exit or world.target.ended(Marker(world.state.project, record.name, attempt.id), attempt)
    known = ended is not None and (ended.code is not None or ended.signal is not None)
    plain = hung or (f"its API server {ended}" if known else ending(world, attempt))
    in_order = not hung and (
        ended.code == 0 if ended and known else vllm.left_in_order(world.logs.tail(attempt.log, TAIL))
    )
    found = examine(world, replace(attempt, exit=ended, hung=bool(hung)), plain)
    final = found.why if found.final and attempt.ready_at is None else ""
    uptime = max(0.001, now - attempt.ready_at) if attempt.ready_at is not None else 0.0
    record = replace(record, attempt=found.attempt)
    record = _record_death(record, Death(attempt.id, now, attempt.ended or found.why, uptime), in_order, final, world)
    if found.trouble:
        world.events.say(f"warning: {found.trouble}")
    if not in_order and not attempt.ended:
        # The first line was said with what follows; whether another start can help, is what that says.
        for line in found.lines(f"{record.name}: ")[1:]:
            if attempt.ready_at is None or not line.startswith(AGAIN):
                world.events.say(line)
    return record


def _record_death(record: Record, death: Death, in_order: bool, final: str, world: World) -> Record:
    verdict = judge(record, death, death.at, random.random(), in_order=in_order, final=final)
    record = died(record, death, verdict, death.at)
    world.state.save(record)
    world.events.say(f"{record.name}: {death.why}; {_next_words(record, death.at)}")
    return record


def _next_words(record: Record, now: float) -> str:
    if record.given_up:
        why = "" if record.deaths and record.given_up == record.deaths[-1].why else f" ({record.given_up})"
        return f"it is not tried again{why}; `orch start {record.name}` does"
    if record.retry_at is None:
        return "its restart policy leaves it so"
    wait = record.retry_at - now
    return "starting it again" if wait <= 0 else f"starting it again in {format_duration(round(wait, 1))}"


def _as_it_was(wanted: Deployment, seen: Observed, world: World) -> Plan:
    """Nothing, when it is not due any more."""
    task = _task(seen.records.get(wanted.name), living(wanted.name, seen.instances), world)
    if not _now(task):
        return Plan()
    hung = Options(restart=frozenset({wanted.name}), reason=Reason.HUNG)
    return reconcile([wanted], seen, hung if task.hung else Options())


def _never_started(name: str, before: Record, error: OrchError, world: World) -> None:
    """What failed before anything was started is put off; else a next look finds the new start dead."""
    with world.state.lock([name], (), world.events, "watch"):
        record, live = _look(name, world)
        known = record and record.attempt and before.attempt and record.attempt.id == before.attempt.id
        if record and known and _task(record, live, world).what == "start":
            record = refused(record, str(error), world.clock.now(), final=error.final)
            world.state.save(record)
            world.events.say(f"{name}: {_next_words(record, world.clock.now())}")


def _moved(desired: Sequence[Deployment], seen: Observed) -> list[Deployment]:
    return [one for one in desired if of_the_files(one, seen.records.get(one.name), living(one.name, seen.instances))]


def _tell(outcome: Outcome, world: World) -> None:
    for one in outcome.ready:
        world.events.say(f"{one.name} is ready at {vllm.endpoint(one.spec).url}/v1")
    if outcome.error:
        world.events.say(str(outcome.error))
        for line in outcome.error.below:
            world.events.say(line)
    if outcome.restored:
        world.events.say(f"brought back {', '.join(outcome.restored)}, which serves as before")
    if outcome.unrestored:
        world.events.say(f"what ran before does not come back: {outcome.unrestored}")


class _Only:
    """Asks one endpoint; how the others do is none of this errand's business, and may take long to learn."""

    def __init__(self, prober: Prober, endpoint: Endpoint) -> None:
        self._prober, self._endpoint = prober, endpoint

    def ask(self, endpoint: Endpoint, names: Sequence[str], token: str | None) -> Answer:
        return self._prober.ask(endpoint, names, token) if endpoint == self._endpoint else Answer(True)
