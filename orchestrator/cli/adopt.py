"""`orch adopt`: an engine that someone started by hand becomes a deployment, and goes on while it does."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.cli.adopted_files import Files
    from orchestrator.cli.context import Context
    from orchestrator.from_command import Taken
    from orchestrator.model import Attempt, Environment, Observed, Process
    from orchestrator.plan import Plan
    from orchestrator.ports import Eyes
    from orchestrator.running import Running


def adopt(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PID] [NAME]", help="Any process of the engine, and the deployment's name (of the model's)."
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="P", help="In place of a PID: what listens there.", min=1, max=65535)
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option("--environment", "-e", metavar="ENV", help="One that is there (a new one, called as it is)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files, and write nothing.")] = False,
    yes: options.Yes = False,
    root: options.Root = None,
    state_dir: options.StateDir = None,
) -> int:
    """Take over a vLLM that was started by hand, without a restart.

    What it was started with becomes a profile and an environment; secrets are left where they are. Until its next
    start it is known by its pid and start time alone."""
    from orchestrator import adoption
    from orchestrator.cli import changes
    from orchestrator.cli.adopted_files import files_of
    from orchestrator.cli.context import context
    from orchestrator.cli.taken_over import note, say, taken_of
    from orchestrator.controller import look
    from orchestrator.observe import token
    from orchestrator.render import plan_text

    given, name = _asked(words or (), port)
    here = context(root, state_dir)
    pid = given or _listener(here, port or 0)
    engine = _engine(here, pid)
    if engine.process.pid != given:
        note(f"its API server is pid {engine.process.pid}")
    taken = taken_of(replace(engine.found, logs=()))  # it goes on writing there
    files = files_of(here, taken, engine, name, environment)
    _check_secrets(here, taken, engine, files.environment)
    first = _attempt(here, here.eyes, engine.process, files, engine.log)
    seen = adoption.proven(here.eyes, first, token(here.eyes, first.deployment.secret_refs))
    pids = [one.pid for one in seen.processes]
    plan = look(partial(adoption.planned, first, engine.visible, pids), [first.deployment], here.eyes)
    files.check_free()
    say(taken, files.told, kept=environment is not None)
    if not engine.log:
        note("its log goes on where it was started: orch keeps one from its next start on")
    if dry_run:
        typer.echo(files.text, nl=False)
        return 0
    typer.echo(plan_text(plan, here.root.name))
    typer.echo(f"\nIt writes {files.names}.")
    if not yes:
        changes.agree(options.Output.TEXT, "Adopt it?")
    return _take_over(here, engine, files, pids)


def _asked(words: Sequence[str], port: int | None) -> tuple[int, str | None]:
    """(pid, name); the pid is 0 where a port stands for it. Raises UsageProblem."""
    from orchestrator.beginnings import check_name
    from orchestrator.errors import UsageProblem

    most = 2 if port is None else 1
    if len(words) > most or (port is None and not words):
        raise UsageProblem("tell which engine is meant", "", "give a PID or --port P, and then a name")
    name = words[most - 1] if len(words) == most else None
    if name is not None:
        check_name(name, "NAME")
    if port is not None:
        return 0, name
    if not (words[0].isascii() and words[0].isdigit() and 0 < int(words[0]) < 1 << 31):
        raise UsageProblem("tell which engine is meant", f"{words[0]!a} is no PID", "see `orch gpus` or `ps`")
    return int(words[0]), name


def _take_over(here: "Context", engine: "Running", files: "Files", pids: "Sequence[int]") -> int:
    """Writes the files and the record. Returns the exit status."""
    from orchestrator import adoption
    from orchestrator.cli import changes
    from orchestrator.cli.events import Console

    world = here.world(Console())
    attempt = _attempt(here, world, engine.process, files, engine.log)

    def planner(seen: "Observed") -> "Plan":
        """Also asked once its port is locked on this host: an adoption that waited may find that another was faster."""
        _check_untaken(here, engine.process, f"adopt process {engine.process.pid}")
        return adoption.planned(attempt, engine.visible, pids, seen)

    return files.written_for(
        lambda: changes.carry_out(planner, [attempt.deployment], here, world, ask=False, quiet=True),
        lambda: attempt.deployment.name in here.eyes.state.records(),
    )


# ------------------------------------------------------------------------------------------------------ the engine


def _listener(here: "Context", port: int) -> int:
    from orchestrator.errors import InputError

    what = f"adopt what listens on port {port}"
    holder = here.eyes.host.holders([port]).get(port)
    if holder is None:
        raise InputError(what, "nothing does", "see `orch gpus`, or `ss -ltnp`")
    if not holder.pid:
        raise InputError(what, "it is a process that this user may not see", "ask its owner to do it")
    return holder.pid


def _engine(here: "Context", pid: int) -> "Running":
    """The API server, if it is this user's to take and nobody else's to start again. Raises InputError."""
    from orchestrator.errors import InputError
    from orchestrator.running import keeper, server, user_of

    what = f"adopt process {pid}"
    found = server(pid, what)
    _check_untaken(here, found.process, what)
    if user_of(found.process.pid) != os.geteuid():
        raise InputError(what, "it is another user's, and would be this user's at its next start", "ask that user")
    if other := keeper(found):
        raise InputError(what, other.why, other.do)
    return found


def _check_untaken(here: "Context", process: "Process", what: str) -> None:
    """Raises InputError when any project of this state has it on record."""
    from orchestrator import proc
    from orchestrator.errors import InputError
    from orchestrator.leftovers.state import remembered

    mine = (process.pid, process.start, proc.boot_id())
    for one in remembered(here.state_dir):
        known = one.attempt
        if known and (known.pid, known.start, known.boot) == mine:
            raise InputError(what, f"orch has it already, as {one.name} of {one.project}", "see `orch status` there")


def _check_secrets(here: "Context", taken: "Taken", engine: "Running", environment: "Environment") -> None:
    """Each must be readable by its reference, and be what the engine has. Raises HostError."""
    from orchestrator.errors import HostError

    for variable, ref in sorted(environment.secrets.items()):
        value = here.eyes.host.secret(variable, ref)
        held = _held(engine, taken.secrets_from.get(variable, variable))
        if held is not None and held.strip(" \t\r\n") != value:
            why = f"the {ref.kind} {ref.name} holds another value than the engine was started with"
            raise HostError(f"take over the secret {variable}", why, "let it hold that value")


def _held(engine: "Running", where: str) -> str | None:
    """What the engine was given there: in a variable, or behind a flag."""
    if not where.startswith("--"):
        return engine.found.env.get(where)
    words = engine.found.words
    for word, after in zip(words, (*words[1:], ""), strict=True):
        flag, equals, value = word.partition("=")
        if flag.replace("_", "-") == where:
            return value if equals else after
    return None


def _attempt(here: "Context", eyes: "Eyes", process: "Process", files: "Files", log: str) -> "Attempt":
    """With the deployment as the files make it."""
    from orchestrator import adoption, proc

    wanted = eyes.weights.resolve(here.resolve(files.profile, files.environment, eyes), None)
    adoption.check_whole(wanted.spec, f"adopt process {process.pid}")
    return adoption.attempt(process, wanted, proc.boot_id(), proc.started_at(process), log)
