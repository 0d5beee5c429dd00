"""`orch validate`: files only. No GPU, no network, no state, no process."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.errors import OrchError


def validate(
    paths: options.Paths = None,
    together: Annotated[bool, typer.Option("--together", help="Also as one set: ports and pinned GPUs.")] = False,
    given: options.Set = None,
    root: options.Root = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Check profiles and their environments; every mistake is named with file, line and column."""
    import os
    from pathlib import Path

    from orchestrator.errors import OrchError, Problems
    from orchestrator.find import project_root
    from orchestrator.load import clashes, load_set

    base = project_root(paths or (), root, str(Path.cwd()))
    errors: list[OrchError] = []
    checked: list[str] = []
    try:
        profiles, environments = load_set(paths or [str(base / "profiles")], base, os.environ, given or ())
        checked = [one.source.file for one in profiles] + [one.source.file for one in environments.values()]
        errors += clashes(profiles) if together else []
    except Problems as problems:
        errors += problems.errors
    except OrchError as error:
        errors.append(error)
    _print(errors, checked, output)
    return 1 if errors else 0


def _print(errors: "list[OrchError]", checked: list[str], output: options.Output) -> None:
    if output is options.Output.JSON:
        from orchestrator.render import document

        found = [{"at": one.at, "what": one.what, "why": one.why, "do": one.do} for one in errors]
        typer.echo(document({"version": 1, "valid": not errors, "files": checked, "errors": found}))
        return
    for one in errors:
        typer.echo(f"orch: {one}", err=True)
    if not errors:
        typer.echo(f"{len(checked)} files are valid: {', '.join(checked)}")
