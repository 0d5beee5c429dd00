"""Locks on cards, from the last look before a start until its engine is ready. Where a card was taken meanwhile, and
orch was left to choose, the plan is made again for another one, under the lock of that."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from orchestrator.cards import sits_on
from orchestrator.model import Deployment, Observed
from orchestrator.observe import observe
from orchestrator.plan import Clear, Plan, Start, Stop
from orchestrator.ports import World


def claimed(plan: Plan, observed: Observed) -> set[str]:
    """The cards on which the plan starts something, and those that it may have to give back."""
    changes = [step.change for step in plan.steps]
    claims = {claim for one in changes if isinstance(one, Start) and one.placement for claim in one.placement.claims}
    ending = [one.instance for one in changes if isinstance(one, Stop | Clear)]
    gpus = observed.inventory.gpus if observed.inventory else ()
    return claims | {f"GPU {gpu.index}" for gpu in gpus if any(sits_on(one, gpu) for one in ending)}


@contextmanager
def seated(
    plan: Plan,
    observed: Observed,
    planner: Callable[[Observed], Plan],
    desired: Sequence[Deployment],
    world: World,
    check: Callable[[Plan], None],
) -> Iterator[tuple[Plan, Observed]]:
    """The plan made again under the locks of the cards that it claims. ``check`` raises what it may not have become."""
    while True:
        locked = claimed(plan, observed)
        with world.state.lock((), locked, world.events):
            observed = observe(world, desired)
            plan = planner(observed)
            check(plan)
            if (now := claimed(plan, observed)) <= locked:
                yield plan, observed
                return
        world.events.say(f"another GPU is taken: {', '.join(sorted(now - locked))}")
