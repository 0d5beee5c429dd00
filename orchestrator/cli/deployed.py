"""From the words of a person to the deployments of this project: those on record, and those that only run because
their record was lost."""

from collections.abc import Mapping, Sequence

from orchestrator.errors import InputError
from orchestrator.model import Deployment, Record, Spec
from orchestrator.ports import Eyes


def specs(eyes: Eyes) -> Mapping[str, Spec | None]:
    """What each deployment is, or was last known to be, by name."""
    running = {one.name: one.spec for one in eyes.target.list(eyes.state.project, {})}
    return {**{name: _spec(one) for name, one in eyes.state.records().items()}, **running}


def choose(names: Sequence[str], eyes: Eyes) -> tuple[str, ...]:
    """Each by its name or by the model it serves; without a name the single one there is. Raises InputError."""
    known = specs(eyes)
    if names:
        return tuple(dict.fromkeys(_one(name, known) for name in names))
    if len(known) == 1:
        return tuple(known)
    why = f"{', '.join(sorted(known))} are deployed" if known else "nothing is deployed here"
    raise InputError("tell which deployment is meant", why, "give its name")


def _one(name: str, known: Mapping[str, Spec | None]) -> str:
    if name in known:
        return name
    serving = sorted(one for one, spec in known.items() if spec and _serves(spec, name))
    if len(serving) == 1:
        return serving[0]
    if serving:
        why = f"{', '.join(serving)} serve it"
        raise InputError(f"tell which deployment {name} is", why, "give one of these names")
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    there = f"there is {', '.join(sorted(known))}" if known else "begin with `orch apply profiles/NAME.yaml`"
    do = f"did you mean {close[0]}?" if close else there
    raise InputError(f"find a deployment called {name}", "this project has none of that name", do)


def _serves(spec: Spec, model: str) -> bool:
    return model == spec.model.label or model in Deployment("", "", spec).served_names


def _spec(record: Record) -> Spec | None:
    if record.revision:
        return record.revision.deployment.spec
    return record.attempt.deployment.spec if record.attempt else None
