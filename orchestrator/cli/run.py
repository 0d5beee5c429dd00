"""`orch run`: in the foreground, as the engine's parent."""

from dataclasses import replace
from typing import Annotated

import typer

from orchestrator.cli import options


def run(
    path: Annotated[str, typer.Argument(metavar="PATH", help="One profile.", autocompletion=options.complete_name)],
    given: options.Set = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Run in the foreground.

    As the engine's parent: hands signals on, and exits with the engine's own status."""
    from orchestrator import foreground
    from orchestrator.cli.context import context
    from orchestrator.cli.events import Console
    from orchestrator.errors import UsageProblem

    here = context(root, state_dir, [path])
    console = Console()
    world = here.world(console)
    profiles, _ = here.load([path], given or ())
    if len(profiles) != 1:
        names = ", ".join(one.name for one in profiles)
        raise UsageProblem(f"run {path}", f"it names several profiles ({names})", "give one")
    wanted = here.desired([path], world, given or (), unpin=True)[0]  # a pin is of what `apply` starts
    wanted = replace(wanted, spec=replace(wanted.spec, backend="local"))  # it is this process's child, or nothing
    try:
        return foreground.run(wanted, world)
    finally:
        console.close()
