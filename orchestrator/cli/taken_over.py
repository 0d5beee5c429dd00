"""What `init` and `adopt` do with a command that starts an engine: its profile, its environment, and what is to be
said of them."""

import os
from dataclasses import replace
from pathlib import Path

import typer

from orchestrator import beginnings
from orchestrator.containers import Found
from orchestrator.from_command import Taken, take
from orchestrator.model import Environment
from orchestrator.scaffold import Draft, additions_text, one_line
from orchestrator.surroundings import Place


def taken_of(found: Found) -> Taken:
    """Raises InputError when it does not say which model."""
    engines = beginnings.engines(beginnings.engine_version(found.runtime))
    return take(found, engines, Place(str(Path.cwd()), os.path.exists, beginnings.config_file))


def environment(taken: Taken, base: Environment, *, new: bool) -> Environment:
    """What the command says of where it runs. ``base`` has the rest; of one that is there already only its runtime."""
    return replace(
        base,
        runtime=beginnings.as_found(taken.runtime) if taken.runtime else base.runtime,
        cuda_home=taken.cuda_home,
        hf_home=taken.hf_home or (base.hf_home if new else None),
        env=taken.env,
        secrets={**(base.secrets if new else {}), **taken.secrets},
    )


def draft(taken: Taken, name: str, environment: str, head: str, schema: str) -> Draft:
    left = ["Not taken over:", *(f"  {one}" for one in taken.left)] if taken.left else []
    profile = replace(taken.profile, name=name, environment=environment)
    return Draft(profile, [head, *left], taken.notes, schema=schema)


def say(taken: Taken, made: Environment, *, kept: bool, written: bool = True) -> None:
    """What is not in the files. ``kept``: an environment that is there stays as it is; ``written``: into files, and
    not to stdout."""
    for one in taken.left:
        note(f"not taken over: {one}")
    for one in taken.remarks:
        note(one)
    for variable, where in sorted(taken.secrets_from.items()):
        ref = taken.secrets[variable]
        how = f"export {ref.name} before `orch apply`" if ref.kind == "env" else f"it is read from {ref.name}"
        name = variable if where == variable else f"{where} (as {variable})"
        note(f"{name} is a secret, whose value is written nowhere: {how}")
    if (kept or not written) and (text := additions_text(made)):
        is_left = "is left as it is" if kept else "is not written"
        note(f"environments/{made.name}.yaml {is_left}; for what the command sets it needs:")
        for line in text.splitlines():
            typer.echo(f"    {line}", err=True)
    if kept and taken.runtime:
        note(f"the command runs in {made.runtime.label}; environment {made.name} says which runtime orch takes")


def note(text: str) -> None:
    typer.echo(f"orch: {one_line(text)}", err=True)
