"""Desired against observed, as a plan. Pure: the same two values give the same plan, step for step.

One deployment is one rollout: what it needs stopped, its own stop, start, wait. Rollouts follow one another by name;
all prepare steps come before the first of them (invariant 2), and a stop before a start on one port or GPU
(invariant 3). What orch did not make is an obstacle to name, never one to remove (invariant 6).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.cards import cards, rows, sits_on, without
from orchestrator.conflicts import conflicts, holds
from orchestrator.drift import diff
from orchestrator.engines import vllm
from orchestrator.errors import OrchError, PlanError, Unfit, raise_all
from orchestrator.history import rejection
from orchestrator.model import (
    Deployment,
    Instance,
    Intent,
    Inventory,
    Marker,
    Observed,
    Phase,
    Placement,
    Record,
    RuntimeSpec,
    Spec,
)
from orchestrator.placement import NO_DRIVER, Placed, across, asks, place
from orchestrator.plan import (
    Adjust,
    AwaitReady,
    BuildRuntime,
    Change,
    Clear,
    Drift,
    Fetch,
    Forget,
    GpuRow,
    Held,
    Pause,
    Pinned,
    Plan,
    Preflight,
    Reason,
    Repair,
    Start,
    Step,
    Stop,
)

if TYPE_CHECKING:
    from orchestrator.fit.preflight import Objection

UNKNOWN_DRAIN = 30.0
"""Seconds for one whose spec cannot be read: a profile's own default."""


@dataclass(frozen=True, slots=True)
class Options:
    """``replace``: names that stop in the same plan. ``restart``: names that start anew though nothing differs.
    ``unpin``: try digests again that failed before. ``reason`` overrides the cause shown for a start."""

    prune: bool = False
    replace: tuple[str, ...] = ()
    restart: frozenset[str] = frozenset()
    unpin: bool = False
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one deployment needs. ``drift`` None: it is as it should be."""

    deployment: Deployment
    drift: Drift | None = None
    start: bool = False
    await_only: bool = False
    held: Held | None = None
    stop: tuple[Instance, ...] = ()
    clear: tuple[Instance, ...] = ()


def reconcile(desired: Sequence[Deployment], observed: Observed, options: Options = Options()) -> Plan:
    """Raises PlanError (or Problems) when the desired state cannot be had beside what else runs."""
    ordered = sorted(desired, key=lambda one: one.name)
    observed = replace(observed, instances=_oldest_first(observed.instances))
    verdicts = [_judge(one, observed, options) for one in ordered]
    leaving = _leaving(ordered, observed, options)
    staying = _staying(verdicts, leaving, observed)
    placed = _placed(verdicts, staying, observed, options)
    clashes = conflicts([one.deployment for one in verdicts if one.start], staying, observed)
    broken = _unmendable(verdicts, observed, options)
    large = _too_large(verdicts, observed, options)
    raise_all([*_not_replaceable(observed, options), *clashes, *placed.errors, *broken, *large])
    return _Builder(verdicts, leaving, observed, options, placed).plan()


def take_down(names: Iterable[str], observed: Observed, *, forget: bool) -> Plan:
    """Stop these on purpose; with ``forget`` drop their records as well. Empty when there is nothing to do."""
    steps: list[Step] = []
    held: list[Held] = []
    for name in sorted(set(names)):
        drift = Drift(Reason.REQUESTED)
        live, left = _own(name, observed)
        if owned := _owned(name, observed):
            held.append(_foreground(owned))
            continue
        record = observed.records.get(name)
        steps += [_step("stop", name, Stop(one, _drain(one)), drift) for one in live]
        steps += [_step("clear", name, Clear(one), drift) for one in left]
        if forget and record:
            steps.append(_step("forget", name, Forget(name), drift))
        elif record and record.intent is not Intent.STOPPED:
            steps.append(_step("pause", name, Pause(name), drift))
    return Plan(_numbered(steps), tuple(held))


def recover(failed: str, back: Sequence[Deployment], observed: Observed) -> Plan:
    """After a rollout that failed: end what is left of it and bring ``back`` what it had stopped."""
    options = Options(reason=Reason.ROLLBACK, unpin=True)
    live, left = _own(failed, observed)
    if failed in {one.name for one in back}:
        hung = any(one.phase is not Phase.READY for one in live)  # the same spec again, and it is no better
        return reconcile(back, observed, replace(options, restart=frozenset({failed} if hung else ())))
    gone = {process.pid for one in (*live, *left) for process in one.processes}
    others = tuple(one for one in observed.instances if one.name != failed)
    free = {port: one for port, one in observed.holders.items() if one.pid not in gone}
    left_over = replace(observed, instances=others, holders=free)
    if observed.inventory:
        left_over = replace(left_over, inventory=without(observed.inventory, (*live, *left), others))
    up = reconcile(back, left_over, options)
    drift = Drift(Reason.ROLLBACK)
    down = [_step("stop", failed, Stop(one, _drain(one)), drift) for one in live if not one.owned]
    down += [_step("clear", failed, Clear(one), drift) for one in left]
    prepare = [one for one in up.steps if one.prepares]
    switch = [one for one in up.steps if not one.prepares]
    if back and failed in observed.records:
        # Else `orch apply` without a PATH would want both, on one port.
        names = ", ".join(one.name for one in back)
        switch.append(_step("pause", failed, Pause(failed, f"it failed, and {names} came back"), drift))
    return replace(up, steps=_numbered([*down, *prepare, *switch]))


# ----------------------------------------------------------------------------------------------- one deployment alone


def _judge(wanted: Deployment, observed: Observed, options: Options) -> _Verdict:
    live, left = _own(wanted.name, observed)
    record = observed.records.get(wanted.name)
    if owned := _owned(wanted.name, observed):
        return _Verdict(wanted, held=_foreground(owned))
    if not live:
        return _Verdict(wanted, _absent(record, left, options), start=True, clear=left)
    verdict = _judge_live(wanted, live[-1], record, options)
    if verdict.held:
        return verdict
    return replace(verdict, stop=live if verdict.start else live[:-1], clear=left)


def _judge_live(wanted: Deployment, current: Instance, record: Record | None, options: Options) -> _Verdict:
    if drift := _spec_drift(wanted, current, options):
        rejected = rejection(record, wanted.spec)
        if rejected and not options.unpin:
            do = "change the profile, or try again with `orch apply --unpin`"
            return _Verdict(wanted, held=Held(wanted.name, f"it failed before: {rejected.why}", do, failed=True))
        return _Verdict(wanted, drift, start=True)
    if current.phase is Phase.STARTING:
        return _Verdict(wanted, Drift(Reason.STARTING), await_only=True)
    if current.phase is not Phase.READY:
        do = f"see `orch logs {wanted.name}`, then `orch restart {wanted.name}`"
        why = f"it does not answer ({current.why})" if current.why else "it does not answer"
        return _Verdict(wanted, held=Held(wanted.name, why, do, failed=True))
    return _Verdict(wanted, _record_drift(wanted, current, record))


def _spec_drift(wanted: Deployment, current: Instance, options: Options) -> Drift | None:
    if current.spec is None:
        return Drift(Reason.CHANGED, detail="what it was started with cannot be read")
    if diffs := diff(current.spec, wanted.spec):
        return Drift(options.reason or Reason.CHANGED, diffs)
    return Drift(options.reason or Reason.REQUESTED) if wanted.name in options.restart else None


def _record_drift(wanted: Deployment, current: Instance, record: Record | None) -> Drift | None:
    """The engine is right; what orch remembers of it may not be."""
    if record is None or record.attempt is None:
        return Drift(Reason.RECORD, detail="its record was lost, and is written again")
    if record.attempt.id != current.marker.attempt:
        return Drift(Reason.RECORD, detail="its record is of an earlier start, and is written again")
    known = record.revision
    if known is None or record.attempt.ready_at is None or diff(known.deployment.spec, wanted.spec):
        return Drift(Reason.RECORD, detail="it became ready after orch had left, and is recorded now")
    pin = record.pin.number if record.pin else None
    if pin != wanted.pinned:
        ends = f"its pin to revision {pin} ends"
        detail = ends if wanted.pinned is None else f"it is pinned to revision {wanted.pinned}"
        return Drift(Reason.RECORD, detail=detail)
    if record.intent is not Intent.RUNNING:
        return Drift(Reason.RECORD, detail="it runs though it was recorded as stopped; it is recorded as running")
    if known.deployment.policy != wanted.policy:
        moved = replace(known.deployment.policy, libcuda=wanted.policy.libcuda) != wanted.policy
        how = "which needs no restart" if moved else "which holds from its next start on"
        return Drift(Reason.RECORD, detail=f"its policy changed, {how}")
    return None


def _absent(record: Record | None, left: Sequence[Instance], options: Options) -> Drift:
    if options.reason:
        return Drift(options.reason)
    if record is not None and record.intent is Intent.STOPPED:
        return Drift(Reason.STOPPED, detail=record.because)
    if left:
        return Drift(Reason.DIED, detail=left[-1].why)
    if record is not None and record.attempt is not None:
        return Drift(Reason.DIED, detail=record.attempt.ended)
    return Drift(Reason.NEW)


def _own(name: str, observed: Observed) -> tuple[tuple[Instance, ...], tuple[Instance, ...]]:
    """The living instances of a name, oldest first, and those of which only left-over processes remain."""
    mine = _oldest_first(one for one in observed.instances if one.name == name)
    return tuple(one for one in mine if one.leader), tuple(one for one in mine if not one.leader and one.children)


def _oldest_first(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    return tuple(sorted(instances, key=lambda one: (one.started_at or 0.0, one.name, one.marker.attempt)))


def _owned(name: str, observed: Observed) -> Instance | None:
    """The one that a living `orch run` owns, and cleans up after."""
    return next((one for one in observed.instances if one.name == name and one.owned), None)


def _under_run(instance: Instance) -> str:
    return f"it runs in the foreground under `orch run` (pid {instance.marker.owner.partition(':')[0]})"


def _foreground(owned: Instance) -> Held:
    return Held(owned.name, _under_run(owned), "end it there", failed=True)


def _drain(instance: Instance) -> float:
    return instance.spec.drain if instance.spec else UNKNOWN_DRAIN


# ------------------------------------------------------------------------------------------------ several, and others


def _leaving(desired: Sequence[Deployment], observed: Observed, options: Options) -> Mapping[str, Reason]:
    """Other deployments of this project that stop in this plan, and why."""
    kept = {one.name for one in desired} | {one.name for one in observed.instances if one.owned}
    others = ({one.name for one in observed.instances} | set(observed.records)) - kept
    replaced = others & set(options.replace)
    leaving = others if options.prune else replaced
    return {name: Reason.REPLACED if name in replaced else Reason.PRUNED for name in sorted(leaving)}


def _not_replaceable(observed: Observed, options: Options) -> list[PlanError]:
    known = {one.name for one in observed.instances} | set(observed.records)
    errors = []
    for name in sorted(set(options.replace)):
        if owned := _owned(name, observed):
            errors.append(PlanError(f"replace {name}", _under_run(owned), "end it there"))
        elif name not in known:
            errors.append(PlanError(f"replace {name}", "this project has no such deployment", "see `orch status`"))
    return errors


def _staying(verdicts: Sequence[_Verdict], leaving: Mapping[str, Reason], observed: Observed) -> list[Instance]:
    ending = {one.marker.attempt for verdict in verdicts for one in (*verdict.stop, *verdict.clear)}
    return [one for one in observed.instances if one.name not in leaving and one.marker.attempt not in ending]


def _unmendable(verdicts: Sequence[_Verdict], observed: Observed, options: Options) -> list[OrchError]:
    """What served a moment ago did so with the libcuda it had."""
    if options.reason is Reason.ROLLBACK:
        return []
    starting = [one.deployment.name for one in verdicts if one.start]
    return [observed.unmendable[name] for name in starting if name in observed.unmendable]


def _too_large(verdicts: Sequence[_Verdict], observed: Observed, options: Options) -> list[PlanError]:
    starting = [one.deployment for one in verdicts if one.start]
    found = [(wanted, _objection(wanted, observed, options)) for wanted in starting]
    return [_refusal(wanted, one) for wanted, one in found if one and _refuses(one, wanted)]


def _refusal(wanted: Deployment, one: "Objection") -> PlanError:
    from orchestrator.fit.preflight import WAY_OUT

    return Unfit(f"start {wanted.name}", one.why, f"{one.do}; {WAY_OUT}", wanted.source.at(*one.path), one.code)


def _objection(wanted: Deployment, observed: Observed, options: Options) -> "Objection | None":
    """What became ready once has shown that it fits, whatever is reckoned."""
    record = observed.records.get(wanted.name)
    good = record.revision.deployment.spec if record and record.revision else None
    proven = options.reason is Reason.ROLLBACK or wanted.pinned is not None
    proven = proven or good == wanted.spec
    if wanted.name not in observed.fits or proven:
        return None
    from orchestrator.fit.preflight import objection
    from orchestrator.fit.use import uncounted

    one = objection(observed.fits[wanted.name], uncounted(wanted.spec))
    alike = good is not None and _takes(good) == _takes(wanted.spec)
    return None if one and alike and one.code == "does-not-fit" else one


def _takes(spec: Spec) -> Spec:
    """What decides how much of the cards it takes; the rest is alike."""
    serve = replace(spec.serve, names=(), host="", port=0)
    return replace(spec, serve=serve, cuda_home=None, hf_home=None, secrets={}, drain=0.0, backend="local")


def _refuses(one: "Objection", wanted: Deployment) -> bool:
    return one.certain and wanted.policy.fit == "refuse"


def _just_ended(observed: Observed) -> list[Instance]:
    """Those that ran where their records say and are gone: the driver may still be giving their memory back, and shows
    it of no process. A start waits for it; where that is in vain, nothing was stopped for it."""
    known = {one.marker.attempt for one in observed.instances}
    attempts = [(name, record.attempt) for name, record in observed.records.items() if record.attempt]
    return [
        Instance(Marker("", name, attempt.id), Phase.FAILED, spec=attempt.deployment.spec, gpus=attempt.gpus)
        for name, attempt in attempts
        if attempt.gpus and attempt.id not in known
    ]


def _placed(verdicts: Sequence[_Verdict], staying: Sequence[Instance], observed: Observed, options: Options) -> Placed:
    """To bring back what served a moment ago nothing is refused: it starts where it was."""
    insist = options.reason is Reason.ROLLBACK
    wanted, errors = asks([one.deployment for one in verdicts if one.start], observed, insist=insist)
    inventory = observed.inventory or Inventory()
    kept = {one.marker.attempt for one in staying}
    ending = [one for one in observed.instances if one.marker.attempt not in kept]
    if not any(one.leader for one in ending):
        ending += _just_ended(observed)
    free = cards(inventory, staying, ending, observed.others)
    found = place(wanted, free, inventory.links, insist=insist)
    return replace(found, errors=() if insist else (*errors, *found.errors))


# ---------------------------------------------------------------------------------------------------- the plan itself


@dataclass(slots=True)
class _Builder:
    verdicts: Sequence[_Verdict]
    leaving: Mapping[str, Reason]
    observed: Observed
    options: Options
    placed: Placed
    steps: list[Step] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)  # attempts
    held: dict[str, frozenset[str]] = field(default_factory=dict)  # by attempt

    def plan(self) -> Plan:
        starting = [one for one in self.verdicts if one.start]
        self._prepare(starting)
        for verdict in self.verdicts:
            self._roll_out(verdict, first=bool(starting) and verdict is starting[0])
        for name, reason in self.leaving.items():
            self._leave(name, reason)
        return Plan(
            _numbered(self.steps),
            tuple(one.held for one in self.verdicts if one.held),
            tuple(one.deployment.name for one in self.verdicts if not (one.drift or one.held or one.stop or one.clear)),
            {one.deployment.name: self._cost(one.deployment.name) for one in starting if one.stop},
            self._gpus(),
            tuple(one for verdict in starting for one in self._warnings(verdict.deployment)),
            tuple(one for verdict in self.verdicts for one in self._pins(verdict)),
        )

    def _pins(self, verdict: _Verdict) -> Iterator[Pinned]:
        """Where nothing is done, a pin can hold, and neither begin nor end."""
        wanted, record = verdict.deployment, self.observed.records.get(verdict.deployment.name)
        now = record.pin.number if record and record.pin else None
        if wanted.pinned is not None and now == wanted.pinned:
            yield Pinned(wanted.name, now, differs=wanted.held_back)
        elif wanted.pinned is not None and verdict.drift:
            yield Pinned(wanted.name, wanted.pinned, "begins", wanted.held_back)
        elif now is not None and verdict.drift:
            yield Pinned(wanted.name, now, "ends")

    def _gpus(self) -> tuple[GpuRow, ...]:
        """Before and after, where cards change hands."""
        inventory = self.observed.inventory
        if inventory is None or not any(one.indexes for one in self.placed.placements.values()):
            return ()
        now = cards(inventory, self.observed.instances, others=self.observed.others)
        return rows(now, self.placed.cards)

    def _warnings(self, wanted: Deployment) -> Iterator[str]:
        placement, inventory = self.placed.placements.get(wanted.name), self.observed.inventory
        if placement and inventory and not self._ran_across(wanted):
            yield from across(wanted, placement, inventory)
        objection = _objection(wanted, self.observed, self.options)
        if objection and not _refuses(objection, wanted):
            yield f"{wanted.name}: {objection.told}; {objection.do}"
        if placement is None and self._computes_on_cards(wanted):
            yield f"{wanted.name}: {NO_DRIVER}, so its engine takes what GPUs it finds; `orch doctor` says more"

    def _computes_on_cards(self, wanted: Deployment) -> bool:
        state = self.observed.runtimes.get(wanted.name)
        return vllm.device(wanted.spec.runtime, state.info if state else None) == "cuda"

    def _ran_across(self, wanted: Deployment) -> bool:
        """Whether it was ready on several GPUs before: then what may hang there does not."""
        record = self.observed.records.get(wanted.name)
        return bool(record and record.revision and vllm.ranks(record.revision.deployment.spec) > 1)

    def _prepare(self, starting: Sequence[_Verdict]) -> None:
        built: set[RuntimeSpec] = set()
        for verdict in starting:
            wanted = verdict.deployment
            state = self.observed.runtimes.get(wanted.name)
            if state and state.status == "buildable" and wanted.spec.runtime not in built:
                built.add(wanted.spec.runtime)
                self._add("build", wanted.name, BuildRuntime(wanted), verdict.drift)
        fetched: set[tuple[str, ...]] = set()
        for verdict in starting:
            for one in self.observed.weights.get(verdict.deployment.name, ()):
                # Two deployments of one model fetch it once.
                name = (one.cache, one.use.repo, one.commit or one.use.revision, one.use.wants, one.use.variant)
                # To bring back what served a moment ago, it has to do with what cannot be looked up.
                blind = one.total is None and self.options.reason is Reason.ROLLBACK
                if not one.complete and not blind and name not in fetched:
                    fetched.add(name)
                    self._add("fetch", verdict.deployment.name, Fetch(verdict.deployment, one), verdict.drift)
        mended: set[str] = set()
        for verdict in starting:
            wanted = verdict.deployment
            if wanted.environment not in mended and (repair := self._repair(wanted)):
                mended.add(wanted.environment)
                self._add("repair", wanted.name, repair, verdict.drift)
        for verdict in starting:
            self._add("preflight", verdict.deployment.name, Preflight(verdict.deployment), verdict.drift)

    def _repair(self, wanted: Deployment) -> Repair | None:
        """Of a runtime that is not built yet nobody knows what it needs. What served a moment ago needs none."""
        if self.options.reason is Reason.ROLLBACK:
            return None
        if mend := self.observed.mends.get(wanted.name):
            return Repair(wanted, mend)
        state = self.observed.runtimes.get(wanted.name)
        here = self.observed.inventory is not None and bool(self.observed.inventory.gpus)
        unknown = state is not None and state.info is None and vllm.device(wanted.spec.runtime, None) != "cpu"
        return Repair(wanted, None) if here and unknown and wanted.policy.libcuda != "off" else None

    def _roll_out(self, verdict: _Verdict, *, first: bool) -> None:
        wanted, name = verdict.deployment, verdict.deployment.name
        for one in verdict.clear:
            self._clear(name, one, Drift(Reason.DIED, detail=one.why))
        for one in verdict.stop:
            self._stop(
                name,
                one,
                verdict.drift if verdict.start else Drift(Reason.REPLACED, detail="there is a newer start of it"),
            )
        if verdict.start:
            for one in self._left_in_the_way(wanted):
                self._clear(name, one, Drift(Reason.DIED, detail=one.why))
            for one, reason in self._in_the_way(wanted, first=first):
                self._stop(name, one, Drift(reason))
            self._add("start", name, Start(wanted, self.placed.placements.get(name)), verdict.drift)
        if verdict.start or verdict.await_only:
            self._add("await", name, AwaitReady(wanted), verdict.drift)
        elif verdict.drift is not None:
            self._add("adjust", name, Adjust(wanted), verdict.drift)

    def _in_the_way(self, wanted: Deployment, *, first: bool) -> list[tuple[Instance, Reason]]:
        """Instances that must be gone before ``wanted`` starts: those on its port or GPUs, and with the first rollout
        everything that is replaced. A neighbour of the same set starts again in its own turn."""
        found = []
        moving = {one.marker.attempt: Reason.CHANGED for verdict in self.verdicts for one in verdict.stop}
        for one in self.observed.instances:
            reason = self.leaving.get(one.name) or moving.get(one.marker.attempt)
            if not one.leader or reason is None:
                continue
            clash = self._holds(one) & wanted.claims or self._shares(one, wanted)
            if clash or (first and reason is Reason.REPLACED):
                found.append((one, reason))
        return found

    def _holds(self, one: Instance) -> frozenset[str]:
        if one.marker.attempt not in self.held:
            self.held[one.marker.attempt] = holds(one, self.observed)
        return self.held[one.marker.attempt]

    def _left_in_the_way(self, wanted: Deployment) -> list[Instance]:
        """What is left over of other rollouts, on a card that ``wanted`` gets."""
        ending = {one.marker.attempt for verdict in self.verdicts for one in verdict.clear}
        return [
            one
            for one in self.observed.instances
            if not one.leader
            and (one.name in self.leaving or one.marker.attempt in ending)
            and self._shares(one, wanted)
        ]

    def _shares(self, one: Instance, wanted: Deployment) -> bool:
        """Whether it sits on a GPU that ``wanted`` gets."""
        placement = self.placed.placements.get(wanted.name, Placement())
        gpus = self.observed.inventory.gpus if self.observed.inventory else ()
        return any(gpu.index in placement.indexes and sits_on(one, gpu) for gpu in gpus)

    def _leave(self, name: str, reason: Reason) -> None:
        live, left = _own(name, self.observed)
        drift = Drift(reason)
        for one in live:
            self._stop(name, one, drift)
        for one in left:
            self._clear(name, one, drift)
        if reason is Reason.PRUNED:
            self._add("forget", name, Forget(name), drift)
        elif (record := self.observed.records.get(name)) is None or record.intent is not Intent.STOPPED:
            by = ", ".join(one.deployment.name for one in self.verdicts)
            self._add("pause", name, Pause(name, f"replaced by {by}"), drift)

    def _stop(self, name: str, one: Instance, drift: Drift | None) -> None:
        if one.marker.attempt not in self.stopped:
            self.stopped.add(one.marker.attempt)
            hung = drift is not None and drift.reason is Reason.HUNG  # it finishes nothing
            drain = 0.0 if hung else _drain(one)
            self._add("stop", name, Stop(one, drain), drift)

    def _clear(self, name: str, one: Instance, drift: Drift) -> None:
        if one.marker.attempt not in self.stopped:
            self.stopped.add(one.marker.attempt)
            self._add("clear", name, Clear(one), drift)

    def _add(self, verb: str, name: str, change: Change, drift: Drift | None) -> None:
        assert drift is not None
        self.steps.append(_step(verb, name, change, drift))

    def _cost(self, name: str) -> float | None:
        record = self.observed.records.get(name)
        return record.revision.ready_seconds if record and record.revision else None


def _step(verb: str, name: str, change: Change, drift: Drift) -> Step:
    return Step(f"{verb}/{name}", name, change, drift)


def _numbered(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Gives repeated ids a number, and each step the one before it in its rollout, or the last prepare step."""
    seen: dict[str, int] = {}
    last: dict[str, str] = {}
    prepared = ""
    done: list[Step] = []
    for step in steps:
        seen[step.id] = seen.get(step.id, 0) + 1
        name = step.id if seen[step.id] == 1 else f"{step.id}#{seen[step.id]}"
        needs = last.get(step.name) or prepared
        done.append(replace(step, id=name, needs=(needs,) if needs else ()))
        last[step.name] = name
        prepared = name if step.prepares else prepared
    return tuple(done)
