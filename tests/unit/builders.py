"""Short ways to the values that a plan is made of: one deployment, what runs of it, what is remembered of it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.codec import digest
from orchestrator.model import (
    Attempt,
    Deployment,
    Instance,
    Intent,
    Marker,
    ModelRef,
    Observed,
    Phase,
    Pin,
    Policy,
    PortHolder,
    Process,
    Pull,
    Record,
    Rejected,
    RepoUse,
    Restart,
    Revision,
    RuntimeSpec,
    RuntimeState,
    Serve,
    Source,
    Spec,
    Weights,
)

NOW = 1_800_000_000.0
COMMIT = "0499c2f1" + "0" * 32
VENV = RuntimeSpec("venv", "/opt/vllm")
BUILT = RuntimeSpec("requirements", requirements=("vllm==0.32.0",))


def wanted(name: str = "qwen", *, port: int = 8000, timeout: float = 1200.0, **fields: Any) -> Deployment:
    """``fields`` are those of Spec, of Serve, or of the model (``repo``, ``revision``)."""
    serve = {key: fields.pop(key) for key in tuple(fields) if key in Serve.__dataclass_fields__}
    model = {"repo": "Qwen/Qwen3-32B-AWQ"} | {
        key: fields.pop(key) for key in tuple(fields) if key in ModelRef.__dataclass_fields__
    }
    spec = Spec(ModelRef(**model), Serve(port=port, **serve), fields.pop("runtime", VENV), **fields)
    source = Source(f"profiles/{name}.yaml", {("serve", "port"): (9, 9), ("environment",): (2, 14), ("gpus",): (12, 7)})
    return Deployment(name, "lab", spec, Policy(timeout, Restart()), source=source)


def running(
    of: Deployment, *, pid: int = 4000, attempt: str = "", phase: Phase = Phase.READY, **fields: Any
) -> Instance:
    """The API server and an EngineCore, started a minute before NOW."""
    marker = Marker("lab-1234", of.name, attempt or f"00001-{of.name}", fields.pop("owner", ""))
    leader = Process(pid, pid * 10, pid, "vllm", marker)
    child = Process(pid + 1, pid * 10 + 5, pid, "VLLM::EngineCore", marker, parent=pid)
    given = {"spec": of.spec, "started_at": NOW - 60, "log": f"/state/{of.name}/logs/{marker.attempt}.log"} | fields
    return Instance(marker, phase, leader, (child,), **given)


def leftovers(of: Deployment, *, pid: int = 4000, why: str = "", **fields: Any) -> Instance:
    whole = running(of, pid=pid, **fields)
    return Instance(whole.marker, Phase.FAILED, None, whole.children, whole.spec, whole.started_at, whole.log, why)


def remembered(
    of: Deployment,
    *,
    intent: Intent = Intent.RUNNING,
    because: str = "",
    ended: str = "",
    cost: float = 83.0,
    number: int = 1,
    rejected: tuple[Rejected, ...] = (),
    ready: bool = True,
) -> Record:
    """``ready``: its last attempt came up, and is the current revision."""
    attempt = Attempt(
        f"00001-{of.name}", 4000, 40000, "boot", NOW - 60, of, ready_at=NOW if ready else None, ended=ended
    )
    revision = Revision(number, digest(of.spec), of, NOW, ready_seconds=cost) if ready else None
    return Record(of.name, intent, revision, attempt, rejected, because)


def pinned(record: Record, number: int) -> Record:
    """The same, gone back to its revision, which is ``number``."""
    good, attempt = record.revision, record.attempt
    assert good and attempt
    at = replace(good.deployment, pinned=number)
    fields = {"revision": replace(good, number=number, deployment=at), "pin": Pin(number, NOW - 50, "ada")}
    return replace(record, attempt=replace(attempt, deployment=at), **fields)


def refused(of: Deployment, why: str = "CUDA out of memory") -> Rejected:
    return Rejected(digest(of.spec), why, NOW - 600, f"/state/{of.name}/logs/00002-x.log", of.spec.secrets)


def seen(
    instances: Iterable[Instance] = (),
    records: Iterable[Record] = (),
    runtimes: Mapping[str, RuntimeState] | None = None,
    holders: Iterable[PortHolder] = (),
    weights: Mapping[str, tuple[Weights, ...]] | None = None,
) -> Observed:
    known = {one.name: one for one in records}
    return Observed(tuple(instances), known, runtimes or {}, {one.port: one for one in holders}, weights or {})


def weights(repo: str = "Qwen/Qwen3-32B-AWQ", *, slot: str = "model", **fields: Any) -> Weights:
    """All of 19.4 GB in 14 files, verified; ``fields`` say what is different."""
    whole = {"total": 19_400_000_000, "here": 19_400_000_000, "files": 14, "left_out": 3, "kind": "safetensors"}
    given = {"commit": COMMIT, "cache": "/data/hf/hub"} | whole | fields
    return Weights(RepoUse(slot, repo), **given)


def pull(**fields: Any) -> Pull:
    whole = {"done": 12_100_000_000, "total": 19_400_000_000, "rate": 112_000_000.0, "files_done": 9, "files": 14}
    return Pull("Qwen/Qwen3-32B-AWQ", COMMIT, "/data/hf/hub", 4711, 47110, "boot", **whole | fields)
