"""`orch init`: the first profile of a model, or the profile of what people already run."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.beginnings import Project
    from orchestrator.containers import Found
    from orchestrator.from_command import Taken
    from orchestrator.model import Environment, ModelRef
    from orchestrator.scaffold import Draft

_STDOUT = "-"


def init(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="OWNER/NAME on the Hub, with :QUANT for a GGUF, or a folder."),
    ] = None,
    variant: Annotated[
        str | None, typer.Option("--variant", metavar="V", help="Which weights: awq, fp8, gptq, gguf, bf16 and so on.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", metavar="NAME", help="Where it runs (the project's only one).")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The deployment's (of the model's).")
    ] = None,
    from_command: Annotated[
        str | None,
        typer.Option(
            "--from-command", metavar="COMMAND|FILE|-", help="Take over what a command or a script of yours starts."
        ),
    ] = None,
    from_pid: Annotated[
        int | None, typer.Option("--from-pid", metavar="PID", help="Take over what a running server was started with.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--output-file", "-f", metavar="FILE|-", help="Write there (profiles/NAME.yaml).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a profile that is there.")] = False,
    root: options.Root = None,
) -> int:
    """Write a profile: of a model, of a command, or of a running server.

    Asks no network. With --from-command and --from-pid every flag is taken over; what a profile cannot say is listed,
    and secrets are left where they are."""
    from orchestrator.beginnings import project
    from orchestrator.errors import UsageProblem
    from orchestrator.project import project_root

    if sum(one is not None for one in (model, from_command, from_pid)) != 1:
        do = "give a MODEL, --from-command or --from-pid"
        raise UsageProblem("write a profile", "it takes one thing to start from", do)
    if variant is not None and model is None:
        raise UsageProblem("use --variant", "a command says itself which weights it takes", "leave it out")
    here = project(project_root((), root, str(Path.cwd())))
    target = _Target(here, environment, name, file, force)
    if model is not None:
        _of_model(target, model, variant)
    else:
        _of_command(target, from_command, from_pid)
    return 0


class _Target:
    """Where the new files go, as far as the command line says it."""

    def __init__(
        self, here: "Project", environment: str | None, name: str | None, file: str | None, force: bool
    ) -> None:
        from orchestrator.beginnings import check_name

        for option, given in (("--name", name), ("--environment", environment)):
            if given is not None:
                check_name(given, option)
        self.here, self.name, self.file, self.force = here, name, file, force
        self.environment, self.makes_environment = _environment(here, environment)

    def place(self, derived: str) -> tuple[str, Path]:
        """The profile's name and its file. Raises InputError when something is in the way."""
        from orchestrator.beginnings import existing
        from orchestrator.errors import InputError
        from orchestrator.find import display

        name = self.name or derived
        file = Path(self.file) if self.file and self.file != _STDOUT else self.here.root / "profiles" / f"{name}.yaml"
        if self.file != _STDOUT:
            there = existing(file)
            if there is not None and not self.force:
                do = "--force replaces it" if self.name or self.file else "--force replaces it, --name gives another"
                raise InputError(f"write {display(file)}", f"{display(there)} is there already", do)
        return self.here.free_name(name, file), file

    def schema(self, kind: str, folder: Path) -> str:
        return "" if self.file == _STDOUT else self.here.schema(kind, folder.absolute())


def _environment(here: "Project", asked: str | None) -> tuple[str, bool]:
    """Its name, and whether it has to be made."""
    from orchestrator.errors import InputError, UsageProblem
    from orchestrator.findings import did_you_mean, listed

    known = here.environments
    if asked is None and len(known) > 1:
        raise UsageProblem("choose the environment", f"there is {listed(known)}", "name one with --environment")
    if asked is not None and known and asked not in known:
        do = did_you_mean(asked, known) or f"there is {listed(known)}"
        raise InputError(f"use --environment {asked}", f"there is no environments/{asked}.yaml", do)
    return asked or (known[0] if known else "default"), not known


# ------------------------------------------------------------------------------------------------------ of a model


def _of_model(target: _Target, text: str, variant: str | None) -> None:
    from orchestrator.beginnings import environment_here, known
    from orchestrator.from_command import name_of
    from orchestrator.new_profile import choose, draft

    made, why = environment_here(target.environment, os.environ) if target.makes_environment else (None, "")
    model = _model(text)
    variables = _variables(target, made)
    choice = choose(model, variant, known(model, variables))
    facts = known(choice.model, variables)
    name, file = target.place(name_of(choice.model.label))
    schema = target.schema("profile", file.parent)
    port = target.here.free_port()
    drafted = draft(choice, facts, name=name, environment=target.environment, port=port, schema=schema)
    _write(target, drafted, file, made, why)


def _model(text: str) -> "ModelRef":
    from orchestrator.checks import is_repo
    from orchestrator.errors import InputError
    from orchestrator.model import ModelRef

    if os.path.isdir(text) or (text.endswith(".gguf") and os.path.isfile(text)):  # noqa: PTH112, PTH113 (never raise)
        return ModelRef(path=os.path.abspath(text))  # noqa: PTH100
    if text.startswith(("/", "./", "../", "~")) or not is_repo(text):
        why = "there is no such folder, and it is no repository's name"
        raise InputError(
            f"use the model {text if text.isprintable() else ascii(text)}", why, "name OWNER/NAME, or a folder"
        )
    return ModelRef(repo=text)


def _variables(target: _Target, made: "Environment | None") -> dict[str, str]:
    """What tells where the Hub's cache is: the environment's own words before those of this shell."""
    from orchestrator.errors import OrchError
    from orchestrator.load import environment_file, load_environment

    variables = dict(os.environ)
    try:
        found = made or load_environment(environment_file(target.environment, target.here.root), os.environ)
    except OrchError:
        return variables
    return {**variables, **found.env, **({"HF_HOME": found.hf_home} if found.hf_home else {})}


# ---------------------------------------------------------------------------------------------------- of a command


def _of_command(target: _Target, command: str | None, pid: int | None) -> None:
    from orchestrator.cli.taken_over import taken_of

    found, what = _found_in(command) if command is not None else _found_at(pid or 0)
    taken = taken_of(found)
    name, file = target.place(taken.profile.name)
    _write_taken(target, taken, name, file, what)


def _found_in(command: str) -> "tuple[Found, str]":
    from orchestrator.errors import InputError
    from orchestrator.find import display, read_text
    from orchestrator.launchers import in_script

    text, what = command, "a command"
    if command == _STDOUT:
        text, what = sys.stdin.buffer.read().decode(errors="surrogateescape"), "a script"
    elif os.path.isfile(command):  # noqa: PTH113 (never raises)
        text, what = read_text(command, "script"), display(command)
    elif not any(char.isspace() for char in command.strip()):
        raise InputError(f"read {command if command.isprintable() else ascii(command)}", "there is no such file")
    home = {name: os.environ[name] for name in ("HOME", "USER", "PWD") if name in os.environ}
    return in_script(text, home), what


def _found_at(pid: int) -> "tuple[Found, str]":
    from orchestrator.running import launched

    found = launched(pid, f"make a profile of process {pid}")
    return found.found, f"process {found.process.pid}"


def _write_taken(target: _Target, taken: "Taken", name: str, file: Path, what: str) -> None:
    from orchestrator.beginnings import environment_here
    from orchestrator.cli import taken_over
    from orchestrator.cli.taken_over import note

    base, why = environment_here(target.environment, os.environ)
    made = taken_over.environment(taken, base, new=target.makes_environment)
    why = "as the command has it" if taken.runtime else why
    head = f"What {what} starts, taken over by `orch init`."
    drafted = taken_over.draft(taken, name, target.environment, head, target.schema("profile", file.parent))
    _write(target, drafted, file, made, why)
    taken_over.say(taken, made, kept=not target.makes_environment, written=target.file != _STDOUT)
    if (port := drafted.profile.serve.port) in target.here.ports:
        note(f"port {port} is that of another profile, too: one of them runs at a time")
    if what.startswith("process"):
        do = f"`orch adopt` takes it over as it runs; else end it before `orch apply {name}`, which starts another"
        note(f"{what} goes on as it is: {do}")


# -------------------------------------------------------------------------------------------------------- the files


def _write(target: _Target, drafted: "Draft", file: Path, made: "Environment | None", why: str) -> None:
    """Both texts are checked before anything is written."""
    from orchestrator.beginnings import check_environment_text, check_profile_text, write_new
    from orchestrator.find import display
    from orchestrator.scaffold import environment_text, profile_text

    text = profile_text(drafted)
    check_profile_text(text, drafted.profile.name)
    if target.file == _STDOUT:
        typer.echo(text, nl=False)
        return
    written: Sequence[str] = [display(file)]
    if made is not None and target.makes_environment:
        folder = target.here.root / "environments"
        head = (
            f"Made by `orch init`: {why}.",
            "The file's name and `name` must be equal; profiles refer to it by that name.",
        )
        about = environment_text(made, head, target.schema("environment", folder))
        check_environment_text(about, made.name)
        write_new(folder / f"{made.name}.yaml", about, force=False)
        written = [*written, display(folder / f"{made.name}.yaml")]
    write_new(file, text, force=target.force)
    for one in written:
        typer.echo(f"{one} is written")
    if made is not None and target.makes_environment:
        typer.echo(f"its runtime is {made.runtime.label}: {why}")
    typer.echo(f"see what it would do: orch plan {drafted.profile.name}")
