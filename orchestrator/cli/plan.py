"""`orch plan`: what `apply` would do, read-only."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.cli.context import Context
    from orchestrator.plan import Plan

    Keeper = Callable[..., None]  # of the arguments of plan_file.keep, from the plan on


class PlanOutput(StrEnum):
    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


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
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Also keep the plan there, for `orch apply --plan FILE`."),
    ] = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: Annotated[
        PlanOutput,
        typer.Option("--output", "-o", help="For a person, one JSON document, or a comment on a pull request."),
    ] = PlanOutput.TEXT,
) -> int:
    """Show what `apply` would do."""
    from orchestrator.cli import changes
    from orchestrator.cli.context import context
    from orchestrator.model import Observed
    from orchestrator.observe import observe
    from orchestrator.plan import Plan
    from orchestrator.reconcile import Options, reconcile

    here = context(root, state_dir, paths or ())
    keep = _keeper(here, out)
    if host is not None:
        return _elsewhere(here, paths or (), given or (), host, output, keep, detailed=detailed)
    desired = here.desired(paths or (), here.eyes, given or (), refresh=refresh, unpin=unpin)
    if not desired:
        keep(Plan(), (), Observed(), Options())
        return _nothing(here, output)
    chosen = Options(prune=prune, replace=tuple(replace or ()), unpin=unpin)
    seen = observe(here.eyes, desired)
    found = reconcile(desired, seen, chosen)
    keep(found, desired, seen, chosen)
    _show(found, here, output)
    blocked = changes.out_of_reach(found)
    if detailed and not found.empty:
        return 2
    return 1 if blocked else 0


def _elsewhere(
    here: "Context",
    paths: Sequence[str],
    given: Sequence[str],
    host: str,
    output: PlanOutput,
    keep: "Keeper",
    *,
    detailed: bool,
) -> int:
    """Reads files and nothing else: no state, no secret, no process, no network."""
    import os
    from dataclasses import replace

    from orchestrator import fitting
    from orchestrator.cli.homes import runtime_reader
    from orchestrator.declared import observed
    from orchestrator.errors import UsageProblem
    from orchestrator.reconcile import Options, reconcile
    from orchestrator.rehearsal import Rehearsal
    from orchestrator.resolve import resolve

    if not paths:
        raise UsageProblem("plan for another host", "no PATH says what", "name the profiles")
    profiles, environments = here.load(paths, given)
    written = [(resolve(one, environments[one.environment], {}, tuple(given)), one.environment) for one in profiles]
    here.warn_of_gaps((one, environments[name]) for one, name in written)
    environment, weights = here.environment(host), here.eyes.weights
    desired = [fitting.settled_elsewhere(here.at_lock(one), environment, weights) for one, _ in written]
    seen = observed(desired, environment)
    reader = runtime_reader(os.environ)
    judge = Rehearsal(reader, reader.told, os.environ)
    for one in desired:
        engine = judge.known(environments[one.environment]).engine
        seen = replace(seen, fits={**seen.fits, **fitting.elsewhere(weights, [one], environment, engine)})
    found = reconcile(desired, seen)
    keep(found, desired, seen, Options(), environment.name)
    _show(found, here, output, environment.name)
    return 2 if detailed and not found.empty else 0


def _keeper(here: "Context", file: str | None) -> "Keeper":
    """Keeps a plan in the file, if one is named; says at once what stands against that."""
    if file is None:
        return lambda *_: None
    from orchestrator.cli import plan_file

    plan_file.check_place(file)
    return partial(plan_file.keep, file, here)


def _show(found: "Plan", here: "Context", output: PlanOutput, host: str = "") -> None:
    from orchestrator.cli import changes

    if output is PlanOutput.MARKDOWN:
        from orchestrator.markdown import markdown

        typer.echo(markdown(found, here.root.name, host))
    else:
        changes.show(found, here, options.Output(output.value))


def _nothing(here: "Context", output: PlanOutput) -> int:
    from orchestrator.cli import changes
    from orchestrator.plan import Plan

    if output is not PlanOutput.TEXT:
        _show(Plan(), here, output)
    return changes.nothing(here, options.Output.TEXT)


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
