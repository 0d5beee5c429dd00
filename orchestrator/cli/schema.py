"""`orch schema`: the JSON Schema of a file kind, for reading, and for an editor that completes and checks."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from pathlib import Path


class FileKind(StrEnum):
    PROFILE = "profile"
    ENVIRONMENT = "environment"


def schema(
    kind: Annotated[FileKind | None, typer.Argument(help="Of which file.", show_default=False)] = None,
    vscode: Annotated[
        bool, typer.Option("--vscode", help="Set up Visual Studio Code for this project instead: .vscode/.")
    ] = False,
    root: options.Root = None,
) -> int:
    """Print a file's JSON Schema."""
    from orchestrator.errors import UsageProblem
    from orchestrator.load import schema_text

    if (kind is None) is not vscode:
        raise UsageProblem("print a schema", "it takes either a kind or --vscode", "`orch schema profile`")
    if kind is None:
        return _vscode(root)
    typer.echo(schema_text(kind.value), nl=False)
    return 0


def _vscode(root: str | None) -> int:
    """Writes what is not there; what somebody wrote, with comments maybe, is left to them."""
    import json
    from pathlib import Path

    from orchestrator.find import display
    from orchestrator.project import project_root

    base = project_root((), root, str(Path.cwd()))
    wanted = {f"./{_published(base, kind)}": [f"{kind}s/*.yaml", f"{kind}s/*.yml"] for kind in FileKind}
    entries = json.dumps({"yaml.schemas": wanted}, indent=2)
    settings = base / ".vscode" / "settings.json"
    if not settings.exists():
        settings.parent.mkdir(exist_ok=True)
        settings.write_text(f"{entries}\n", "utf-8")
        typer.echo(f"{display(settings)} is written; it takes the extension redhat.vscode-yaml")
    elif _has(settings, wanted):
        typer.echo(f"{display(settings)} has it already")
    else:
        typer.echo(f"{display(settings)} is yours and was not changed; add this to it:", err=True)
        typer.echo(entries)
    return 0


def _published(root: "Path", kind: FileKind) -> str:
    """Where in the project its schema is, from the root; a copy in .vscode/ if the project has none of its own."""
    from orchestrator.load import schema_text
    from orchestrator.scaffold import SCHEMAS

    own = (place for place in SCHEMAS if place != ".vscode")
    name = f"{kind}.schema.json"
    if place := next((place for place in own if (root / place / name).is_file()), None):
        return f"{place}/{name}"
    (root / ".vscode").mkdir(exist_ok=True)
    (root / ".vscode" / name).write_text(schema_text(kind.value), "utf-8")
    return f".vscode/{name}"


def _has(settings: "Path", wanted: dict[str, list[str]]) -> bool:
    from orchestrator.files import read_json

    known = (read_json(settings) or {}).get("yaml.schemas")
    return isinstance(known, dict) and wanted.items() <= known.items()
