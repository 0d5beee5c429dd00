"""`orch gc`: what orch left behind on this host."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.cli.context import Context
    from orchestrator.garbage import Done, Garbage
    from orchestrator.leftovers.sweep import Sweep, Weighed


def gc(
    yes: options.Yes = False,
    parts: Annotated[
        bool, typer.Option("--parts", help="Also unfinished downloads that a deployment would go on with.")
    ] = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """List what orch left behind, and remove it.

    Processes whose API server is gone, runtimes and logs that nothing uses any more, unfinished downloads, links to
    libcuda: of all your projects. Nothing that orch did not make. Without a terminal it is removed only with --yes."""
    from orchestrator.cli.context import context
    from orchestrator.errors import Declined
    from orchestrator.garbage import done_text, find, garbage_json, garbage_text, notes
    from orchestrator.render import document

    here = context(root, state_dir)
    sweep = _sweep(here)
    facts = sweep.look()
    found = sweep.measured(find(facts, parts=parts))
    as_json = output is options.Output.JSON
    for line in notes(facts):
        typer.echo(f"orch: {line}", err=True)
    if not as_json:
        typer.echo(garbage_text(found))
    going = [one for one in found if not one.kept]
    if going and not yes and not as_json:
        if not sys.stdin.isatty():
            typer.echo("add --yes to remove them")
        elif not (yes := typer.confirm("Remove them?")):
            raise Declined("go on", "it was declined", "nothing was removed")
    done = _remove(here, sweep, going, parts=parts) if going and yes else ()
    if as_json:
        typer.echo(document(garbage_json(found, done, notes(facts))))
    elif text := done_text(done):
        typer.echo(text)
    for error in dict.fromkeys(one.error for one in done if one.error):
        typer.echo(f"orch: {error}", err=True)
    return 1 if any(one.error for one in done) else 0


def _remove(here: "Context", sweep: "Sweep", going: "Sequence[Garbage]", *, parts: bool) -> "tuple[Done, ...]":
    from orchestrator.cli.events import Console

    console = Console()
    try:
        return tuple(sweep.remove(going, here.world(console).target, console.progress, parts=parts))
    finally:
        console.close()


def _sweep(here: "Context") -> "Sweep":
    from orchestrator.cuda.mender import CudaReader
    from orchestrator.hub.store import HubReader
    from orchestrator.leftovers.sweep import Sources, Sweep
    from orchestrator.runtimes.catalogue import RuntimeReader

    eyes = here.eyes
    # What is asked for here is where they keep their things, of which their ports say nothing.
    assert isinstance(eyes.runtimes, RuntimeReader)
    assert isinstance(eyes.weights, HubReader)
    assert isinstance(eyes.cuda, CudaReader)
    return Sweep(
        Sources(
            eyes.state.project,
            here.root,
            here.state_dir,
            eyes.runtimes.data_dir,
            eyes.cuda.home,
            eyes.weights.memory,
            eyes.target,
            eyes.clock,
            os.environ,
            lambda roots: _weigh(here, roots),
        )
    )


def _weigh(here: "Context", roots: "Sequence[Path]") -> "Weighed":
    """Who uses weights in any project; the caches are those that this project's environments name."""
    from pathlib import Path

    from orchestrator.cli.bare import environments
    from orchestrator.cli.context import Context
    from orchestrator.cli.uses import usage
    from orchestrator.leftovers.sweep import Weighed
    from orchestrator.model import ModelRef, Profile
    from orchestrator.resolve import resolve

    mine = [resolve(Profile("", one.name, ModelRef()), one, {}).spec for one in environments(here, os.environ)]
    projects = [Context(Path(root), here.state_dir) for root in dict.fromkeys(os.path.realpath(one) for one in roots)]
    found = [usage(one, None) for one in projects]
    return Weighed(
        tuple(user for one in found for user in one.users),
        tuple(sorted({here.eyes.weights.cache(one) for one in mine})),
        tuple(file for one in found for file in one.unread),
    )
