"""What stands in the way of a start: ports and GPUs that are held, by ours or by others, and runtimes that are not
there. Pure; what is to be done about it is said to the person, for orch removes nothing it did not make (invariant 6).
"""

from collections.abc import Iterable, Sequence

from orchestrator.errors import PlanError
from orchestrator.model import Deployment, Instance, Observed, PortHolder


def claims(wanted: Deployment, observed: Observed) -> frozenset[str]:
    """What no other engine may hold. Two may share a whole GPU where it is known to have room for both."""
    shared = observed.inventory is not None
    return frozenset(one for one in wanted.claims if not shared or one.startswith(("port ", "GPU MIG-")))


def conflicts(starting: Sequence[Deployment], staying: Sequence[Instance], observed: Observed) -> list[PlanError]:
    """Why ``starting`` cannot start while ``staying`` go on; empty when they can."""
    held = [(one, holds(one, observed)) for one in staying]
    ours = {process.pid for one in observed.instances for process in one.processes}
    errors: list[PlanError] = []
    first: dict[str, str] = {}
    for wanted in starting:
        errors += _wanted_twice(wanted, claims(wanted, observed), first)
        if (state := observed.runtimes.get(wanted.name)) and state.status == "missing":
            at = wanted.source.at("environment")
            errors.append(PlanError(f"use the runtime of {wanted.environment}", state.why, at=at))
        errors += _held_by_ours(wanted, claims(wanted, observed), held)
        holder = observed.holders.get(wanted.spec.serve.port)
        if holder and holder.pid not in ours and not (holder.pid == 0 and _someone_of_ours(holder.port, observed)):
            errors.append(_held_by_others(wanted, holder))
    return errors


def holds(instance: Instance, observed: Observed) -> frozenset[str]:
    """What an instance keeps others from having: what its spec claims, and where it is seen listening."""
    pids = {process.pid for process in instance.processes}
    listens = {f"port {port}" for port, one in observed.holders.items() if one.pid in pids}
    return (claims(Deployment(instance.name, "", instance.spec), observed) if instance.spec else frozenset()) | listens


def _wanted_twice(wanted: Deployment, claimed: Iterable[str], first: dict[str, str]) -> list[PlanError]:
    """``first`` maps a claim to the deployment that came first with it, and is added to."""
    errors = []
    for claim in sorted(claimed):
        if (other := first.setdefault(claim, wanted.name)) != wanted.name:
            why, at = f"{claim} is wanted by {other} too", wanted.source.at("serve", "port")
            errors.append(PlanError(f"start {wanted.name}", why, "start one of the two", at))
    return errors


def _held_by_ours(
    wanted: Deployment, claimed: frozenset[str], staying: Iterable[tuple[Instance, frozenset[str]]]
) -> list[PlanError]:
    errors = []
    for other, has in staying:
        held = sorted(has & claimed)
        if not held or other.name == wanted.name:
            continue
        do = f"add `--replace {other.name}` to stop it in the same plan, or give {wanted.name} another {_noun(held)}"
        why = f"{' and '.join(held)} {'are' if held[1:] else 'is'} held by {other.name}, which runs"
        if other.owned:
            do = "end that one there first"
            why += f" in the foreground under `orch run` (pid {other.marker.owner.partition(':')[0]})"
        at = wanted.source.at("serve", "port") if held[-1].startswith("port") else wanted.source.at("gpus")
        errors.append(PlanError(f"start {wanted.name}", why, do, at=at))
    return errors


def _noun(claims: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(claim.partition(" ")[0] for claim in claims))


def _held_by_others(wanted: Deployment, holder: PortHolder) -> PlanError:
    what, at = f"start {wanted.name}", wanted.source.at("serve", "port")
    if not holder.pid:
        why = f"port {holder.port} is in use by a process that this user may not see"
        return PlanError(what, why, "change the port, or have its owner end it", at)
    if other := holder.marker:
        why = f"port {holder.port} is in use by {other.name} of another project, {other.project} (pid {holder.pid})"
        return PlanError(what, why, f"`orch stop {other.name}` there, or change the port", at)
    who = f"pid {holder.pid} ({holder.command}, user {holder.user})"
    why = f"port {holder.port} is in use by {who}, which orch did not start"
    return PlanError(what, why, "end it yourself, or change the port", at)


def _someone_of_ours(port: int, observed: Observed) -> bool:
    return any(one.leader and one.spec and one.spec.serve.port == port for one in observed.instances)
