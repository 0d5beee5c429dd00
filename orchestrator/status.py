"""What `orch status` shows of each deployment, derived from one observation. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator import supervision
from orchestrator.cards import lost, sits_on
from orchestrator.codec import digest
from orchestrator.drift import diff
from orchestrator.engines import vllm
from orchestrator.model import Deployment, Instance, Intent, Inventory, Json, Observed, Phase, Record, Rejected
from orchestrator.revisions import in_force


@dataclass(frozen=True, slots=True)
class GpuUse:
    """A card that an engine has. ``memory`` in bytes, what its processes use of it now; None where the driver does not
    tell."""

    index: int
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``phase`` is a Phase, or "stopped". ``since`` is when the start began, epoch seconds.
    ``drift`` says how the files differ from what runs; empty when they do not. ``pinned`` is the revision that was gone
    back to, ``rejected`` what is not tried again."""

    name: str
    phase: str
    model: str = ""
    served: tuple[str, ...] = ()
    endpoint: str = ""
    pid: int | None = None
    pids: tuple[int, ...] = ()
    since: float | None = None
    supervised_by: str = ""
    gpus: tuple["GpuUse", ...] = ()
    revision: int | None = None
    digest: str = ""
    drift: str = ""
    log: str = ""
    notes: tuple[str, ...] = ()
    pinned: int | None = None
    rejected: tuple[Rejected, ...] = ()
    restarts: int = 0  # ends by itself that still count
    progress: Json = None  # of one that is starting, once somebody has read its log
    measured: Mapping[str, float] = field(default_factory=dict)  # as in Revision, of the start that serves
    estimate: Mapping[str, float] = field(default_factory=dict)  # likewise

    @property
    def ready(self) -> bool:
        return self.phase == Phase.READY


def rows(observed: Observed, desired: Mapping[str, Deployment | str], now: float) -> tuple[Row, ...]:
    """Every deployment this project has or had, by name. ``desired`` maps names to what the files want now, or to why
    that is not known; ``now`` in seconds since the epoch."""
    names = {one.name for one in observed.instances} | set(observed.records)
    return tuple(_row(name, observed, desired.get(name), now) for name in sorted(names))


def _row(name: str, observed: Observed, wanted: Deployment | str | None, now: float) -> Row:
    mine = [one for one in observed.instances if one.name == name]
    instance = next((one for one in reversed(mine) if one.leader), mine[-1] if mine else None)
    record = observed.records.get(name)
    revision = record.revision if record else None
    spec = (instance.spec if instance else None) or (revision.deployment.spec if revision else None)
    spec = spec or (record.attempt.deployment.spec if record and record.attempt else None)
    phase = _phase(instance, record)
    alive = instance is not None and instance.leader is not None
    told = revision if revision and spec and phase == Phase.READY and revision.digest == digest(spec) else None
    return Row(
        name=name,
        phase=phase,
        model=spec.model.label if spec else "",
        served=Deployment(name, "", spec).served_names if spec else (),
        endpoint=f"{vllm.endpoint(spec).url}/v1" if spec and alive else "",
        pid=instance.leader.pid if instance and instance.leader else None,
        pids=tuple(process.pid for process in instance.processes) if instance else (),
        since=instance.started_at if instance else None,
        supervised_by=_supervisor(name, instance, observed),
        gpus=_gpus(instance, observed.inventory) if instance and observed.inventory else (),
        revision=revision.number if revision else None,
        digest=digest(spec) if spec else "",
        drift=_drift(instance, wanted),
        log=(instance.log if instance else "") or (record.attempt.log if record and record.attempt else ""),
        notes=(
            *_notes(phase, instance, record, mine, observed.inventory),
            *supervision.notes(record, observed.watcher, now, lives=alive),
        ),
        pinned=pin.pinned if record and (pin := in_force(record)) else None,
        rejected=record.rejected if record else (),
        restarts=len(record.deaths) if record else 0,
        measured=told.measured if told else {},
        estimate=told.estimate if told else {},
    )


def _supervisor(name: str, instance: Instance | None, observed: Observed) -> str:
    if instance and instance.owned:
        return "orch run"
    watcher = observed.watcher
    return supervision.who(watcher) if watcher and supervision.covers(watcher, name) else ""


def _gpus(instance: Instance, inventory: Inventory) -> tuple[GpuUse, ...]:
    pids = {one.pid for one in instance.processes}
    held = [(gpu, [one.memory for one in gpu.processes if one.pid in pids]) for gpu in inventory.gpus]
    return tuple(
        GpuUse(gpu.index, sum(one or 0 for one in shown) if shown and None not in shown else None)
        for gpu, shown in held
        if sits_on(instance, gpu)
    )


def _phase(instance: Instance | None, record: Record | None) -> str:
    if instance is not None and instance.leader:
        return instance.phase.value
    if record is not None and record.intent is Intent.STOPPED:
        return "stopped"
    return Phase.FAILED.value


def _drift(instance: Instance | None, wanted: Deployment | str | None) -> str:
    if isinstance(wanted, str):
        return wanted
    if wanted is None or instance is None or instance.leader is None:
        return ""
    if instance.spec is None:
        return "unknown: what it was started with cannot be read"
    return ", ".join(one.field for one in diff(instance.spec, wanted.spec))


def _notes(
    phase: str,
    instance: Instance | None,
    record: Record | None,
    mine: list[Instance],
    inventory: Inventory | None,
) -> tuple[str, ...]:
    notes: list[str] = []
    if record and (pin := in_force(record)):
        ends = f"`orch apply --unpin {record.name}` follows the files"
        notes.append(f"rolled back to revision {pin.pinned}; {ends}")
    if phase == "stopped" and record and record.because:
        notes.append(record.because)
    why = (instance.why if instance else "") or (record.attempt.ended if record and record.attempt else "")
    if phase in {Phase.FAILED, Phase.UNHEALTHY} and why:
        more = f"; `orch explain {record.name}` tells more" if phase == Phase.FAILED and record else ""
        notes.append(f"{why}{more}")
    if instance and instance.leader and inventory and (why := lost(instance, inventory)):
        notes.append(why)
    if instance and instance.leader and instance.adopted:
        where = "" if instance.log else "; it logs where it was started"
        notes.append(f"adopted: somebody else started it, and the next start is orch's{where}")
    left = [process for one in mine if not one.leader for process in one.children]
    if left:
        pids = ", ".join(f"{one.pid} ({one.command})" for one in left)
        notes.append(f"left over: {pids}; `orch apply` clears them")
    here = digest(instance.spec) if instance and instance.leader and instance.spec else ""
    others = [one for one in record.rejected if one.digest != here] if record and instance and instance.leader else []
    if others:
        last = others[-1]
        more = f"`orch explain {record.name}` tells more" if record else ""
        notes.append(f"spec {last.digest} failed: {last.why}; {more}, and it is not tried again while this one runs")
    return tuple(notes)
