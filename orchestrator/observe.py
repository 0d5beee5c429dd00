"""One look at the world through the ports: what runs, what is remembered, what is in the way. Changes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from orchestrator.engines import vllm
from orchestrator.errors import HostError, OrchError, RuntimeFailure
from orchestrator.fitting import fits
from orchestrator.history import attempts
from orchestrator.model import (
    Attempt,
    Deployment,
    Exit,
    Instance,
    Inventory,
    Marker,
    Mend,
    Observed,
    Phase,
    Record,
    RuntimeSpec,
    RuntimeState,
    SecretRef,
)
from orchestrator.ports import Answer, Eyes
from orchestrator.secret_values import hider


def observe(eyes: Eyes, desired: Sequence[Deployment] = ()) -> Observed:
    """``desired`` says whose ports and runtimes are looked at."""
    records = eyes.state.records()
    project = eyes.state.project
    seen = eyes.target.list(project, attempts(project, records.values()))
    instances = _judged(eyes, seen, records)
    ports = {one.spec.serve.port for one in desired}
    inventory = eyes.gpus.inventory()
    states = {spec: _state(eyes, spec, inventory) for spec in {one.spec.runtime for one in desired}}
    mends, unmendable = _mends(eyes, desired, states)
    found = Observed(
        instances=instances,
        records=_with_endings(eyes, records, instances),
        runtimes={one.name: states[one.spec.runtime] for one in desired},
        holders=eyes.host.holders(ports) if ports else {},
        weights={one.name: eyes.weights.state(one) for one in desired},
        inventory=inventory,
        others=_others(eyes, project) if desired and inventory else (),
        mends=mends,
        unmendable=unmendable,
        watcher=eyes.state.watcher(),
    )
    return replace(found, fits=fits(eyes, desired, found)) if desired else found


def _state(eyes: Eyes, spec: RuntimeSpec, inventory: Inventory | None) -> RuntimeState:
    """Where there are cards, one that was never looked into is looked into: it decides what a start needs."""
    state = eyes.runtimes.state(spec)
    if state.status != "ready" or state.info or inventory is None or spec.kind == "requirements":
        return state
    try:
        return RuntimeState("ready", info=eyes.runtimes.look(spec, lambda _: None))
    except RuntimeFailure:  # whoever starts it says why
        return state


def _others(eyes: Eyes, project: str) -> tuple[Instance, ...]:
    return tuple(one for one in eyes.target.everywhere() if one.marker.project != project)


def _mends(
    eyes: Eyes, desired: Sequence[Deployment], states: Mapping[RuntimeSpec, RuntimeState]
) -> tuple[Mapping[str, Mend], Mapping[str, OrchError]]:
    """What libcuda needs, for each whose runtime is known well enough to be tested; and where nothing can be done."""
    mends: dict[str, Mend] = {}
    unmendable: dict[str, OrchError] = {}
    for one in desired:
        info = states[one.spec.runtime].info
        try:
            if info and (mend := eyes.cuda.mend(one, info)):
                mends[one.name] = mend
        except HostError as error:
            unmendable[one.name] = error
    return mends, unmendable


def token(eyes: Eyes, refs: Mapping[str, SecretRef]) -> str | None:
    """The engine's API key when this process can read it; without it /v1/models answers 401."""
    ref = refs.get("VLLM_API_KEY")
    try:
        return eyes.host.secret("VLLM_API_KEY", ref) if ref else None
    except HostError:
        return None


def _judged(eyes: Eyes, seen: Iterable[Instance], records: Mapping[str, Record]) -> tuple[Instance, ...]:
    """Probes the living ones side by side: a hung engine costs its time-out once, not once each."""
    listed = [_known(one, records.get(one.name)) for one in seen]
    if not any(one.leader for one in listed):
        return tuple(_one(one, None, records.get(one.name), eyes) for one in listed)
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda one: _ask(eyes, one, records.get(one.name)), listed))
    return tuple(_one(one, answer, records.get(one.name), eyes) for one, answer in zip(listed, answers, strict=True))


def _ask(eyes: Eyes, instance: Instance, record: Record | None) -> Answer | None:
    if instance.leader is None or instance.spec is None:
        return None
    known = _attempt(instance, record) or (record.revision if record else None)
    refs = known.deployment.secret_refs if known else {}
    names = Deployment(instance.name, "", instance.spec).served_names
    return eyes.prober.ask(vllm.endpoint(instance.spec), names, token(eyes, refs))


def _attempt(instance: Instance, record: Record | None) -> Attempt | None:
    attempt = record.attempt if record else None
    return attempt if attempt and attempt.id == instance.marker.attempt else None


def _known(instance: Instance, record: Record | None) -> Instance:
    """With what the record tells of this start."""
    attempt = _attempt(instance, record)
    return replace(instance, spec=instance.spec or attempt.deployment.spec, log=attempt.log) if attempt else instance


def _one(instance: Instance, answer: Answer | None, record: Record | None, eyes: Eyes) -> Instance:
    attempt = _attempt(instance, record)
    if instance.leader is None:
        return replace(instance, phase=Phase.FAILED, why=ending(eyes, attempt))
    if answer is not None and answer.ready:
        return replace(instance, phase=Phase.READY)
    was_ready = attempt is not None and attempt.ready_at is not None
    return replace(instance, phase=Phase.UNHEALTHY if was_ready else Phase.STARTING, why=answer.why if answer else "")


def _with_endings(eyes: Eyes, records: Mapping[str, Record], instances: Sequence[Instance]) -> Mapping[str, Record]:
    """Says of each attempt that is gone how it ended, as far as its log tells."""
    alive = {one.marker.attempt for one in instances if one.leader}
    return {name: _ended(eyes, record, alive) for name, record in records.items()}


def _ended(eyes: Eyes, record: Record, alive: set[str]) -> Record:
    attempt = record.attempt
    if attempt is None or attempt.id in alive or attempt.ended:
        return record
    return replace(record, attempt=replace(attempt, ended=ending(eyes, attempt)))


def ending(eyes: Eyes, attempt: Attempt | None) -> str:
    """A process that nobody waited for leaves no exit status; its log says whether it left in good order."""
    if attempt is None:
        return "its API server is gone"
    if attempt.ended:
        return attempt.ended
    marker = Marker(eyes.state.project, attempt.deployment.name, attempt.id)
    if (exit := attempt.exit or eyes.target.ended(marker, attempt)) is not None and exit != Exit():
        return f"its API server (pid {attempt.pid}) {exit}"
    tail = eyes.logs.tail(attempt.log, 400)
    if vllm.left_in_order(tail):
        return f"its API server (pid {attempt.pid}) was told to shut down by someone else"
    last = next((line for line in reversed(tail) if line.strip()), "")
    last = hider(eyes, [attempt.deployment])(last.strip())[:160]
    said = f"; its last word: {last}" if last else ""
    return f"its API server (pid {attempt.pid}) is gone without a word: killed, or out of memory{said}"
