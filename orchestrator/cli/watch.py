"""`orch watch`: keeps it so."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.cli.context import Context
    from orchestrator.model import Deployment
    from orchestrator.ports import Eyes, World


def watch(
    paths: options.Paths = None,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Say what would be done; change nothing.")] = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Keep it so.

    Starts again what crashes or hangs, as `restart` of its profile says, and applies what changes in the files once
    they are valid. Without a PATH, for all that this project has deployed. Ends with Ctrl-C; what runs goes on."""
    import os

    from orchestrator.cli.context import context
    from orchestrator.cli.timed import Timed
    from orchestrator.proc import unit
    from orchestrator.render import plan_text
    from orchestrator.watch import Charge, Watch

    here = context(root, state_dir, paths or ())
    charge = Charge(
        eyes=here.eyes,
        world=lambda: _world(here),
        wanted=lambda eyes: _wanted(paths or (), here, eyes),
        folders=_folders(paths or (), here),
        folder=here.eyes.state.folder,
        paths=tuple(paths or ()),
        say=Timed().say,
        text=lambda plan: plan_text(plan, here.root.name),
        plans_only=plan_only,
        unit=unit(os.environ),
    )
    return Watch(charge).run()


def _world(here: "Context") -> "World":
    from dataclasses import replace

    from orchestrator.cli.timed import Timed

    return replace(here.world(Timed()), by="watch")


def _wanted(paths: "Sequence[str]", here: "Context", eyes: "Eyes") -> "tuple[Deployment, ...]":
    """Raises what `orch validate` says of the files: one that is being edited must not stop anything."""
    import os

    from orchestrator.cli.homes import runtime_reader
    from orchestrator.errors import raise_all
    from orchestrator.rehearsal import Rehearsal
    from orchestrator.validation import Question, validate

    files = paths or here.deployed_files(eyes)
    variables = dict(os.environ)
    reader = runtime_reader(variables)
    found = validate(files, Question(here.root, variables, judge=Rehearsal(reader, reader.told, variables).findings))
    raise_all(error for verdict in found for error in verdict.errors)
    return here.desired(paths, eyes)


def _folders(paths: "Sequence[str]", here: "Context") -> "set[Path]":
    """Where files of the project are, or may come to be."""
    from pathlib import Path

    named = {place if place.is_dir() else place.parent for place in map(Path, paths)}
    return {here.root, here.root / "profiles", here.root / "environments", *named}
