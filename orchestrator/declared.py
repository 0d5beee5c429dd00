"""The host that an environment declares, as if nothing ran on it: what a plan is made against elsewhere. Pure."""

from collections.abc import Iterable

from orchestrator.engines.repos import repos
from orchestrator.errors import InputError
from orchestrator.model import Deployment, Environment, Gpu, Inventory, Observed, RuntimeState, Weights

ELSEWHERE = "its cache is on another host"


def observed(desired: Iterable[Deployment], environment: Environment) -> Observed:
    """Raises InputError when the environment declares no host."""
    wanted = tuple(desired)
    unbuilt = RuntimeState("buildable", ELSEWHERE)
    return Observed(
        runtimes={one.name: unbuilt for one in wanted if one.spec.runtime.kind == "requirements"},
        weights={one.name: tuple(Weights(use, why=ELSEWHERE) for use in repos(one.spec)) for one in wanted},
        inventory=inventory(environment),
    )


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
