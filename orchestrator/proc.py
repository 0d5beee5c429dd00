"""/proc, read. A process may vanish between two reads: then it is simply not there."""

import contextlib
import os
import signal
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from orchestrator.environ import MARK, read_marker
from orchestrator.model import Process

PROC = Path("/proc")


@cache
def boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


@cache
def _boot_time() -> float:
    line = next(line for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime "))
    return float(line.split()[1])


def started_at(process: Process) -> float:
    """Seconds since the epoch."""
    return _boot_time() + process.start / os.sysconf("SC_CLK_TCK")


def scan() -> list[Process]:
    """Every process this user can see. Of another user's, the environment, and so the marker, is not readable."""
    rows = (read(int(entry)) for entry in os.listdir(PROC) if entry.isdigit())  # noqa: PTH208 (names, not paths)
    return [row for row in rows if row is not None]


def read(pid: int) -> Process | None:
    found = _stat(pid)
    if found is None:
        return None
    name, fields = found
    return Process(
        pid=pid,
        start=int(fields[19]),
        session=int(fields[3]),
        command=_title(pid) or name,
        marker=read_marker(environ(pid).get(MARK, "")),
        parent=int(fields[1]),
        zombie=fields[0] in {"Z", "X"},
    )


def state(process: Process) -> str:
    """The kernel's letter for exactly this process (S, R, D, T, t, Z); empty when it is gone."""
    found = _stat(process.pid)
    return found[1][0] if found and int(found[1][19]) == process.start else ""


def below(pid: int) -> list[str]:
    """The names of the programs that this process runs; empty where the kernel does not list them."""
    names = []
    for listed in (PROC / str(pid) / "task").glob("*/children"):
        with contextlib.suppress(OSError):
            names += [(PROC / child / "comm").read_text().strip() for child in listed.read_text().split()]
    return names


def arguments(pid: int) -> list[str]:
    """Its command line, with each byte that is no UTF-8 as a lone surrogate; empty for one that is gone."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode(errors="surrogateescape").rstrip("\0").split("\0")


def _stat(pid: int) -> tuple[str, list[str]] | None:
    """The short name, and the fields from the state on."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:  # gone, or hidden from this user (hidepid)
        return None
    # The name in parentheses may itself hold spaces and parentheses: what follows the last one is plain.
    head, _, rest = stat.rpartition(")")
    return head.partition("(")[2], rest.split()


def process_start(pid: int) -> int:
    """Clock ticks since boot; 0 for a process that is gone."""
    found = read(pid)
    return found.start if found else 0


def environ(pid: int) -> Mapping[str, str]:
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.decode(errors="replace").partition("=") for item in raw.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs}


def unit(variables: Mapping[str, str]) -> str:
    """The systemd unit that runs this very process; empty when it was started otherwise. ``variables`` are its own."""
    try:
        group = (PROC / "self/cgroup").read_text().strip().rpartition("/")[2]
    except OSError:
        return ""
    return group if "INVOCATION_ID" in variables and group.endswith(".service") else ""


def output(pid: int) -> str:
    """The file its standard output goes to; empty when that cannot be told."""
    try:
        return str((PROC / str(pid) / "fd/1").readlink())
    except OSError:
        return ""


def _title(pid: int) -> str:
    """A title that the process gave itself ("VLLM::EngineCore"), or the name of its program, to be shown."""
    first = next(iter(arguments(pid)), "").encode(errors="surrogateescape").decode(errors="replace").strip()
    return first.rpartition("/")[2] if first.startswith("/") else first


def open_exact(process: Process) -> int | None:
    """A pidfd for exactly this process, or None when it is gone. The start time is read after the pidfd was opened,
    so a pid that was reused in between is noticed; from then on the descriptor cannot mean anything else."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    now = read(process.pid)
    if now is None or now.start != process.start or now.zombie:
        os.close(handle)
        return None
    return handle


def send(process: Process, number: signal.Signals) -> bool:
    """Signals exactly this process, or nobody; says whether it was there."""
    handle = open_exact(process)
    if handle is None:
        return False
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)
    return True
