"""`orch service`: the watcher of a project, from boot on."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.service import Service

app = typer.Typer(help="Have systemd run `orch watch` for this project, from boot on.", no_args_is_help=True)


@app.command("install")
def install(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the unit; change nothing.")] = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Write, enable and start a systemd user unit.

    It may be repeated: the unit is written anew where something changed, and the engines go on meanwhile. It takes what
    it needs of this shell's variables, and no secret."""
    service = _service(root, state_dir)
    if dry_run:
        typer.echo(service.text(), nl=False)
        if why := service.manager.absence:
            typer.echo(f"orch: warning: it cannot be installed here: {why}", err=True)
        _warn(service)
        return 0
    watcher = service.install(lambda line: typer.echo(line, err=True))
    typer.echo(f"{service.unit} (pid {watcher.pid}) watches {service.root}, from boot on")
    _warn(service)
    return 0


@app.command("uninstall")
def uninstall(root: options.Root = None, state_dir: options.StateDir = None) -> int:
    """End the watcher and remove its unit.

    What it keeps up goes on, unwatched; and the user lingers as before, for others may need that."""
    service = _service(root, state_dir)
    done = service.uninstall()
    typer.echo(f"removed: {service.unit}; what runs goes on" if done else f"{service.unit} is not installed")
    return 0


@app.command("status")
def status(
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Show whether it is installed, and what it says.

    Exits with 3 when it is installed and does not run."""
    import time

    from orchestrator.render import document
    from orchestrator.service_text import status_json, status_text

    found = _service(root, state_dir).status()
    typer.echo(document(status_json(found)) if output is options.Output.JSON else status_text(found, time.time()))
    return 3 if found.installed and not found.active else 0


def _service(root: str | None, state_dir: str | None) -> "Service":
    import os

    from orchestrator.cli.context import context
    from orchestrator.service import Service

    here = context(root, state_dir)
    state = here.eyes.state
    variables = dict(os.environ) | ({"ORCH_STATE_DIR": str(here.state_dir)} if state_dir else {})
    return Service(state.project, here.root, state.folder, variables)


def _warn(service: "Service") -> None:
    """Of what the unit does not see, which is every secret of the shell's."""
    lines = [f"the secret {one.name}, which {one.file} takes from the variable {one.variable}" for one in service.blind]
    lines += [f"the variable {name}, whose value holds a password" for name in service.withheld]
    for line in lines:
        typer.echo(f"orch: warning: the unit does not see {line}", err=True)
    if lines:
        do = f"write NAME=VALUE into {service.secrets} (chmod 600), or `{{file: PATH}}` in the environment"
        typer.echo(f"orch: {do}; then `orch service install` again", err=True)
