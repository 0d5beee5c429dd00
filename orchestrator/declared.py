"""The host that an environment declares, as if nothing ran on it: what a plan is made against elsewhere. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.cards import cards
from orchestrator.engines.repos import repos
from orchestrator.errors import InputError, PlanError
from orchestrator.model import Deployment, Environment, Gpu, Inventory, Observed, RuntimeState, Weights
from orchestrator.placement import asks, place

ELSEWHERE = "its cache is on another host"


def observed(desired: Sequence[Deployment], environment: Environment) -> Observed:
    """Raises InputError when the environment declares no host."""
    unbuilt = RuntimeState("buildable", ELSEWHERE)
    return Observed(
        runtimes={one.name: unbuilt for one in desired if one.spec.runtime.kind == "requirements"},
        weights={one.name: tuple(Weights(use, why=ELSEWHERE) for use in repos(one.spec)) for one in desired},
        inventory=inventory(environment),
    )


def crowded(desired: Sequence[Deployment], environments: Sequence[Environment]) -> list[PlanError]:
    """Why these do not fit together on the hosts that their environments declare. Two that declare the same host mean
    the same; one that declares none says nothing."""
    errors: list[PlanError] = []
    for host in dict.fromkeys(one.host_gpus for one in environments if one.host_gpus):
        there = [one for one in environments if one.host_gpus == host]
        names = {one.name for one in there}
        # Which card has which UUID is the host's to know; that there are enough of them is told from here.
        wanted = [_counted(one) for one in desired if one.environment in names]
        found, refused = asks(wanted, observed(wanted, there[0]))
        errors += [*refused, *place(found, cards(inventory(there[0]), ()), ()).errors]
    return errors


def _counted(wanted: Deployment) -> Deployment:
    pinned = wanted.spec.gpus
    if not isinstance(pinned, tuple) or all(gpu.isdigit() for gpu in pinned):
        return wanted
    return replace(wanted, spec=replace(wanted.spec, gpus=len(pinned)))


def inventory(environment: Environment) -> Inventory:
    """Cards that are all alike, of which nothing is known but what the file says. Raises InputError."""
    said = environment.host_gpus
    if said is None:
        do = "say which GPUs it has: host: {gpus: {model: ..., count: 4, memory: 49140MiB}}"
        at = environment.source.at("host")
        raise InputError(f"plan for the host of {environment.name}", "it declares none", do, at)
    name, memory, capability = said.model, said.memory, said.compute_capability
    gpus = (Gpu(index, str(index), name, memory, capability=capability) for index in range(said.count))
    return Inventory(tuple(gpus))
