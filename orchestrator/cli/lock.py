"""`orch lock`: the commits and the packages of today, kept for every day and every machine."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.cli.context import Context
    from orchestrator.hub.store import HubReader
    from orchestrator.lock_changes import Change, Wants
    from orchestrator.lockfile import Base
    from orchestrator.model import Deployment, Environment
    from orchestrator.relock import Learner, Named


def lock(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH|NAME",
            help="Profiles, and environments by their names; without one, all of the project.",
            autocompletion=options.complete_name,
            show_default=False,
        ),
    ] = None,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Move what is named, or all, to today's commits and packages.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 where the file is not what it would be.")
    ] = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Write orch.lock, beside profiles/ and environments/.

    The commit and the hashes of every model, the exact packages of every runtime that orch builds. What is missing is
    added as it is used here, what nobody names any more goes, all else stays. Where the file is there, `plan` and
    `apply` go by it."""
    from orchestrator.cli.context import context
    from orchestrator.lock_changes import absent, changes, merge, missing, unused
    from orchestrator.lock_store import base, write_lock
    from orchestrator.lockfile import EMPTY

    here = context(root, state_dir, paths or ())
    place = base(here.root, os.environ)
    before = here.lock or EMPTY
    named = _named(here, paths or (), place, alone=upgrade)
    gone = unused(before, _project(here, named, place)) if here.lock else EMPTY
    lacking = missing(before, named.wants, place.platform)
    if check and not upgrade:
        found = (*absent(lacking, place.platform), *changes(gone, EMPTY))
    else:
        wants = named.wants if upgrade else lacking
        after = merge(before, _learner(here, place).ask(named, wants.models, wants.runtimes, anew=upgrade), gone)
        found = changes(before, after)
    current = here.lock is not None and not found
    if not check and not current:
        write_lock(here.root, after)
    _show(found, output, current=current, check=check)
    return 1 if check and not current else 0


def _show(found: "Sequence[Change]", output: options.Output, *, current: bool, check: bool) -> None:
    from orchestrator.lock_changes import change_json, change_lines
    from orchestrator.render import document

    if output is options.Output.JSON:
        typer.echo(document({"version": 1, "current": current, "changes": [change_json(one) for one in found]}))
        return
    for one in found:
        typer.echo("\n".join(change_lines(one)))
    if check and not current:
        typer.echo("orch: orch.lock is not what it would be; run `orch lock` and keep what it writes", err=True)
    else:
        typer.echo("orch.lock is as it should be" if current else "orch.lock is written")


def _learner(here: "Context", place: "Base") -> "Learner":
    from orchestrator.cli.context import runtimes
    from orchestrator.cli.events import Console
    from orchestrator.relock import Learner

    return Learner(_hub(here), runtimes(dict(os.environ)), here.known(here.eyes), place, Console().progress)


def _hub(here: "Context") -> "HubReader":
    """It is asked for more than its port says."""
    from orchestrator.hub.store import HubReader

    assert isinstance(here.eyes.weights, HubReader)
    return here.eyes.weights


# --------------------------------------------------------------------------------------------------- what is named


def _named(here: "Context", words: "Sequence[str]", place: "Base", *, alone: bool) -> "Named":
    """By the words, or by all of the project's profiles. ``alone``: of profiles among the words only the models, for
    their environments have names of their own."""
    from orchestrator.cli.bare import environments as all_of_them
    from orchestrator.relock import named

    given = [here.environment(one) for one in words if _is_environment(here, one)]
    environments = given if words else all_of_them(here, os.environ)
    paths = [one for one in words if not _is_environment(here, one) or _is_profile(here, one)]
    paths = paths if words else [str(here.root / "profiles")]
    deployments, theirs = _loaded(here, paths)
    return named(deployments, [*environments, *([] if words and alone else theirs)], _hub(here), place)


def _is_environment(here: "Context", word: str) -> bool:
    file = Path(word)
    if file.is_file():
        return file.absolute().parent.name == "environments"
    return any((here.root / "environments" / f"{word}{ending}").is_file() for ending in (".yaml", ".yml"))


def _is_profile(here: "Context", word: str) -> bool:
    return any((here.root / "profiles" / f"{word}{ending}").is_file() for ending in (".yaml", ".yml"))


def _loaded(here: "Context", paths: "Sequence[str]") -> "tuple[list[Deployment], list[Environment]]":
    """Without any secret, for none is needed to know what is named."""
    from orchestrator.resolve import resolve

    profiles, environments = here.load(paths) if paths else ((), {})
    found = [here.at_lock(resolve(one, environments[one.environment], {})) for one in profiles]
    return found, list(environments.values())


def _project(here: "Context", chosen: "Named", place: "Base") -> "Wants":
    """All that any file of the project names, beside what was chosen. Of a file that does not load nobody knows: then
    all that the lock holds counts as named."""
    from orchestrator.cli.bare import environments
    from orchestrator.errors import OrchError
    from orchestrator.find import display, folder_files
    from orchestrator.lock_changes import Wants, held
    from orchestrator.relock import named

    found, unread = [], []
    for file in folder_files(here.root / "profiles"):
        try:
            found += _loaded(here, [str(file)])[0]
        except OrchError:
            unread.append(display(file))
    known = environments(here, os.environ)
    if len(known) < len(folder_files(here.root / "environments")):
        unread.append("an environment")
    whole = named(found, known, _hub(here), place).wants
    if unread and here.lock:
        whole = held(here.lock)
        typer.echo(f"orch: nothing is dropped from orch.lock: {', '.join(unread)} does not load", err=True)
    codes = whole.codes or chosen.wants.codes
    return Wants({**whole.models, **chosen.wants.models}, {**whole.runtimes, **chosen.wants.runtimes}, codes)
