"""One turn: observe, reconcile, confirm, lock, look again, execute; and go back when a rollout fails.

`apply` takes one turn. Every verb that changes something comes through here, so there is one way in which anything
is stopped or started.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator import history
from orchestrator.conflicts import claims
from orchestrator.errors import FetchFailed, HubRefused, Interrupted, OrchError, StalePlan, raise_all
from orchestrator.execute import Report, execute
from orchestrator.model import Deployment, Observed
from orchestrator.observe import observe
from orchestrator.plan import AwaitReady, Clear, Fetch, Plan, Start, Step, Stop
from orchestrator.ports import Asker, Eyes, World
from orchestrator.reconcile import recover
from orchestrator.render import plan_text
from orchestrator.seats import claimed, seated

Planner = Callable[[Observed], Plan]
Confirm = Callable[[Plan], None]
"""Shows the plan and returns when it may be carried out; raises Declined or UsageProblem."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``error`` and ``failed`` say what did not come up; ``restored`` what was brought back in its place, and
    ``unrestored`` why that did not succeed either."""

    plan: Plan
    ready: tuple[Deployment, ...] = ()
    failed: str = ""
    error: OrchError | None = None
    restored: tuple[str, ...] = ()
    unrestored: OrchError | None = None


def look(planner: Planner, desired: Sequence[Deployment], eyes: Eyes) -> Plan:
    """The plan, and nothing else."""
    return planner(observe(eyes, desired))


def turn(
    planner: Planner, desired: Sequence[Deployment], world: World, confirm: Confirm, timeout: float | None = None
) -> Outcome:
    """``planner`` is asked twice: for the plan that is confirmed, and under the locks for the plan that is carried
    out. They must read the same, or there must be nothing left to do. ``timeout`` in seconds stands in for the
    profiles' own readiness deadline."""
    looked = observe(world, desired)
    first = planner(looked)
    if first.empty:
        return Outcome(first)
    raise_all(unfetchable(first))
    confirm(first)
    names = {*(one.name for one in desired), *(step.name for step in first.steps), *_stopped_names(first)}
    held = {claim for one in desired for claim in claims(one, looked)}
    with world.state.lock(names, held, world.events, _asker(first, world)):
        seen = observe(world, desired)
        plan = planner(seen)
        if plan.empty:
            world.events.say("another orch has done it meanwhile")
            return Outcome(plan)
        _check_same(plan, first)
        if not claimed(plan, seen):
            return _carry_out(plan, seen, world, timeout)
        # A card is not kept from others while gigabytes are fetched.
        prepared = execute(_only(plan, prepares=True), seen, world, timeout, last=False)
        if prepared.error:
            return _outcome(plan, prepared)
        with seated(plan, seen, planner, desired, world, lambda now: _check_same(now, plan)) as (settled, now):
            return replace(_carry_out(_only(settled, prepares=False), now, world, timeout), plan=plan)


def _asker(plan: Plan, world: World) -> Asker:
    if world.by == "watch":
        return "watch"
    return "person" if any(isinstance(step.change, Start | AwaitReady) for step in plan.steps) else "stop"


def _only(plan: Plan, *, prepares: bool) -> Plan:
    return replace(plan, steps=tuple(step for step in plan.steps if step.prepares == prepares))


def _check_same(plan: Plan, confirmed: Plan) -> None:
    """It may have become less to prepare, for somebody else did it; and other cards, where orch was left to choose."""
    before = {step.id for step in confirmed.steps if step.prepares}
    more = [step.id for step in plan.steps if step.prepares and step.id not in before]
    if more or _switch_text(plan) != _switch_text(confirmed):
        do = "look at the new plan with the same command"
        raise StalePlan("carry out the plan", "the world changed after it was made", do)


def _switch_text(plan: Plan) -> str:
    steps = (
        replace(step, change=replace(step.change, placement=None)) if isinstance(step.change, Start) else step
        for step in plan.steps
        if not step.prepares
    )
    return plan_text(replace(plan, steps=tuple(steps), gpus=(), warnings=()), "")


def unfetchable(plan: Plan) -> list[FetchFailed]:
    """Why weights cannot be fetched, as far as that is known before anything is tried."""
    fetches = [step.change.weights for step in plan.steps if isinstance(step.change, Fetch)]
    unknown = [one for one in fetches if one.total is None]
    return [(HubRefused if one.refused else FetchFailed)(f"fetch {one.use.repo}", one.why, one.do) for one in unknown]


def _carry_out(plan: Plan, seen: Observed, world: World, timeout: float | None) -> Outcome:
    report = execute(plan, seen, world, timeout)
    outcome = _outcome(plan, report)
    if report.failed is None or not _leaves_a_gap(report.failed, report, plan):
        return outcome
    return _go_back(outcome, report.failed, report, seen, world)


def _outcome(plan: Plan, report: Report) -> Outcome:
    return Outcome(plan, tuple(report.ready), report.failed.name if report.failed else "", report.error)


def _leaves_a_gap(failed: Step, report: Report, plan: Plan) -> bool:
    """Whether something is down that was to be up. Not so when preparing failed, when the person wanted things
    stopped, or when all that failed is the record of an engine that is ready."""
    if not isinstance(failed.change, Stop | Clear | Start | AwaitReady) or failed.name in _names(report.ready):
        return False
    return any(isinstance(one.change, Start | AwaitReady) and one.name == failed.name for one in plan.steps)


def _go_back(outcome: Outcome, failed: Step, report: Report, seen: Observed, world: World) -> Outcome:
    """Brings back what the failed rollout had stopped (invariant 4). Rollouts that had succeeded stay."""
    back = history.fallback(set(report.stopped) - _names(report.ready), seen)
    if isinstance(failed.change, AwaitReady) and failed.name not in report.stopped:
        back += history.earlier(failed.name, failed.change.deployment.spec, seen)
    if back:
        # The cause is said now: an interruption from here on would end with another one.
        why = report.error.why if report.error else ""
        world.events.say(f"{failed.name} failed: {why}; bringing back {', '.join(sorted(_names(back)))}")
    try:
        again = _recover(failed.name, back, world)
    except Interrupted:
        raise
    except OrchError as error:
        again = Report(error=error)
    if again.error and back and not again.stopped:
        # It cannot come back: at least what failed must not hold its place.
        _recover(failed.name, (), world)
    return replace(outcome, restored=tuple(one.name for one in again.ready), unrestored=again.error)


def _recover(failed: str, back: Sequence[Deployment], world: World) -> Report:
    now = observe(world, back)
    return execute(recover(failed, back, now), now, world, insist=True)


def _names(deployments: Iterable[Deployment]) -> set[str]:
    return {one.name for one in deployments}


def _stopped_names(plan: Plan) -> set[str]:
    return {step.change.instance.name for step in plan.steps if isinstance(step.change, Stop)}
