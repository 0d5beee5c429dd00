"""`orch validate`: files only. No GPU, no network, no state, no process."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from orchestrator.errors import OrchError
    from orchestrator.model import Environment, Notice, Profile

    Checked = Mapping[str, tuple[Notice, ...]]  # a good file, and what it is warned about


def validate(
    paths: options.Paths = None,
    together: Annotated[bool, typer.Option("--together", help="Also as one set: ports and GPUs.")] = False,
    given: options.Set = None,
    root: options.Root = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Check the files, and nothing but the files.

    Every mistake is named with file, line and column. Needs no GPU, no network and no state."""
    from functools import partial
    from pathlib import Path

    from orchestrator.project import project_root

    base = project_root(paths or (), root, str(Path.cwd()))
    chosen = [file for path in paths or [str(base / "profiles")] for file in _files(path)]
    profiles = [path for path in chosen if not _is_environment(path)]
    errors: list[OrchError] = []
    checked: dict[str, tuple[Notice, ...]] = {}
    for path in chosen:
        if _is_environment(path):
            _gather(partial(_environment, path), checked, errors)
    if profiles:
        _gather(partial(_profiles, profiles, base, given or (), together), checked, errors)
    _print(errors, checked, output)
    return 1 if errors else 0


def _files(path: str) -> list[str]:
    """A folder called environments is the files in it: they are no profiles."""
    from pathlib import Path

    from orchestrator.find import folder_files

    here = Path(path)
    return [str(file) for file in folder_files(path)] if here.is_dir() and here.name == "environments" else [path]


def _is_environment(path: str) -> bool:
    """A file of a folder called environments; anything else is taken for a profile."""
    from pathlib import Path

    return Path(path).is_file() and Path(path).absolute().parent.name == "environments"


def _environment(path: str) -> "Checked":
    import os

    from orchestrator.load import load_environment

    found = load_environment(path, os.environ)
    return {found.source.file: found.warnings}


def _profiles(paths: "Sequence[str]", base: "Path", given: "Sequence[str]", together: bool) -> "Checked":
    import os

    from orchestrator.load import load_set

    profiles, environments = load_set(paths, base, os.environ, given)
    if together:
        _together(profiles, environments)
    files: Checked = {one.source.file: () for one in profiles}
    return {**files, **{one.source.file: one.warnings for one in environments.values()}}


def _together(profiles: "Sequence[Profile]", environments: "Mapping[str, Environment]") -> None:
    """As one set: ports, pinned GPUs, and the memory of the host that an environment declares."""
    from orchestrator.declared import crowded
    from orchestrator.errors import raise_all
    from orchestrator.load import clashes
    from orchestrator.resolve import resolve

    desired = [resolve(one, environments[one.environment], {}) for one in profiles]
    raise_all([*clashes(profiles), *(error for one in environments.values() for error in crowded(desired, one))])


def _gather(
    check: "Callable[[], Checked]", checked: "dict[str, tuple[Notice, ...]]", errors: "list[OrchError]"
) -> None:
    from orchestrator.errors import OrchError, Problems

    try:
        checked.update(check())
    except Problems as problems:
        errors += problems.errors
    except OrchError as error:
        errors.append(error)


def _print(errors: "list[OrchError]", checked: "Checked", output: options.Output) -> None:
    notices = [notice for found in checked.values() for notice in found]
    if output is options.Output.JSON:
        from orchestrator.render import document

        found = [{"at": one.at, "what": one.what, "why": one.why, "do": one.do} for one in errors]
        warned = [{"at": one.at, "what": one.what, "do": one.do} for one in notices]
        answer = {"version": 1, "valid": not errors, "files": list(checked), "errors": found, "warnings": warned}
        typer.echo(document(answer))
        return
    for one in (*errors, *notices):
        typer.echo(f"orch: {one}", err=True)
        for line in getattr(one, "tail", ()):
            typer.echo(f"  | {line}", err=True)
    if not errors:
        count = "1 file is" if len(checked) == 1 else f"{len(checked)} files are"
        typer.echo(f"{count} valid: {', '.join(checked)}")
