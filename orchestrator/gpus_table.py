"""What `orch gpus` prints: the cards of this host, and who holds them. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.cards import means, sits_on
from orchestrator.columns import columns
from orchestrator.holders import holder_words
from orchestrator.model import Gpu, GpuProcess, Instance, Inventory, Json
from orchestrator.render import VERSION
from orchestrator.units import format_memory

UNSEEN = 64 << 20
"""Bytes: what a driver uses without a process to show for it stays below."""
UNRESERVED = 1 << 30
"""The same where the driver (before 510) counts what it reserves as used."""
NOTHING = "no NVIDIA driver here: libnvidia-ml.so.1 cannot be loaded"
HEAD = ("GPU", "NAME", "MEMORY", "UTIL", "TEMP", "UUID")
_MODES = {
    "default": "",
    "exclusive": "is in exclusive mode: one process at a time",
    "prohibited": "is in the compute mode that prohibits its use; `sudo nvidia-smi -i {} -c DEFAULT` ends that",
}

Kind = Literal["deployment", "left-over", "other project", "process", "unknown"]


@dataclass(frozen=True, slots=True)
class Holder:
    """``who`` in a person's words. ``memory`` in bytes, None where the driver does not tell. ``process`` None: none is
    shown for that memory. ``name`` is the deployment's, of this project or another."""

    kind: Kind
    who: str
    memory: int | None
    process: GpuProcess | None = None
    name: str = ""

    def __str__(self) -> str:
        amount = f"{format_memory(self.memory)} held" if self.memory is not None else "held"
        return f"{amount} by {self.who}"


def holders(gpu: Gpu, instances: Sequence[Instance], project: str) -> tuple[Holder, ...]:
    """``instances`` are those of ``project``, alive or not; the one who holds most comes first."""
    seen = [_holder(one, instances, project) for one in gpu.processes]
    return (*sorted(seen, key=lambda one: (-(one.memory or 0), one.who)), *_unseen(gpu, instances))


def _holder(process: GpuProcess, instances: Iterable[Instance], project: str) -> Holder:
    mark, pid, memory = process.marker, process.pid, process.memory
    own = next((one for one in instances if one.marker == mark or pid in {row.pid for row in one.processes}), None)
    if own and not own.leader:
        return Holder("left-over", f"a left-over of {own.name}, pid {pid}", memory, process, own.name)
    if own or (mark and mark.project == project):
        name = own.name if own else mark.name if mark else ""
        return Holder("deployment", f"{name} (pid {pid})", memory, process, name)
    if mark:
        who = f"{holder_words(process)}, another project of yours"
        return Holder("other project", who, memory, process, mark.name)
    if not process.command:
        hidden = f"{holder_words(process)}, a process that cannot be seen (another container or user)"
        return Holder("unknown", hidden, memory, process)
    return Holder("process", holder_words(process), memory, process)


def _unseen(gpu: Gpu, instances: Iterable[Instance]) -> Iterator[Holder]:
    """Memory that no process accounts for. In a container the driver may show none at all, be they our own."""
    told = [one.memory for one in gpu.processes if one.memory is not None]
    rest = gpu.used - sum(told)
    if rest <= (UNSEEN if gpu.reserved else UNRESERVED) or len(told) < len(gpu.processes):
        return
    pids = {one.pid for one in gpu.processes}
    likely = [one.name for one in instances if sits_on(one, gpu) and not pids & {row.pid for row in one.processes}]
    where = f"of {' or '.join(likely)}, which runs here" if likely else "another container or user, or just ended"
    yield Holder("unknown", f"a process that cannot be seen ({where})", rest)


# -------------------------------------------------------------------------------------------------------------- text


def gpus_text(inventory: Inventory | None, instances: Sequence[Instance], project: str) -> str:
    if inventory is None:
        return f"{NOTHING}; `orch doctor` says more"
    if inventory.why:
        return f"The GPUs cannot be read: {inventory.why}; {inventory.do}"
    if not inventory.gpus:
        return f"no GPU here: the NVIDIA driver {inventory.driver} shows none; `orch doctor` says more"
    head, *rows = columns([HEAD, *(_row(gpu) for gpu in inventory.gpus)])
    lines = [head]
    for gpu, row in zip(inventory.gpus, rows, strict=True):
        lines += [row, *(f"     {note}" for note in _notes(gpu, instances, project))]
    return "\n".join([*lines, *_foot(inventory), *_lost(inventory, instances)])


def _row(gpu: Gpu) -> tuple[str, ...]:
    return (
        str(gpu.index),
        gpu.name or "-",
        f"{format_memory(gpu.used)} of {format_memory(gpu.total)}" if gpu.total else "-",
        f"{gpu.utilization}%" if gpu.utilization is not None else "-",
        f"{gpu.temperature} C" if gpu.temperature is not None else "-",
        gpu.uuid or "-",
    )


def _notes(gpu: Gpu, instances: Sequence[Instance], project: str) -> Iterator[str]:
    if gpu.trouble:
        yield gpu.trouble
    if gpu.mig:
        yield f"is divided into MIG devices: {', '.join(gpu.parts) or 'none yet'}"
    if _MODES[gpu.mode]:
        yield _MODES[gpu.mode].format(gpu.index)
    for one in holders(gpu, instances, project):
        yield f"{one}: `orch gc` removes it" if one.kind == "left-over" else str(one)


def _foot(inventory: Inventory) -> Iterator[str]:
    versions = (("driver", inventory.driver), ("CUDA up to", inventory.cuda))
    yield from filter(None, [", ".join(f"{of} {version}" for of, version in versions if version)])
    if pairs := [f"{link.a}-{link.b}" for link in inventory.links if link.distance == "nvlink"]:
        yield f"NVLink between GPUs {', '.join(pairs)}"
    if inventory.peers_blocked:
        yield f"warning: {inventory.peers_blocked}; engines on several GPUs may hang; `orch doctor` says more"


def _lost(inventory: Inventory, instances: Iterable[Instance]) -> Iterator[str]:
    """Engines whose card is gone: with its UUID went all that could be said under it."""
    for one in instances:
        gone = [given for given in one.gpus if _is_card(given) and not _is_seen(given, inventory)]
        if one.leader and gone:
            names = " and ".join(f"GPU {given}" if given.isdecimal() else given for given in gone)
            yield f"warning: {one.name} was started on {names}, which the driver does not show any more"


def _is_card(given: str) -> bool:
    """CUDA takes other words, to hide all."""
    return given.isdecimal() or given.startswith(("GPU-", "MIG-"))


def _is_seen(given: str, inventory: Inventory) -> bool:
    whole = [gpu for gpu in inventory.gpus if not gpu.trouble]
    return any(given in gpu.parts or means(given, gpu) for gpu in whole)


# -------------------------------------------------------------------------------------------------------------- JSON


def gpus_json(inventory: Inventory | None, instances: Sequence[Instance], project: str, now: float) -> Json:
    """``why`` says what stands in the way of reading them, null when nothing does."""
    found = inventory or Inventory(why=NOTHING, do="see `orch doctor`")
    return {
        "version": VERSION,
        "at": now,
        "driver": found.driver or None,
        "cuda": found.cuda or None,
        "why": found.why or None,
        "do": found.do or None,
        "peers_blocked": found.peers_blocked or None,
        "gpus": [_gpu_json(gpu, holders(gpu, instances, project)) for gpu in found.gpus],
        "links": [{"a": link.a, "b": link.b, "distance": link.distance} for link in found.links],
    }


def _gpu_json(gpu: Gpu, held: Iterable[Holder]) -> Json:
    return {
        "index": gpu.index,
        "uuid": gpu.uuid or None,
        "name": gpu.name or None,
        "pci": gpu.pci or None,
        "compute_capability": gpu.capability or None,
        "total_bytes": gpu.total,
        "reserved_bytes": gpu.reserved,
        "used_bytes": gpu.used,
        "free_bytes": gpu.free,
        "utilization_percent": gpu.utilization,
        "temperature_celsius": gpu.temperature,
        "compute_mode": gpu.mode,
        "mig": gpu.mig,
        "mig_devices": list(gpu.parts),
        "trouble": gpu.trouble or None,
        "holders": [_holder_json(one) for one in held],
    }


def _holder_json(one: Holder) -> Json:
    process = one.process
    return {
        "kind": one.kind,
        "who": one.who,
        "memory_bytes": one.memory,
        "pid": process.pid if process else None,
        "user": (process.user or None) if process else None,
        "command": (process.command or None) if process else None,
        "deployment": one.name or None,
        "project": process.marker.project if process and process.marker else None,
    }
