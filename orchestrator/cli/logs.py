"""`orch logs`: what the engine wrote."""

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from orchestrator.cli import options


def logs(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A deployment.", autocompletion=options.complete_name)
    ] = None,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="Of the start before the last.")] = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Print the engine's log."""
    from orchestrator.cli.context import context
    from orchestrator.cli.deployed import choose
    from orchestrator.logfiles import follow, whole

    here = context(root, state_dir)
    chosen = choose([name] if name else [], here.eyes)[0]
    record = here.eyes.state.records().get(chosen)
    if record and record.attempt and record.attempt.adopted and not previous:
        log = _elsewhere(chosen, record.attempt.log)
    else:
        log = _choose(chosen, here.eyes.state.logs(chosen), previous)
    if following:
        for chunk in follow(log, Event()):
            typer.echo(chunk, nl=False)
    else:
        typer.echo(whole(log), nl=False)
    return 0


def _elsewhere(name: str, log: str) -> Path:
    """Of an adopted engine: the file that its starter had it write to."""
    from orchestrator.errors import InputError

    if log and Path(log).is_file():
        return Path(log)
    why = f"its starter had it write to {log}, which is gone" if log else "it writes where it was started, to no file"
    raise InputError(f"show the log of {name}", why, f"`orch restart {name}` gives it a log of orch's")


def _choose(name: str, kept: Sequence[Path], previous: bool) -> Path:
    from orchestrator.errors import InputError

    wanted = 2 if previous else 1
    if len(kept) < wanted:
        why = "only one is kept" if kept else "none is kept"
        raise InputError(f"show the {'previous ' if previous else ''}log of {name}", why, "see `orch status`")
    return kept[-wanted]
