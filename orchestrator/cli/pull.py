"""`orch pull`: weights, fetched and verified, whether or not anything is deployed."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.cli.context import Context
    from orchestrator.model import Deployment, Weights


def pull(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH|REPO",
            help="Profiles, or repositories on the Hub: OWNER/NAME, OWNER/NAME@REVISION.",
            autocompletion=options.complete_name,
            show_default=False,
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="REV", help="A branch, tag or commit of a REPO.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="PATTERN", help="Only these files, as '*.gguf'.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", metavar="PATTERN", help="Not these files.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hash again what was verified before.")] = False,
    refresh: options.Refresh = False,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", metavar="NAME", help="Whose cache and token, for a REPO.")
    ] = None,
    given: options.Set = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Fetch weights and verify them.

    Goes on where an interrupted pull stopped. Without PATH: for all that is deployed here."""
    from orchestrator.cli.bare import is_repo
    from orchestrator.cli.context import context
    from orchestrator.cli.events import Console
    from orchestrator.errors import Interrupted
    from orchestrator.render import document, weights_json

    here = context(root, state_dir, [path for path in paths or () if not is_repo(path)])
    if refresh:
        here.refuse_refresh()
    console = Console()
    world = here.world(console)
    wanted = _wanted(here, paths or [], revision, environment, given or ())
    known = here.known(world)
    done: list[Weights] = []
    try:
        for one in wanted:
            resolved = world.weights.resolve(one, known.get(one.name), refresh=refresh)
            found = world.weights.fetch(resolved, console, include or (), exclude or (), rehash=verify)
            done += found
            if output is options.Output.TEXT:
                console.close()
                _print(found)
    except KeyboardInterrupt:
        raise Interrupted("finish", "interrupted", "what came is kept; the same command goes on from here") from None
    finally:
        console.close()
    if output is options.Output.JSON:
        typer.echo(document({"version": 1, "weights": [weights_json(one) for one in done]}))
    elif not done:
        typer.echo(f"Nothing to fetch: {_why_nothing(wanted)}.")
    return 0


def _why_nothing(wanted: "Sequence[Deployment]") -> str:
    if wanted:
        return "no repository on the Hub is named"
    return "nothing is deployed here; name a profile, or OWNER/NAME"


def _print(found: "Sequence[Weights]") -> None:
    from orchestrator.render import complete_text

    for one in found:
        typer.echo(complete_text(one))


def _wanted(
    here: "Context", paths: "list[str]", revision: str | None, environment: str | None, given: "Sequence[str]"
) -> "list[Deployment]":
    import os

    from orchestrator.cli.bare import bare, is_repo
    from orchestrator.errors import UsageProblem

    found: list[Deployment] = []
    files = []
    for path in paths:
        repo, at, after = path.partition("@")
        if is_repo(path) and (at or revision or environment or not _served(repo, here)):
            found.append(bare(here, repo, after or revision, environment, os.environ))
        else:
            files.append(path)
    if (revision or environment) and files:
        raise UsageProblem(
            "use --revision or --environment", f"{files[0]} is a profile, which says both", "leave it out"
        )
    if files or not paths:
        found += here.written(files, here.eyes, given, quiet=False)
    return found


def _served(repo: str, here: "Context") -> bool:
    """Whether one profile of the project names it, and so says how."""
    from orchestrator.errors import InputError
    from orchestrator.find import find_files

    try:
        return bool(find_files(repo, here.root))
    except InputError:
        return False
