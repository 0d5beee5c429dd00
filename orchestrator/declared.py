"""The host that an environment declares, as if nothing ran on it: what a plan is made against elsewhere. Pure."""

from collections.abc import Sequence

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


def crowded(desired: Sequence[Deployment], environment: Environment) -> list[PlanError]:
    """Why these do not fit together on the host that their environment declares; nothing where it declares none."""
    if environment.host_gpus is None:
        return []
    seen = observed(desired, environment)
    found, errors = asks([one for one in desired if one.environment == environment.name], seen)
    host = seen.inventory or Inventory()
    return [*errors, *place(found, cards(host, ()), host.links).errors]


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
