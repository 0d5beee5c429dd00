"""A vLLM that runs and that orch may not have started: its API server, found from any process around it, what that was
started with, and who else looks after it. Looks only."""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import keepers, proc
from orchestrator.containers import Found
from orchestrator.environ import VISIBLE
from orchestrator.errors import InputError
from orchestrator.keepers import Keeper
from orchestrator.launchers import in_argv, is_server, runtime_of
from orchestrator.model import Process, RuntimeSpec
from orchestrator.shell import CommandFailed, run
from orchestrator.surroundings import ENGINE_VARIABLES

_AROUND = 16  # parents of a process that are looked at
_ASK = 5.0  # seconds for systemd to answer


@dataclass(frozen=True, slots=True)
class Running:
    """``visible`` are the GPUs that it was told to use, as CUDA_VISIBLE_DEVICES has them; None without that variable.
    ``log`` is the file that its output goes to, or ""."""

    process: Process
    found: Found
    visible: str | None = None
    log: str = ""


def server(pid: int, what: str) -> Running:
    """The API server that this process is, belongs to, or waits for as `uv run` does. ``what`` completes "cannot" in
    an error. Raises InputError."""
    line = _line(pid, what)
    rows = [*(row for row in reversed(line) if _serves(row)), *_below(line[0], what)]
    if not rows:
        why = "neither it, nor what started it, nor what it started is a vLLM server"
        raise InputError(what, why, "give the id of `vllm serve`")
    return _running(rows[0], what)


def launched(pid: int, what: str) -> Running:
    """Likewise; or else a launcher whose command line says what it starts, like `docker run`. Raises InputError."""
    try:
        return server(pid, what)
    except InputError as error:
        for row in _line(pid, what):
            if found := _found(row, proc.environ(row.pid)):
                return Running(row, found)
        raise error


def keeper(running: Running) -> Keeper | None:
    """Who would not leave it to orch: a container, a systemd unit or a supervisor that would start it again."""
    pid = running.process.pid
    if pid == 1:
        return keepers.of_first()
    cgroup = _read(pid, "cgroup")
    if any(_elsewhere(pid, kind) for kind in ("pid", "net")):
        return keepers.of_container(pid)
    if _elsewhere(pid, "mnt") and keepers.container(cgroup):
        return keepers.of_container(pid)
    parents = _parents(running.process)
    named = [(row.pid, _read(row.pid, "comm").strip()) for row in parents]
    if found := keepers.of_parents(pid, named):
        return found
    if (unit := keepers.unit(cgroup)) is None or unit == keepers.unit(_read(os.getpid(), "cgroup")):
        return None
    main, restart = _asked(unit)
    return keepers.of_unit(unit, pid, main, restart, [name for _, name in named], [pid, *(row.pid for row in parents)])


# ---------------------------------------------------------------------------------------------------- the processes


def _line(pid: int, what: str) -> list[Process]:
    """The process and its parents, the nearest first. Raises InputError for what is not this user's to take."""
    row = proc.read(pid)
    if row is None or row.zombie:
        raise InputError(what, "there is no such process, or it is hidden from you", "see `orch gpus` or `ps`")
    _check_free(row, what)
    return [row, *_parents(row)]


def _parents(row: Process) -> list[Process]:
    found: list[Process] = []
    above = proc.read(row.parent)
    while above is not None and above.pid > 1 and len(found) < _AROUND:
        found.append(above)
        above = proc.read(above.parent)
    return found


def _check_free(row: Process, what: str) -> None:
    if row.marker and row.marker.owner:
        why = f"it runs under `orch run` (pid {row.marker.owner.partition(':')[0]}), as {row.marker.name}"
        raise InputError(what, why, "end that one first")
    if row.marker:
        why = f"orch started it, as {row.marker.name}"
        raise InputError(what, why, "its profile is there already: see `orch status` in its project")
    if not _mine(row.pid):
        raise InputError(what, "it is another user's: its variables are hidden from you", "ask that user to do it")


def _below(top: Process, what: str) -> list[Process]:
    """The servers that it started, but for what these started themselves; InputError for more than one."""
    below: dict[int, list[Process]] = {}
    for row in proc.scan():
        below.setdefault(row.parent, []).append(row)
    found: list[Process] = []
    work = list(below.get(top.pid, ()))
    while work:
        row = work.pop()
        if _serves(row):
            found.append(row)
        else:
            work += below.get(row.pid, ())
    if len(found) > 1:
        pids = ", ".join(str(pid) for pid in sorted(row.pid for row in found))
        raise InputError(what, f"it started several vLLM servers (pids {pids})", "give one of them")
    return found


def _mine(pid: int) -> bool:
    return os.geteuid() == 0 or user_of(pid) in (None, os.geteuid())


def user_of(pid: int) -> int | None:
    """The number of the user that it runs as; None for one that is gone."""
    try:
        return (proc.PROC / str(pid)).stat().st_uid
    except OSError:
        return None


def _serves(row: Process) -> bool:
    return not row.zombie and is_server(proc.arguments(row.pid))


# --------------------------------------------------------------------------------------- what it was started with


def _running(row: Process, what: str) -> Running:
    _check_free(row, what)
    env = proc.environ(row.pid)
    found = _found(row, env)
    if found is None:
        raise InputError(what, f"pid {row.pid} is gone", "see `ps`")
    return Running(row, found, env.get(VISIBLE), next(iter(found.logs), ""))


def _found(row: Process, env: Mapping[str, str]) -> Found | None:
    try:
        cwd = str((proc.PROC / str(row.pid) / "cwd").readlink())
    except OSError:
        return None
    kept = {name: value for name, value in env.items() if ENGINE_VARIABLES.fullmatch(name)}
    argv = proc.arguments(row.pid)
    found = in_argv(argv, kept, cwd)
    if found is None:
        return None
    return replace(found, runtime=found.runtime or _runtime(argv, env), logs=_log(row.pid))


def _runtime(argv: Sequence[str], env: Mapping[str, str]) -> RuntimeSpec | None:
    """Of a Python that was called by its name alone: by the PATH that it was found on, or by what was active."""
    program = shutil.which(argv[0], path=env.get("PATH", os.defpath)) or ""
    if found := runtime_of(program):
        return found
    active = env.get("VIRTUAL_ENV") or env.get("CONDA_PREFIX") or ""
    return RuntimeSpec("venv", active) if active.startswith("/") else None


def _log(pid: int) -> tuple[str, ...]:
    file = proc.output(pid)
    return (file,) if file.startswith("/") and os.path.isfile(file) else ()  # noqa: PTH113 (never raises)


# ------------------------------------------------------------------------------------------- who looks after it


def _elsewhere(pid: int, kind: str) -> bool:
    """Whether it lives in another namespace of that kind than this process."""
    with contextlib.suppress(OSError):
        theirs, ours = (Path(f"/proc/{one}/ns/{kind}").readlink() for one in (pid, "self"))
        return theirs != ours
    return False


def _read(pid: int, name: str) -> str:
    try:
        return (proc.PROC / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""


def _asked(unit: keepers.Unit) -> tuple[int | None, str]:
    """Its main process and its Restart=, as its manager tells them."""
    manager = ["--user"] if unit.user else []
    try:
        said = run(["systemctl", *manager, "show", "-p", "MainPID", "-p", "Restart", unit.name], timeout=_ASK).stdout
    except CommandFailed:
        return None, ""
    told = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    main = told.get("MainPID", "")
    return (int(main) if main.isdigit() and main != "0" else None), told.get("Restart", "")
