"""What the changing verbs have in common: show the plan, ask, take the turn, say how it ended."""

import sys
from collections.abc import Sequence

import typer

from orchestrator import supervision
from orchestrator.cli.context import Context
from orchestrator.cli.events import Console
from orchestrator.cli.options import Output
from orchestrator.controller import Outcome, Planner, look, turn, unfetchable
from orchestrator.engines import vllm
from orchestrator.errors import Declined, Interrupted, OrchError, UsageProblem
from orchestrator.model import Deployment
from orchestrator.plan import Plan
from orchestrator.ports import World
from orchestrator.render import document, plan_json, plan_text, served_json, served_text


def show(plan: Plan, here: Context, output: Output) -> None:
    if output is Output.JSON:
        typer.echo(document(plan_json(plan, here.root.name)))
    else:
        typer.echo(plan_text(plan, here.root.name))


def nothing(here: Context, output: Output) -> int:
    """No PATH was given, and nothing is meant to run: says how to begin."""
    if output is Output.JSON:
        show(Plan(), here, output)
    if stopped := ", ".join(here.eyes.state.records()):
        typer.echo(f"All of this project is stopped on purpose ({stopped}); `orch start NAME` starts it.", err=True)
    else:
        typer.echo("Nothing is deployed in this project; begin with `orch apply profiles/NAME.yaml`.", err=True)
    return 0


def dry_run(planner: Planner, desired: Sequence[Deployment], here: Context, output: Output) -> int:
    """Carried out by a world that cannot write."""
    plan = look(planner, desired, here.eyes)
    show(plan, here, output)
    return 1 if out_of_reach(plan) else 0


def out_of_reach(plan: Plan) -> bool:
    """Whether the desired state cannot be had as things are; says of weights why, for a plan has no room for a cure."""
    unfetched = unfetchable(plan)
    for error in unfetched:
        typer.echo(f"orch: {error}", err=True)
    return bool(unfetched) or any(one.failed for one in plan.held)


def carry_out(
    planner: Planner,
    desired: Sequence[Deployment],
    here: Context,
    world: World,
    output: Output = Output.TEXT,
    *,
    ask: bool = True,
    quiet: bool = False,
    timeout: float | None = None,
) -> int:
    """``ask``: confirm first; ``quiet``: a verb whose plan needs no showing. Returns the exit status."""

    def confirm(plan: Plan) -> None:
        if output is Output.TEXT and not quiet:
            typer.echo(plan_text(plan, here.root.name))
            typer.echo()
        if ask:
            agree(output)

    try:
        outcome = turn(planner, desired, world, confirm, timeout)
    except KeyboardInterrupt:  # outside a step: while looking, asking, or waiting for another orch
        raise Interrupted("go on", "it was interrupted", "see `orch status`") from None
    finally:
        if isinstance(world.events, Console):
            world.events.close()
    if output is Output.JSON:
        typer.echo(document(_outcome_json(outcome, here)))
    elif outcome.plan.empty and not quiet:
        typer.echo(plan_text(outcome.plan, here.root.name))
    status = _close(outcome, output, quiet=quiet)
    for line in supervision.lines(world.state.watcher(), world.clock.now()) if _is_up(outcome, output, quiet) else ():
        typer.echo(line, err=True)
    return status


def _is_up(outcome: Outcome, output: Output, quiet: bool) -> bool:
    """Whether something serves, and a person reads it: then they should know who keeps it up."""
    return output is Output.TEXT and not quiet and bool(outcome.ready or outcome.plan.unchanged)


def agree(output: Output, question: str = "Carry it out?") -> None:
    """Raises Declined; UsageProblem where nobody can be asked."""
    if output is Output.JSON or not sys.stdin.isatty():
        raise UsageProblem("ask for a confirmation", "there is no terminal", "add --yes")
    if not typer.confirm(question):
        raise Declined("go on", "it was declined", "nothing was changed")


def _close(outcome: Outcome, output: Output, *, quiet: bool) -> int:
    for held in outcome.plan.held if quiet else ():
        typer.echo(f"orch: {held.name} is left as it is: {held.why}; {held.do}", err=True)
    for one in outcome.ready:
        if output is Output.TEXT:
            typer.echo(served_text(one, vllm.endpoint(one.spec).url))
    if outcome.error:
        _explain(outcome, outcome.error)
        return outcome.error.exit_code
    return 1 if any(one.failed for one in outcome.plan.held) else 0


def _explain(outcome: Outcome, error: OrchError) -> None:
    typer.echo(f"orch: {error}", err=True)
    for line in error.below:
        typer.echo(line, err=True)
    if outcome.restored:
        typer.echo(f"orch: brought back {', '.join(outcome.restored)}, which serves as before", err=True)
    if outcome.unrestored:
        typer.echo(f"orch: and what ran before does not come back: {outcome.unrestored}", err=True)


def _outcome_json(outcome: Outcome, here: Context) -> dict[str, object]:
    error = None
    if outcome.error:
        error = {"deployment": outcome.failed, "message": str(outcome.error), "detail": list(outcome.error.tail)}
    return {
        "version": 1,
        "plan": plan_json(outcome.plan, here.root.name),
        "ready": [served_json(one, vllm.endpoint(one.spec).url) for one in outcome.ready],
        "failed": error,
        "restored": list(outcome.restored),
    }
