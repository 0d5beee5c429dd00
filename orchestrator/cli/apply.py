"""`orch apply`: the plan, confirmed, then carried out."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.cli.context import Context
    from orchestrator.cli.plan_file import PlanFile


def apply(
    paths: options.Paths = None,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    prune: options.Prune = False,
    replace: options.Replace = None,
    given: options.Set = None,
    unpin: options.Unpin = False,
    refresh: options.Refresh = False,
    timeout: options.Timeout = None,
    follow: options.Follow = False,
    plan: Annotated[
        str | None,
        typer.Option("--plan", metavar="FILE", help="Carry out what `orch plan --out FILE` showed, or nothing."),
    ] = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Make it so.

    Shows the plan and asks; builds, fetches and checks everything; only then stops and starts. Ends with an address
    that answers. What does not come up is replaced by what served before."""
    from orchestrator.cli import changes
    from orchestrator.cli.context import context
    from orchestrator.cli.events import Console
    from orchestrator.cli.plan import seconds
    from orchestrator.errors import UsageProblem
    from orchestrator.reconcile import Options, reconcile

    chosen = Options(prune=prune, replace=tuple(replace or ()), unpin=unpin)
    if plan is not None and (paths or given or refresh or chosen != Options()):
        why = "the file says what, and how"
        raise UsageProblem("use --plan with a PATH or an option of planning", why, "leave the others out")
    here = context(root, state_dir, paths or ())
    kept = _kept(plan, here)
    world = None if dry_run else here.world(Console(follow=follow))
    eyes = world or here.eyes
    desired = kept.written(eyes) if kept else here.desired(paths or (), eyes, given or (), refresh=refresh, unpin=unpin)
    if not desired:
        return changes.nothing(here, output)
    planning = kept.planner(desired) if kept else lambda seen: reconcile(desired, seen, chosen)
    if world is None:
        return changes.dry_run(planning, desired, here, output)
    return changes.carry_out(planning, desired, here, world, output, ask=not yes, timeout=seconds(timeout))


def _kept(file: str | None, here: "Context") -> "PlanFile | None":
    from orchestrator.cli.plan_file import PlanFile

    return PlanFile.read(file, here) if file is not None else None
