"""`orch plan`: what `apply` would do, read-only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.cli.context import Context
    from orchestrator.controller import Planner
    from orchestrator.model import Deployment


def plan(
    paths: options.Paths = None,
    detailed: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there is something to change.")
    ] = False,
    prune: options.Prune = False,
    replace: options.Replace = None,
    given: options.Set = None,
    unpin: options.Unpin = False,
    refresh: options.Refresh = False,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="ENV", help="Plan for the host that this environment declares, as if nothing ran there."
        ),
    ] = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Show what `apply` would do."""
    from orchestrator.cli import changes
    from orchestrator.cli.context import context
    from orchestrator.controller import look

    here = context(root, state_dir, paths or ())
    if host is not None:
        return _elsewhere(here, paths or (), given or (), host, output, detailed=detailed)
    desired = here.desired(paths or (), here.eyes, given or (), refresh=refresh)
    if not desired:
        return changes.nothing(here, output)
    found = look(planner(desired, prune=prune, replace=replace or (), unpin=unpin), desired, here.eyes)
    changes.show(found, here, output)
    blocked = changes.out_of_reach(found)
    if detailed and not found.empty:
        return 2
    return 1 if blocked else 0


def _elsewhere(
    here: "Context",
    paths: Sequence[str],
    given: Sequence[str],
    host: str,
    output: options.Output,
    *,
    detailed: bool,
) -> int:
    """Reads files and nothing else: no state, no secret, no process, no network."""
    from orchestrator.cli import changes
    from orchestrator.declared import observed
    from orchestrator.errors import UsageProblem
    from orchestrator.resolve import resolve

    if not paths:
        raise UsageProblem("plan for another host", "no PATH says what", "name the profiles")
    profiles, environments = here.load(paths, given)
    desired = [resolve(one, environments[one.environment], {}, tuple(given)) for one in profiles]
    found = planner(desired, prune=False, replace=(), unpin=False)(observed(desired, here.environment(host)))
    changes.show(found, here, output)
    return 2 if detailed and not found.empty else 0


def planner(desired: "Sequence[Deployment]", *, prune: bool, replace: Sequence[str], unpin: bool) -> "Planner":
    from orchestrator.reconcile import Options, reconcile

    chosen = Options(prune=prune, replace=tuple(replace), unpin=unpin)
    return lambda seen: reconcile(desired, seen, chosen)


def seconds(text: str | None) -> float | None:
    from orchestrator.errors import UsageProblem
    from orchestrator.units import parse_duration

    try:
        found = parse_duration(text) if text is not None else None
        if found == 0:
            raise ValueError("nothing is ready in no time")
        return found
    except ValueError as error:
        raise UsageProblem(f"use --timeout {text}", str(error), "write it as 10m or 90s") from None
