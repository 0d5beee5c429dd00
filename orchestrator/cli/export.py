"""`orch export`: what orch starts an engine with, for a person who runs it without orch."""

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.cli.context import Context
    from orchestrator.model import Deployment, Instance, RuntimeInfo


class Format(StrEnum):
    ENV = "env"
    SCRIPT = "script"


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH",
            help="A deployment, as it was started; or a profile, as its files say.",
            autocompletion=options.complete_name,
        ),
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="script: environment and command, to be run. env: `export NAME=value` lines to be sourced.",
        ),
    ] = Format.SCRIPT,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Print how the engine is started, as a shell script.

    With the same environment and command as orch starts it with, to be run without orch by bash. Secrets are in it by
    name alone."""
    from orchestrator.cli.context import context
    from orchestrator.engines import vllm
    from orchestrator.environ import unmarked
    from orchestrator.export import Export, env_text, script_text
    from orchestrator.model import Placement

    here = context(root, state_dir, [name])
    wanted, instance = _wanted(here, name)
    info = _runtime(here, wanted)
    placement = Placement(instance.gpus) if instance and instance.gpus else None
    made = Export(
        wanted,
        vllm.argv(wanted.spec, info, here.eyes.weights.model_file(wanted), here.eyes.runtimes.engine(info)),
        unmarked({}, info, wanted.spec, placement, here.eyes.cuda.in_force(wanted)),
        f"{info.engine} {info.version}",
        placed=placement is not None,
    )
    typer.echo(env_text(made) if form is Format.ENV else script_text(made))
    return 0


def _wanted(here: "Context", name: str) -> "tuple[Deployment, Instance | None]":
    """With its living instance, if it has one that was started from just this."""
    from contextlib import suppress

    from orchestrator.cli.deployed import choose
    from orchestrator.errors import InputError, UsageProblem

    if not os.path.exists(name):  # noqa: PTH110 (pathlib's may raise)
        with suppress(InputError):
            name = choose([name], here.eyes)[0]
            if found := _started(here, name):
                return found
    profiles, _ = here.load([name])
    if len(profiles) != 1:
        names = ", ".join(one.name for one in profiles)
        raise UsageProblem(f"export {name}", f"it names several profiles ({names})", "give one")
    return here.desired([name], here.eyes, unpin=True)[0], None


def _started(here: "Context", name: str) -> "tuple[Deployment, Instance | None] | None":
    """What runs, or ran last; None where no record tells."""
    from orchestrator.history import attempts

    eyes = here.eyes
    record = eyes.state.records().get(name)
    if record is None:
        return None
    attempt, project = record.attempt, eyes.state.project
    listed = eyes.target.list(project, attempts(project, [record]))
    living = next((one for one in listed if attempt and one.leader and one.marker.attempt == attempt.id), None)
    if attempt and living:
        return attempt.deployment, living
    known = record.revision or attempt
    return (known.deployment, None) if known else None


def _runtime(here: "Context", wanted: "Deployment") -> "RuntimeInfo":
    from orchestrator.cli.events import Console
    from orchestrator.errors import RuntimeFailure

    spec = wanted.spec.runtime
    state = here.eyes.runtimes.state(spec)
    if state.info:
        return state.info
    if state.status == "buildable":
        do = f"`orch apply {wanted.name}` builds it"
        raise RuntimeFailure(f"export {wanted.name}", f"its runtime ({spec.label}) is {state.why}", do)
    # One of the user's that nobody looked into yet: that takes its Python a moment, and changes nothing of it.
    console = Console()
    try:
        return here.world(console).runtimes.ensure(spec, console.progress)
    finally:
        console.close()
