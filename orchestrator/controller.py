"""One turn: observe, reconcile, confirm, lock, look again, execute; and go back when a rollout fails.

`apply` takes one turn. Every verb that changes something comes through here, so there is one way in which anything
is stopped or started.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator import history
from orchestrator.errors import Interrupted, OrchError, StalePlan
from orchestrator.execute import Report, execute
from orchestrator.model import Deployment, Observed
from orchestrator.observe import observe
from orchestrator.plan import Plan, Stop
from orchestrator.ports import Eyes, World
from orchestrator.reconcile import recover
from orchestrator.render import plan_text

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
    out. They must read the same, or there must be nothing left to do. ``timeout`` in seconds
    stands in for the profiles' own readiness deadline."""
    first = planner(observe(world, desired))
    if first.empty:
        return Outcome(first)
    confirm(first)
    locked = {*(one.name for one in desired), *(step.name for step in first.steps), *_stopped_names(first)}
    with world.state.lock(locked, world.events):
        seen = observe(world, desired)
        plan = planner(seen)
        if plan.empty:
            world.events.say("another orch has done it meanwhile")
            return Outcome(plan)
        if plan_text(plan, "") != plan_text(first, ""):
            do = "look at the new plan with the same command"
            raise StalePlan("carry out the plan", "the world changed after it was made", do)
        return _carry_out(plan, seen, world, timeout)


def _carry_out(plan: Plan, seen: Observed, world: World, timeout: float | None) -> Outcome:
    report = execute(plan, seen, world, timeout)
    if report.failed is None:
        return Outcome(plan, tuple(report.ready))
    if report.failed.prepares:
        return Outcome(plan, tuple(report.ready), report.failed.name, report.error)
    return _go_back(plan, seen, report, world)


def _go_back(plan: Plan, seen: Observed, report: Report, world: World) -> Outcome:
    """Brings back what the failed rollout had stopped (invariant 4). Rollouts that had succeeded stay."""
    failed = report.failed.name if report.failed else ""
    up = {one.name for one in report.ready}
    back = history.fallback([name for name in report.stopped if name not in up], seen)
    outcome = Outcome(plan, tuple(report.ready), failed, report.error)
    if back:
        world.events.say(f"{failed} failed; bringing back {', '.join(one.name for one in back)}")
    try:
        now = observe(world, back)
        again = execute(recover(failed, back, now), now, world)
    except Interrupted:
        raise
    except OrchError as error:
        return _with(outcome, (), error)
    return _with(outcome, tuple(one.name for one in again.ready), again.error)


def _with(outcome: Outcome, restored: tuple[str, ...], error: OrchError | None) -> Outcome:
    return Outcome(outcome.plan, outcome.ready, outcome.failed, outcome.error, restored, error)


def _stopped_names(plan: Plan) -> set[str]:
    return {step.change.instance.name for step in plan.steps if isinstance(step.change, Stop)}
