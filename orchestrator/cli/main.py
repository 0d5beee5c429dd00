"""The command line: one verb a file. Here are the list of verbs and the one place where errors become messages and
exit statuses. Whatever a verb needs beyond typer is imported when it runs: `orch --version` pays for typer alone."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli import (
    adopt,
    apply,
    doctor,
    engine,
    explain,
    export,
    gc,
    gpus,
    history,
    init,
    inspect,
    lifecycle,
    lock,
    logs,
    models,
    plan,
    pull,
    rollback,
    run,
    schema,
    service,
    status,
    validate,
    watch,
)
from orchestrator.errors import OrchError

app = typer.Typer(
    name="orch",
    help="Declarative deployment of vLLM: one YAML file serves a model.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(64)


app.command("validate")(validate.validate)
app.command("plan")(plan.plan)
app.command("apply")(apply.apply)
app.command("status")(status.status)
app.command("inspect")(inspect.inspect)
app.command("pull")(pull.pull)
app.add_typer(models.app, name="models")
app.add_typer(engine.app, name="engine")
app.add_typer(service.app, name="service")
app.command("logs")(logs.logs)
app.command("explain")(explain.explain)
app.command("stop")(lifecycle.stop)
app.command("start")(lifecycle.start)
app.command("restart")(lifecycle.restart)
app.command("delete")(lifecycle.delete)
app.command("history")(history.history)
app.command("rollback")(rollback.rollback)
app.command("run")(run.run)
app.command("watch")(watch.watch)
app.command("doctor")(doctor.doctor)
app.command("gc")(gc.gc)
app.command("gpus")(gpus.gpus)
app.command("export")(export.export)
app.command("lock")(lock.lock)
app.command("init")(init.init)
app.command("adopt")(adopt.adopt)
app.command("schema")(schema.schema)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status of the contract; never a traceback for what a person can cause."""
    try:
        return int(app(args=list(argv) if argv is not None else None, standalone_mode=False) or 0)
    except OrchError as error:
        _show(error)
        return error.exit_code
    except typer.Exit as ending:
        return ending.exit_code
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("orch: interrupted", err=True)
        return 130
    except typer.TyperException as error:
        # The base of everything the parser raises about the words on the command line.
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        typer.echo(f"orch: cannot understand the command: {message.rstrip('.')}; see `orch --help`", err=True)
        return 64
    except BrokenPipeError:
        # The reader went away (`orch plan | head`): nothing is wrong, and nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        typer.echo(f"orch: cannot go on: {error.strerror or error}{where}", err=True)
        return 1


def _show(error: OrchError) -> None:
    for line in str(error).splitlines():
        typer.echo(f"orch: {line}", err=True)
    for line in error.below:
        typer.echo(line, err=True)


if __name__ == "__main__":
    sys.exit(main())
