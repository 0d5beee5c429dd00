"""The process that `orch watch` becomes."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orchestrator.cuda.mender
import orchestrator.hub.store
import orchestrator.pins
import orchestrator.runtimes.catalogue  # noqa: F401 (as the three above: before the forks, or each errand would)
from orchestrator.cli.context import Context, context
from orchestrator.cli.recorded import deployed, set_on
from orchestrator.cli.timed import Timed
from orchestrator.errors import InputError, OrchError, raise_all
from orchestrator.findings import Findings
from orchestrator.model import Deployment, Environment, Profile
from orchestrator.ports import Eyes, World
from orchestrator.proc import unit
from orchestrator.pulse import HttpPulse
from orchestrator.render import plan_text
from orchestrator.watch import Charge, Watch


def charge(paths: Sequence[str], plan_only: bool, root: str | None, state_dir: str | None) -> Charge:
    here = context(root, state_dir, paths)
    if missing := [one for one in paths if "/" in one and not Path(one).exists()]:
        raise InputError(f"watch {missing[0]}", "there is no such file or folder")
    return Charge(
        eyes=here.eyes,
        pulse=HttpPulse(),
        world=lambda: _world(here),
        wanted=lambda eyes: _wanted(paths, here, eyes),
        folders=_folders(paths, here),
        folder=here.eyes.state.folder,
        paths=tuple(paths),
        say=Timed().say,
        text=lambda plan: plan_text(plan, here.root.name),
        plans_only=plan_only,
        unit=unit(os.environ),
    )


def _world(here: Context) -> World:
    return replace(here.world(Timed()), by="watch")


def _wanted(paths: Sequence[str], here: Context, eyes: Eyes) -> tuple[Deployment, ...]:
    """Raises what `orch validate` says of the files: one that is being edited must not stop anything."""
    from orchestrator.cli.homes import runtime_reader
    from orchestrator.rehearsal import Rehearsal
    from orchestrator.validation import Question, validate

    files = paths or [file for names, _ in deployed(eyes, ()) for file in names]
    variables = dict(os.environ)
    reader = runtime_reader(variables)
    rehearsal = Rehearsal(reader, reader.told, variables)

    def judge(profile: Profile, environment: Environment) -> Findings:
        """Not by the nearest version that is known: this host has the very one, and asks it before anything stops."""
        exact = not rehearsal.known(environment).note
        return rehearsal.findings(profile, environment) if exact else Findings(profile.source, "profile")

    found = validate(files, Question(here.root, variables, judge=judge))
    raise_all(error for verdict in found for error in verdict.errors)
    if not paths:
        return here.desired((), eyes)
    # What was set on the command line of `apply` stays, as a bare `apply` has it.
    records = eyes.state.records()
    profiles, _ = here.load(paths)
    chosen = {one.name: set_on(records.get(one.name)) for one in profiles}
    apart = [here.desired([one.source.file], eyes, chosen[one.name]) for one in profiles if chosen[one.name]]
    plain = [one.source.file for one in profiles if not chosen[one.name]]
    return (*(here.desired(plain, eyes) if plain else ()), *(one for some in apart for one in some))


def _folders(paths: Sequence[str], here: Context) -> set[Path]:
    """Where files of the project are, or may come to be."""
    named = {place if place.is_dir() else place.parent for place in map(Path, paths)}
    return {here.root, here.root / "profiles", here.root / "environments", *named}


if __name__ == "__main__":
    try:
        sys.exit(Watch(charge(**json.loads(sys.argv[1]))).run())
    except OrchError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"orch: {line}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # before the watcher hears it itself
        sys.exit(130)
