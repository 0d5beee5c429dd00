"""The processes of an engine as they are now, and which of them it cannot do without."""

from collections.abc import Iterable

from orchestrator import proc
from orchestrator.liveness import Member
from orchestrator.model import Instance, Process

TITLE = "VLLM::"
LEADER = "API server"
COMPILERS = frozenset(
    {"ninja", "nvcc", "cicc", "ptxas", "hipcc", "gcc", "g++", "cc", "c++", "clang", "clang++", "make"}
)


def members(instance: Instance) -> tuple[Member, ...]:
    """Every process that it had when it was observed. Engines that give their processes a title call the vital ones
    so; in older ones they are what Python's multiprocessing started."""
    titled = any(one.command.startswith(TITLE) for one in instance.children)
    found = []
    for one in instance.processes:
        name = LEADER if one is instance.leader else one.command.removeprefix(TITLE).strip()
        vital = one is instance.leader or (one.command.startswith(TITLE) if titled else _forked(one))
        found.append(Member(one.pid, one.start, name, proc.state(one), vital))
    return tuple(found)


def vital(instance: Instance) -> tuple[Process, ...]:
    """Those whose end is worth a look at once, by their names alone: not a compiler that comes and goes. Of engines
    that give no titles the API server."""
    titled = tuple(one for one in instance.children if one.command.startswith(TITLE))
    return (*((instance.leader,) if instance.leader else ()), *titled)


def _forked(process: Process) -> bool:
    return "--multiprocessing-fork" in proc.arguments(process.pid)


def compiler(found: Iterable[Member]) -> str:
    """The first one that works for a vital process, or "": some kernels are built when the first request needs them."""
    programs = (name for one in found if one.vital and not one.gone for name in proc.below(one.pid))
    return next((name for name in programs if name in COMPILERS), "")
