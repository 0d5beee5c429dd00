"""`orch explain`: why an engine failed, and the cure, read off its log."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from orchestrator.cli.context import Context
    from orchestrator.diagnosis.model import Diagnosis
    from orchestrator.model import Attempt, Instance, Json


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A deployment, a log of vLLM, or - for one on stdin.",
            autocompletion=options.complete_name,
        ),
    ],
    attempt: Annotated[
        int | None,
        typer.Option("--attempt", metavar="N", help="That start of the deployment, not the last one that failed."),
    ] = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Say why an engine failed.

    What the log shows, what it means, and the change that cures it. Any log of vLLM will do, from any machine."""
    import os

    from orchestrator.cli.context import context
    from orchestrator.errors import InputError, UsageProblem

    if what == "-" or (os.path.exists(what) and not os.path.isdir(what)):  # noqa: PTH110, PTH112 (never raise)
        if attempt is not None:
            raise UsageProblem("use --attempt", f"{what} is a log and no deployment", "leave it out")
        return _file(what, output)
    if "/" in what:
        why = "it is a folder" if os.path.isdir(what) else "there is no such file"  # noqa: PTH112 (never raises)
        raise InputError(f"explain {what}", why, "name a log of vLLM, or a deployment")
    return _deployment(context(root, state_dir), what, attempt, output)


def _file(what: str, output: options.Output) -> int:
    import os

    from orchestrator.diagnosis.text import diagnosis_text
    from orchestrator.postmortem import read_log

    with sys.stdin.buffer if what == "-" else open(what, "rb") as stream:  # noqa: PTH123 (one word for both)
        found = read_log(_end_of(stream), os.environ)
    _print(found, diagnosis_text(found, log="" if what == "-" else what), {}, output)
    return 0


def _end_of(stream: "BinaryIO") -> str:
    """Its last megabytes, for the reason is never far from there; with an empty line for each that is left out, so
    that the numbers of the lines stay."""
    from orchestrator.engine_logs import MOST

    kept, skipped = b"", 0
    while chunk := stream.read(MOST):
        kept += chunk
        left, kept = kept[:-MOST], kept[-MOST:]
        skipped += left.count(b"\n")
    return "\n" * skipped + kept.decode(errors="replace")


def _deployment(here: "Context", what: str, number: int | None, output: options.Output) -> int:
    from dataclasses import replace

    from orchestrator.cli.deployed import choose
    from orchestrator.observe import ending
    from orchestrator.postmortem import examine
    from orchestrator.render import document

    (name,) = choose([what], here.eyes)
    living = _living(here, name)
    chosen = _choose(here, name, number, living)
    if chosen is None:
        typer.echo(f"{name} is stopped on purpose, and none of its starts that are kept failed", err=True)
        return 0
    lives = [one for one in living if one.marker.attempt == chosen.id]
    pid = next((one.leader.pid for one in lives if one.leader), 0)
    about: Mapping[str, Json] = {"name": name, "attempt": _number(chosen.id), "at": chosen.at, "log": chosen.log}
    waited = here.eyes.clock.now() - chosen.at > chosen.deployment.policy.ready_timeout
    if pid and not chosen.hung and (chosen.ready_at is not None or not waited):
        typer.echo(f"{name}: its engine (pid {pid}) lives; `orch status {name}` says how it is", err=True)
        if output is options.Output.JSON:
            typer.echo(document({"version": 1, **about, "pid": pid, "signature": None}))
        return 0
    late = bool(pid) and chosen.ready_at is None
    plain = "" if pid else ending(here.eyes, chosen)
    found = examine(here.eyes, replace(chosen, timed_out=chosen.timed_out or late), plain, lives)
    if found.trouble:
        typer.echo(f"orch: warning: {found.trouble}", err=True)
    how = found.ending
    about = {**about, "code": how.code, "signal": how.signal, "oom_killed": how.oom_killed}
    _print(found.diagnosis, found.lines(f"{name}: "), about, output)
    return 0


def _print(found: "Diagnosis", lines: "tuple[str, ...]", about: "Mapping[str, Json]", output: options.Output) -> None:
    from orchestrator.diagnosis.text import diagnosis_json
    from orchestrator.render import document

    if output is options.Output.JSON:
        typer.echo(document({"version": 1, **about, **diagnosis_json(found)}))
        return
    for line in lines:
        typer.echo(line)


def _choose(here: "Context", name: str, number: int | None, living: "list[Instance]") -> "Attempt | None":
    """The start with this number; else the last one where it is gone, or the last one that failed, or the one that
    lives."""
    from orchestrator.errors import InputError
    from orchestrator.model import Intent

    state = here.eyes.state
    record = state.records().get(name)
    last = record.attempt if record else None
    kept = {_number(log.stem): state.attempt(log) for log in state.logs(name)}
    known = {at: one for at, one in kept.items() if one} | ({_number(last.id): last} if last else {})
    if number is not None:
        if number not in known:
            raise InputError(f"explain {name}", "nothing of that start is kept", _listed(known))
        return known[number]
    if not known:
        raise InputError(f"explain {name}", "nothing of its starts is kept", f"see `orch logs {name}`")
    alive = {one.marker.attempt for one in living if one.leader}
    failed = [one for one in known.values() if one.ended or one.timed_out or one.hung]
    if last and record and record.intent is Intent.RUNNING and (last.id not in alive or last.ready_at is None):
        return last
    return max(failed, key=lambda one: one.at) if failed else last if last and last.id in alive else None


def _listed(known: "Mapping[int, Attempt]") -> str:
    return f"there is {', '.join(map(str, sorted(known)))}" if known else ""


def _number(attempt: str) -> int:
    """Of an attempt's id; 0 for one that orch did not start."""
    first = attempt.partition("-")[0]
    return int(first) if first.isdigit() else 0


def _living(here: "Context", name: str) -> "list[Instance]":
    from orchestrator.history import attempts

    eyes = here.eyes
    seen = eyes.target.list(eyes.state.project, attempts(eyes.state.project, eyes.state.records().values()))
    return [one for one in seen if one.name == name]
