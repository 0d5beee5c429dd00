"""Taking over an engine that orch did not start: what is recorded of it, and what must be true of it first. Looks only;
the record is written by whoever carries out the plan."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from orchestrator.engines import vllm
from orchestrator.errors import HostError, PlanError
from orchestrator.model import Attempt, Deployment, Instance, Inventory, Json, Marker, Observed, Process, Spec
from orchestrator.plan import Adopt, Drift, Plan, Reason, Step
from orchestrator.ports import Eyes

_RANKS: Mapping[str, tuple[Json, ...]] = {
    "nnodes": (1,),
    "node_rank": (0,),
    "headless": (False,),
    "data_parallel_rank": (),
    "data_parallel_start_rank": (0,),
}
"""Flags of one rank of several, with the values that mean nothing."""


def attempt(leader: Process, wanted: Deployment, boot: str, at: float, log: str) -> Attempt:
    """``at`` is when the engine started, seconds since the epoch. Its id is that of no start of orch's own."""
    name = f"adopted-{leader.pid}-{leader.start}"
    return Attempt(name, leader.pid, leader.start, boot, at, wanted, log, adopted=True)


def check_whole(spec: Spec, what: str) -> None:
    """Raises PlanError for a part of an engine that runs on several hosts: orch would know nothing of the rest."""
    args = spec.serve.args
    total, here = args.get("data_parallel_size"), args.get("data_parallel_size_local")
    flag = next((name for name, alone in _RANKS.items() if args.get(name) not in (None, *alone)), "")
    if isinstance(total, int) and isinstance(here, int) and here < total:
        flag = flag or "data_parallel_size_local"
    if flag:
        why = f"it is one part of several (--{flag.replace('_', '-')}), and the others would not be taken over"
        raise PlanError(what, why, "adopt an engine that runs on one host by itself")


def planned(taken: Attempt, visible: str | None, pids: Iterable[int], seen: Observed) -> Plan:
    """``visible`` as its CUDA_VISIBLE_DEVICES, ``pids`` of all its processes. Raises PlanError when the name is in
    use."""
    wanted = taken.deployment
    if wanted.name in seen.records or any(one.name == wanted.name for one in seen.instances):
        why, do = f"{wanted.name} is deployed already", f"give another name, or `orch delete {wanted.name}` first"
        raise PlanError(f"adopt process {taken.pid}", why, do)
    change = Adopt(replace(taken, gpus=cards(visible, set(pids), seen.inventory)))
    drift = Drift(Reason.RECORD, detail=f"pid {taken.pid} is taken over as it runs")
    return Plan((Step(f"adopt/{wanted.name}", wanted.name, change, drift),))


def cards(visible: str | None, pids: set[int], inventory: Inventory | None) -> tuple[str, ...]:
    """Where the driver shows its processes, for the indexes of a process that was not told to count as nvidia-smi does
    may mean other cards; else what it was told."""
    told = tuple(part.strip() for part in (visible or "").split(",") if part.strip())
    whole = [gpu for gpu in (inventory.gpus if inventory else ()) if not gpu.mig]
    found = tuple(gpu.uuid for gpu in whole if pids & {one.pid for one in gpu.processes})
    return found if found and not any(one.startswith("MIG-") for one in told) else told


def proven(eyes: Eyes, taken: Attempt, key: str | None) -> Instance:
    """The engine as its record will find it, once it is sure that it lives, that nobody else listens on its port, and
    that it answers under its names. ``key`` is its API key, if that is known. Raises HostError."""
    wanted, what = taken.deployment, f"adopt process {taken.pid}"
    marker = Marker(eyes.state.project, wanted.name, taken.id)
    listed = eyes.target.list(eyes.state.project, {marker: taken})
    found = next((one for one in listed if one.marker == marker and one.leader), None)
    if found is None:
        raise HostError(what, "it is gone", "see `orch gpus` or `ps`")
    port = wanted.spec.serve.port
    holder = eyes.host.holders([port]).get(port)
    if holder is None:
        raise HostError(what, f"it does not listen on port {port} yet", "adopt it once it answers")
    if holder.pid and holder.pid not in {one.pid for one in found.processes}:
        why = f"port {port} is held by pid {holder.pid} ({holder.command}), which is none of its processes"
        raise HostError(what, why, "see what that is")
    answer = eyes.prober.ask(vllm.endpoint(wanted.spec), wanted.served_names, key)
    if not answer.ready:
        raise HostError(what, f"it does not answer as it should: {answer.why}", "adopt it once it does")
    if answer.why:
        do = f"let environments/{wanted.environment}.yaml name VLLM_API_KEY under secrets, with the key of this engine"
        raise HostError(what, answer.why, do)
    return found
