"""`orch models`: the weights on this disk; `rm` deletes some, `adopt` takes a flat folder into the cache."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.cached import Found
    from orchestrator.cli.context import Context
    from orchestrator.cli.uses import Usage
    from orchestrator.model import Deployment

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

Where = Annotated[
    str | None,
    typer.Option("--environment", "-e", metavar="NAME", help="Only the cache of this environment."),
]


@app.callback()
def models(
    context: typer.Context,
    environment: Where = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Show the weights on this disk.

    Every commit in the Hub's caches of yours and of the project's environments, and flat folders with a model: how
    large, complete or not, and who uses it."""
    if context.invoked_subcommand:
        _refuse_early_options(context)
        return 0
    from orchestrator.cli.context import context as project
    from orchestrator.models_table import models_json, models_text
    from orchestrator.render import document

    here = project(root, state_dir)
    usage, found = _look(here, environment)
    now = here.eyes.clock.now()
    if output is options.Output.JSON:
        typer.echo(document(models_json(found, usage.users, now)))
    else:
        typer.echo(models_text(found, usage.users, now))
    return 0


@app.command("rm")
def remove(
    repos: Annotated[
        list[str],
        typer.Argument(metavar="REPO[@REVISION]", help="As `orch models` lists it; a commit's first digits will do."),
    ],
    yes: options.Yes = False,
    environment: Where = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Delete weights from the Hub's cache.

    Of every cache that `orch models` looks into. Shows first what would go and what that frees: files that another
    commit has, too, stay. What a running deployment was started from is not deleted."""
    from orchestrator.cli.changes import agree
    from orchestrator.cli.context import context as project
    from orchestrator.cli.events import Console
    from orchestrator.errors import raise_all
    from orchestrator.removal import question_text, refusals, removed_text, targets

    here = project(root, state_dir)
    world = here.world(Console())
    usage, found = _look(here, environment)
    chosen = targets(repos, found)
    raise_all(refusals(chosen, usage.users, found))
    planned = [(one, world.weights.removal(one.cache, one.repo, one.commits)) for one in chosen]
    typer.echo(question_text(planned, usage.users, found))
    if not yes:
        agree(options.Output.TEXT, "Delete it?")
        usage, found = _look(here, environment)  # the answer may have taken its time
        raise_all(refusals(chosen, usage.users, found))
    for one in chosen:
        typer.echo(removed_text(one, world.weights.remove(one.cache, one.repo, one.commits)))
    return 0


@app.command("adopt")
def adopt(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder made by `hf download --local-dir`.")],
    repo: Annotated[
        str | None,
        typer.Option("--repo", metavar="OWNER/NAME", help="Whose files these are, if its name does not tell."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="REV", help="Of which branch, tag or commit.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", metavar="NAME", help="Into whose cache.")
    ] = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Take a flat folder into the Hub's cache.

    By hard links: nothing is fetched, no disk is used, and the folder stays as it is. Each file is compared with the
    Hub's; what differs is left out. A folder can also be served where it is, by `model.path` in a profile."""
    from orchestrator.cli.context import context as project
    from orchestrator.cli.events import Console
    from orchestrator.errors import Interrupted
    from orchestrator.models_table import adopted_text

    here, console, top = project(root, state_dir), Console(), _flat(folder)
    world = here.world(console)
    try:
        done = world.weights.adopt(_wanted(here, top, repo, revision, environment), top, console)
    except KeyboardInterrupt:
        raise Interrupted("finish", "interrupted", "the folder is as it was; run it again") from None
    finally:
        console.close()
    typer.echo(adopted_text(done, environment))
    return 0


def _refuse_early_options(context: typer.Context) -> None:
    """They would be lost: each verb has its own."""
    from orchestrator.errors import UsageProblem

    sources = {name: context.get_parameter_source(name) for name in context.params}
    for name, source in sources.items():
        if source is not None and source.name == "COMMANDLINE":
            what = f"use --{name.replace('_', '-')} there"
            raise UsageProblem(what, f"it stands before {context.invoked_subcommand}", "write it behind")


def _look(here: "Context", environment: str | None) -> "tuple[Usage, Found]":
    from orchestrator.cli.uses import usage

    found = usage(here, environment)
    for file in found.unread:
        typer.echo(f"orch: {file} does not load, so what it uses is not shown; see `orch validate`", err=True)
    return found, here.eyes.weights.cached(found.specs, found.users)


def _flat(folder: str) -> "Path":
    from pathlib import Path

    from orchestrator.errors import InputError

    top = Path(folder).absolute()
    if not top.is_dir():
        raise InputError(f"adopt {folder}", "there is no such folder")
    if (top / "snapshots").is_dir():
        raise InputError(f"adopt {folder}", "it is in the Hub's cache already", "see `orch models`")
    return top


def _wanted(
    here: "Context", top: "Path", repo: str | None, revision: str | None, environment: str | None
) -> "Deployment":
    import os

    from orchestrator.checks import is_repo
    from orchestrator.cli.bare import bare
    from orchestrator.errors import InputError
    from orchestrator.hub.flat import repo_of

    name = repo or repo_of(top)
    if not name:
        raise InputError(f"adopt {top}", "its name does not tell whose files these are", "add --repo OWNER/NAME")
    if not is_repo(name):
        raise InputError(f"adopt {top}", f"{name} is no repository's name", "write --repo OWNER/NAME")
    return bare(here, name, revision, environment, os.environ)
