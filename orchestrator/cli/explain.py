"""`orch explain`: why an engine failed, and the cure, read off its log."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.cli.context import Context
    from orchestrator.diagnosis.model import Ending
    from orchestrator.model import Deployment, Scalar

LONGEST = 8 << 20  # characters of a log that are read, from its end: the reason is never far from it


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
        int | None, typer.Option("--attempt", metavar="N", help="That start of the deployment, not its last.")
    ] = None,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Say why an engine failed.

    What the log shows, what it means, and the change that cures it. Any log of vLLM will do, from any machine."""
    import os
    from pathlib import Path

    from orchestrator.cli.context import context
    from orchestrator.diagnosis.facts import facts
    from orchestrator.diagnosis.model import Ending
    from orchestrator.errors import UsageProblem

    if what == "-" or os.path.isfile(what):  # noqa: PTH113 (never raises)
        if attempt is not None:
            raise UsageProblem("use --attempt", f"{what} is a log and no deployment", "leave it out")
        text = sys.stdin.read() if what == "-" else Path(what).read_text(encoding="utf-8", errors="replace")
        return _show(text, Ending(), {}, "", "" if what == "-" else what, output)
    here = context(root, state_dir)
    name, log, known, ready = _start(here, what, attempt)
    if pid := _living(here, name, log):
        typer.echo(f"{name}: its engine (pid {pid}) lives; `orch status {name}` says how it is", err=True)
    secrets = _values(here, known)
    ending = Ending(before_ready=not ready)
    return _show(_written(log), ending, facts(known), f"{name}: ", str(log), output, secrets)


def _show(
    text: str,
    ending: "Ending",
    facts: "Mapping[str, Scalar]",
    subject: str,
    log: str,
    output: options.Output,
    secrets: tuple[str, ...] = (),
) -> int:
    import os

    from orchestrator.diagnosis.lines import read
    from orchestrator.diagnosis.mask import mask
    from orchestrator.diagnosis.match import diagnose
    from orchestrator.diagnosis.pieces import Pieces
    from orchestrator.diagnosis.stages import replay
    from orchestrator.diagnosis.text import diagnosis_text
    from orchestrator.diagnosis_data import load, own_folder
    from orchestrator.render import document
    from orchestrator.stage_data import load_stages

    text = mask(text[-LONGEST:], secrets)
    stage = replay(load_stages(), Pieces().feed(text.encode(errors="replace") + b"\n")).stage
    found = diagnose(read(text), ending, stage, load(own_folder(os.environ)), facts)
    if output is options.Output.JSON:
        typer.echo(
            document(
                {
                    "version": 1,
                    "signature": found.signature.id if found.signature else None,
                    "title": found.title,
                    "stage": found.stage,
                    "means": found.means,
                    "evidence": [
                        {"line": one.number, "process": one.process, "text": one.text} for one in found.evidence
                    ],
                    "cure": list(found.cure),
                    "changes": dict(found.changes),
                    "issues": list(found.issues),
                    "final": found.final,
                }
            )
        )
    else:
        for line in diagnosis_text(found, ending, subject, log):
            typer.echo(line)
    return 0


def _start(here: "Context", name: str, number: int | None) -> "tuple[str, Path, Deployment | None, bool]":
    """The name, the log, what was started, and whether it became ready."""
    from orchestrator.cli.deployed import choose
    from orchestrator.errors import InputError

    (name,) = choose([name], here.eyes)
    record, logs = here.eyes.state.records().get(name), here.eyes.state.logs(name)
    last = record.attempt if record else None
    chosen = logs[-1:] if number is None else [one for one in logs if int(one.name.partition("-")[0]) == number]
    if not chosen:
        kept = ", ".join(str(int(one.name.partition("-")[0])) for one in logs)
        raise InputError(f"explain {name}", "no log of that start is kept", f"there is {kept}" if kept else "")
    same = last is not None and chosen[0].stem == last.id
    known = last.deployment if last else None
    return name, chosen[0], known, bool(same and last and last.ready_at is not None)


def _living(here: "Context", name: str, log: "Path") -> int:
    """The pid of the engine that writes this log; 0 for one that is gone."""
    from orchestrator.history import attempts

    eyes = here.eyes
    seen = eyes.target.list(eyes.state.project, attempts(eyes.state.project, eyes.state.records().values()))
    mine = (one.leader for one in seen if one.name == name and one.marker.attempt == log.stem)
    return next((leader.pid for leader in mine if leader), 0)


def _written(log: "Path") -> str:
    from orchestrator.errors import HostError
    from orchestrator.logfiles import whole

    try:
        return whole(log)
    except OSError as error:
        raise HostError(f"read {log}", error.strerror or str(error)) from error


def _values(here: "Context", known: "Deployment | None") -> tuple[str, ...]:
    """Of its secrets, as far as this process can read them."""
    from contextlib import suppress

    from orchestrator.errors import HostError

    found = []
    for name, ref in (known.secret_refs if known else {}).items():
        with suppress(HostError):
            found.append(here.eyes.host.secret(name, ref))
    return tuple(found)
