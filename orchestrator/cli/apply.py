"""`orch apply`: the plan, confirmed, then carried out."""

from typing import Annotated

import typer

from orchestrator.cli import options


def apply(
    paths: options.Paths = None,
    yes: options.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; change nothing.")] = False,
    prune: options.Prune = False,
    replace: options.Replace = None,
    given: options.Set = None,
    unpin: options.Unpin = False,
    refresh: options.Refresh = False,
    timeout: options.Timeout = None,
    follow: options.Follow = False,
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
    from orchestrator.cli.plan import planner, seconds

    here = context(root, state_dir, paths or ())
    world = None if dry_run else here.world(Console(follow=follow))
    desired = here.desired(paths or (), world or here.eyes, given or (), refresh=refresh)
    if not desired:
        return changes.nothing(here, output)
    planning = planner(desired, prune=prune, replace=replace or (), unpin=unpin)
    if world is None:
        return changes.dry_run(planning, desired, here, output)
    return changes.carry_out(planning, desired, here, world, output, ask=not yes, timeout=seconds(timeout))
