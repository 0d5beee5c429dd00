"""`orch validate`: files only. No GPU, no network, no state, no process but more of this one."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.rehearsal import Rehearsal
    from orchestrator.verdicts import Verdict, Where


def validate(
    paths: options.Paths = None,
    together: Annotated[bool, typer.Option("--together", help="Also as one set: ports and GPUs.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Take every warning for an error.")] = False,
    engine: Annotated[
        str | None,
        typer.Option("--engine", metavar="VERSION", help="Against this version of vLLM, as vllm==0.33.0: a rehearsal."),
    ] = None,
    given: options.Set = None,
    root: options.Root = None,
    output: Annotated[
        options.Report, typer.Option("--output", "-o", help="For a person, or what a CI reads.")
    ] = options.Report.TEXT,
) -> int:
    """Check the files, and nothing but the files.

    Every mistake is named with file, line and column. Needs no GPU, no network and no state."""
    import os
    from pathlib import Path

    from orchestrator import verdicts
    from orchestrator.project import project_root
    from orchestrator.validation import Question, validate

    base = project_root(paths or (), root, str(Path.cwd()))
    variables = dict(os.environ)  # thousands of look-ups in os.environ itself take as long as reading the files
    judge = _rehearsal(engine, variables).findings
    question = Question(base, variables, given or (), judge, together=together)
    found = validate(paths or [str(base / "profiles")], question)
    if strict:
        found = verdicts.strict(found)
    _print(found, output)
    return 0 if verdicts.valid(found) else 1


def _rehearsal(engine: str | None, variables: "Mapping[str, str]") -> "Rehearsal":
    from orchestrator.cli.homes import runtime_reader
    from orchestrator.engine_data import shipped
    from orchestrator.rehearsal import Rehearsal, asked_for

    given = asked_for(engine, shipped()) if engine else ""
    reader = runtime_reader(variables)
    return Rehearsal(reader, reader.told, variables, given)


def _print(found: "Sequence[Verdict]", output: options.Report) -> None:
    from orchestrator import __version__, verdicts

    if output in (options.Report.JSON, options.Report.SARIF):
        from orchestrator.render import document

        as_json = output is options.Report.JSON
        made = verdicts.as_json(found) if as_json else verdicts.as_sarif(found, _in_repository(), __version__)
        _echo(document(made))
    elif output is options.Report.JUNIT:
        _echo(verdicts.as_junit(found, _in_repository()))
    else:
        github = output is options.Report.GITHUB
        for line in verdicts.as_github(found, _in_repository()) if github else ():
            _echo(line)
        for line in () if github else verdicts.complaints(found):
            _echo(line if line.startswith("  | ") else f"orch: {line}", err=True)
        if verdicts.valid(found):
            _echo(verdicts.praise(found))


def _echo(text: str, *, err: bool = False) -> None:
    """A file's name may hold what is no text."""
    typer.echo(text.encode("utf-8", "backslashreplace").decode(), err=err)


def _in_repository() -> "Where":
    """By the nearest folder around this one that git or GitHub takes for the repository's."""
    import os
    from pathlib import Path

    here = Path.cwd()
    given = os.environ.get("GITHUB_WORKSPACE", "")
    around = [one for one in (here, *here.parents) if (one / ".git").exists() or str(one) == given.rstrip("/")]
    top = around[0] if around else here

    def where(file: str) -> str:
        full = here / file
        return str(full.relative_to(top)) if full.is_relative_to(top) else str(full)

    return where
