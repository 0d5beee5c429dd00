"""`orch status`: what runs, where it answers, and why not."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.cli.context import Context
    from orchestrator.model import Deployment, Json, Record
    from orchestrator.postmortem import Postmortem
    from orchestrator.status import Row


def status(
    names: options.Names = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Redraw until Ctrl-C.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Exit with 3 unless all is ready; what is stopped on purpose counts if it is named."
        ),
    ] = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
    output: options.OutputOption = options.Output.TEXT,
) -> int:
    """Show what runs, and why something does not."""
    from orchestrator.cli.context import context
    from orchestrator.cli.redraw import redraw

    here = context(root, state_dir)
    if watch:
        redraw(lambda: _text(_rows(here, names or ()), here, output))
    rows = _rows(here, names or ())
    failures = _failures(here, rows) if names else None
    typer.echo(_text(rows, here, output, failures))
    for trouble in dict.fromkeys(one.trouble for one in (failures or {}).values() if one.trouble):
        typer.echo(f"orch: warning: {trouble}", err=True)
    for line in _numbers(rows) if names and output is options.Output.TEXT else ():
        typer.echo(line)
    wanted = [row for row in rows if names or row.phase != "stopped"]
    return 3 if check and not all(row.ready for row in wanted) else 0


def _text(
    rows: "tuple[Row, ...]",
    here: "Context",
    output: options.Output,
    failures: "Mapping[str, Postmortem] | None" = None,
) -> str:
    from orchestrator import supervision
    from orchestrator.render import document, status_json, status_text

    now, pulls, watcher = here.eyes.clock.now(), here.memory.pulls(), here.eyes.state.watcher()
    failed = failures or {}
    if output is options.Output.JSON:
        told = {"failures": _as_json(failed)} if failures is not None else {}
        return document(status_json(rows, now, pulls) | {"watcher": supervision.as_json(watcher)} | told)
    said = supervision.lines(watcher, now) if rows or watcher else ()
    why = [line for name, one in failed.items() for line in ("", *one.lines(f"{name}: "))]
    return "\n".join([status_text(rows, now, pulls), *said, *why])


def _numbers(rows: "Sequence[Row]") -> "list[str]":
    """What the engines told as they started, beside what was reckoned."""
    from orchestrator.history_text import numbers_text

    return [f"{row.name}: {text}" for row in rows if (text := numbers_text(row.measured, row.estimate))]


def _as_json(failures: "Mapping[str, Postmortem]") -> "Json":
    from orchestrator.diagnosis.text import diagnosis_json

    return {name: diagnosis_json(one.diagnosis) for name, one in failures.items()}


def _rows(here: "Context", names: "Sequence[str]") -> "tuple[Row, ...]":
    from orchestrator.cli.deployed import choose
    from orchestrator.observe import observe
    from orchestrator.status import rows

    seen = observe(here.eyes)
    wanted = {name: want for name, record in seen.records.items() if (want := _wanted(here, record)) is not None}
    found = tuple(_followed(here, seen.records.get(row.name), row) for row in rows(seen, wanted, here.eyes.clock.now()))
    if not names:
        return found
    chosen = choose(names, here.eyes)
    return tuple(row for row in found if row.name in chosen)


def _followed(here: "Context", record: "Record | None", row: "Row") -> "Row":
    """How far a start has come, by its log."""
    if row.phase != "starting" or not row.log or row.since is None:
        return row
    from dataclasses import replace

    from orchestrator import revisions
    from orchestrator.diagnosis.progress import eta, progress_text
    from orchestrator.startup import Startup

    runtime = record.attempt.deployment.spec.runtime if record and record.attempt else None
    info = here.eyes.runtimes.state(runtime).info if runtime else None
    startup = Startup(here.eyes.logs, row.log, row.since, info.version if info else "")
    progress = startup.look()
    startup.close()
    earlier = revisions.stages(here.eyes.state.revisions(row.name), row.digest)
    told = {"stage": progress.stage, "fraction": progress.fraction, "seconds": dict(startup.seconds)}
    note = progress_text(progress, startup.now, earlier)
    return replace(row, notes=(note, *row.notes), progress=told | {"seconds_left": eta(progress, earlier, startup.now)})


def _failures(here: "Context", rows: "Sequence[Row]") -> "dict[str, Postmortem]":
    """Why each of these that failed, or hangs, does so."""
    from orchestrator.observe import ending
    from orchestrator.postmortem import examine

    records = here.eyes.state.records()
    found = {}
    for row in rows:
        record = records.get(row.name)
        attempt = record.attempt if record else None
        if attempt and (row.phase == "failed" or (attempt.hung and row.phase != "stopped")):
            found[row.name] = examine(here.eyes, attempt, ending(here.eyes, attempt))
    return found


def _wanted(here: "Context", record: "Record") -> "Deployment | str | None":
    """What the files want now. Where their text is that of the revision, the revision itself: no need to read YAML."""
    import os
    from contextlib import suppress
    from pathlib import Path

    from orchestrator.cli.recorded import with_secrets_of_now
    from orchestrator.errors import OrchError

    if record.revision is None:
        return None
    known = record.revision.deployment
    profile = Path(known.file or here.root / "profiles" / f"{record.name}.yaml")
    environment = here.root / "environments" / f"{known.environment}.yaml"
    if not os.path.exists(profile):  # noqa: PTH110 (pathlib's may raise)
        return "profile gone"
    texts: tuple[str, ...] = ()
    with suppress(OSError, UnicodeError):  # loading knows what is wrong with them, and where else to look
        texts = (profile.read_text(encoding="utf-8"), environment.read_text(encoding="utf-8"))
    same = texts == (known.profile_text, known.environment_text) and not any("${" in text for text in texts)
    try:
        if same:
            return here.at_lock(with_secrets_of_now(known, here.eyes), known.spec)
        return here.written([str(profile)], here.eyes, known.given, quiet=True)[0]
    except (OSError, OrchError):
        return "files do not load; see `orch validate`"
