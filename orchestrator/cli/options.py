"""The options that several verbs share, in one wording."""

from enum import StrEnum
from typing import Annotated

import typer


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


class Report(StrEnum):
    """The forms of what `orch validate` found."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"
    JUNIT = "junit"


def complete_name(incomplete: str) -> list[str]:
    """Names for the shell's completion: what is deployed here, and the profiles' files."""
    from orchestrator.cli.context import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


Root = Annotated[str | None, typer.Option("--root", metavar="DIR", help="The project's folder (found by itself).")]
StateDir = Annotated[
    str | None, typer.Option("--state-dir", metavar="DIR", envvar="ORCH_STATE_DIR", help="Where orch keeps its state.")
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For a person, or one JSON document.")]
Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH",
        help="Profiles: files, folders, names, or the model they serve.",
        autocompletion=complete_name,
        show_default=False,
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Deployments.", autocompletion=complete_name, show_default=False),
]
Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="A deployment; without one, the only one there is.",
        autocompletion=complete_name,
        show_default=False,
    ),
]
NamesOrOnly = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        help="Deployments; without one, the only one there is.",
        autocompletion=complete_name,
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides one field of the profiles, as serve.port=8001."),
]
Prune = Annotated[bool, typer.Option("--prune", help="Also remove this project's deployments outside the set.")]
Replace = Annotated[
    list[str] | None,
    typer.Option(
        "--replace", metavar="NAME", help="Stop this deployment in the same plan.", autocompletion=complete_name
    ),
]
Refresh = Annotated[
    bool,
    typer.Option("--refresh", help="Ask the Hub anew which commits the revisions are; else they stay as they were."),
]
Unpin = Annotated[
    bool,
    typer.Option("--unpin", help="Follow the files again after a rollback, and try again what failed before."),
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="D", help="How long to wait until it answers, as 10m.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show the engine's log while waiting.")]
