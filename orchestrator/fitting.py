"""Will it fit: a deployment's model, as far as this disk tells of it, on the cards that are there. Never asks the Hub.

Whatever cannot be found out is no obstacle: there is then no answer. What `fit` needs is imported where it is used, for
most commands start nothing.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.engines import vllm
from orchestrator.errors import HostError, InputError
from orchestrator.files import read_json
from orchestrator.model import Deployment, Environment, Inventory, Observed, Revision, RuntimeState, Spec
from orchestrator.ports import Eyes, RuntimeReader, WeightReader
from orchestrator.resolve import is_open, sized

if TYPE_CHECKING:
    from orchestrator.engines.knowledge import Engine
    from orchestrator.fit.description import Description
    from orchestrator.fit.model import Cards, Fit


def fits(eyes: Eyes, desired: Sequence[Deployment], seen: Observed) -> Mapping[str, "Fit"]:
    """Of those that may start: nothing serves yet that was started with the same spec."""
    live: dict[str, list[Spec | None]] = {}
    for one in seen.instances:
        live.setdefault(one.name, []).extend([one.spec] if one.leader else [])
    starting = [one for one in desired if one.spec not in live.get(one.name, ())]
    return {one.name: found for one in starting if (found := fit_of(one, eyes, seen))}


def fit_of(wanted: Deployment, eyes: Eyes, seen: Observed) -> "Fit | None":
    """By what this disk tells of it now, on the cards of ``seen``, and as the records there teach."""
    state = seen.runtimes.get(wanted.name)
    cards = cards_here(wanted, state, seen.inventory)
    model = described(wanted, eyes.weights) if cards else None
    if cards is None or model is None:
        return None
    kept = [one.revision for one in seen.records.values() if one.revision]
    return reckon(model, wanted, cards, _engine(eyes.runtimes, state), kept)


def elsewhere(
    weights: WeightReader, desired: Sequence[Deployment], environment: Environment, engine: "Engine | None" = None
) -> Mapping[str, "Fit"]:
    """On the host that an environment declares."""
    found = {}
    for wanted in desired:
        if (model := described(wanted, weights)) and (cards := cards_declared(environment, wanted.spec)):
            found[wanted.name] = reckon(model, wanted, cards, engine)
    return found


# --------------------------------------------------------------------------------------------------------- the model


def described(wanted: Deployment, weights: WeightReader) -> "Description | None":
    """What is on this disk: the model itself, or else its config.json beside the profile, as NAME.config.json."""
    model = wanted.spec.model
    found = in_folder(wanted.spec) if model.path else weights.described(wanted)
    return found or beside(wanted.file or wanted.source.file)


def in_folder(spec: Spec) -> "Description | None":
    """A folder or a file that is served by its path."""
    path = spec.model.path or ""
    if not os.path.exists(path):  # noqa: PTH110 (never raises)
        return None
    from orchestrator import headers
    from orchestrator.describe import in_brief

    load_format = str(spec.serve.args.get("load_format") or "auto")
    try:
        found = in_brief(lambda each: headers.at(Path(path), load_format, each=each))
    except HostError:
        return None
    return found if found.config or found.headers else None


def beside(profile: str) -> "Description | None":
    """A config.json alone, put beside a profile for whoever has not got the model."""
    file = Path(profile).with_suffix(".config.json") if profile.rpartition("/")[2] else None
    if file is None or (config := read_json(file)) is None:
        return None
    from orchestrator.fit.description import Description

    return Description(str(file), texts={"config.json": config})


# --------------------------------------------------------------------------------------------------------- the cards


def cards_here(wanted: Deployment, state: RuntimeState | None, inventory: Inventory | None) -> "Cards | None":
    """None where nobody tells how much memory there is, or the engine computes on something else."""
    info, spec = state.info if state else None, wanted.spec
    kind = vllm.device(spec.runtime, info)
    if kind == "other" or (kind != "cpu" and (inventory is None or spec.gpus == 0)):
        return None
    from orchestrator.fit.cards_of import cards_of

    pinned = spec.gpus if isinstance(spec.gpus, tuple) else ()
    env = {**(info.env if info else {}), **spec.env}
    return cards_of(inventory, env, device=kind, ranks=vllm.ranks(spec), pinned=pinned)


def cards_declared(
    environment: Environment, spec: Spec | None = None, state: RuntimeState | None = None
) -> "Cards | None":
    """For an engine that is started as ``spec`` says, else as the environment itself does. ``state`` is its runtime's
    where that is looked at. None where it does not say how much memory there is."""
    from orchestrator.fit.cards_of import cards_of

    runtime, env = (spec.runtime, spec.env) if spec else (environment.runtime, environment.env)
    kind = vllm.device(runtime, state.info if state else None)
    return cards_of(environment.host_gpus, env, device=kind, source=environment.source.file or environment.name)


def _engine(runtimes: RuntimeReader, state: RuntimeState | None) -> "Engine | None":
    return runtimes.engine(state.info) if state and state.info else None


# ----------------------------------------------------------------------------------------------------------- the sum


def reckon(
    model: "Description",
    wanted: Deployment,
    cards: "Cards",
    engine: "Engine | None" = None,
    kept: Iterable[Revision] = (),
) -> "Fit":
    """``kept`` are revisions of this host, whose engines told what they took."""
    from orchestrator.fit.advice import fit
    from orchestrator.fit.known import model_of
    from orchestrator.fit.use import use_of
    from orchestrator.learning import seen

    use = use_of(wanted.spec, engine)
    return fit(*model_of(model), cards, use, seen=seen(wanted, use, cards, kept, engine))


# --------------------------------------------------------------------------------------- tensor_parallel_size: auto


def settled(wanted: Deployment, eyes: Eyes) -> Deployment:
    """With as few of this host's cards as do. Raises InputError where that cannot be told."""
    if not is_open(wanted):
        return wanted
    state = eyes.runtimes.state(wanted.spec.runtime)
    kind = vllm.device(wanted.spec.runtime, state.info)
    if kind == "cpu":
        return sized(wanted, 1)
    cards = cards_here(wanted, state, eyes.gpus.inventory())
    if cards is None:
        raise _unsettled(wanted, "no GPU of this host tells its memory", "see `orch gpus`, or write the number")
    revisions = [one.revision for one in eyes.state.records().values() if one.revision]
    return _fewest(wanted, eyes.weights, cards, _engine(eyes.runtimes, state), revisions)


def settled_elsewhere(wanted: Deployment, environment: Environment, weights: WeightReader) -> Deployment:
    """On the host that an environment declares. Raises InputError."""
    if not is_open(wanted):
        return wanted
    if vllm.device(wanted.spec.runtime, None) == "cpu":
        return sized(wanted, 1)
    cards = cards_declared(environment, wanted.spec)
    if cards is None:
        do = "declare it: host: {gpus: {model: ..., count: 4, memory: 49140MiB}}, or write the number"
        raise _unsettled(wanted, f"{environment.name} does not say how much memory its GPUs have", do)
    return _fewest(wanted, weights, cards)


def _fewest(
    wanted: Deployment,
    weights: WeightReader,
    cards: "Cards",
    engine: "Engine | None" = None,
    kept: Iterable[Revision] = (),
) -> Deployment:
    model = described(wanted, weights)
    if model is None:
        place = wanted.spec.model.path
        do = f"`orch pull {wanted.name}` first, or write the number" if not place else "write the number"
        raise _unsettled(wanted, f"{place or 'the model'} is not on this disk, which would tell how large it is", do)
    from orchestrator.fit.advice import smallest
    from orchestrator.fit.known import model_of
    from orchestrator.fit.use import use_of
    from orchestrator.learning import seen

    use, made = use_of(wanted.spec, engine), list(kept)
    shape, sizes = model_of(model)
    if found := smallest(shape, sizes, cards, use, lambda tried: seen(wanted, tried, cards, made, engine)):
        return sized(wanted, found.tensor)
    answer = reckon(model, sized(wanted, max(1, cards.count // use.pipeline)), cards, engine)
    if answer.verdict == "unknown":
        raise _unsettled(wanted, answer.why, "write the number")
    why = f"it fits none of 1 to {cards.count} cards: on {answer.layout.cards}, {answer.why}"
    do = answer.changes[0].text if answer.changes else "write the number if the reckoning is wrong"
    raise _unsettled(wanted, why, do, "does-not-fit")


def _unsettled(wanted: Deployment, why: str, do: str, code: str = "") -> InputError:
    what = f"work out tensor_parallel_size of {wanted.name}"
    return InputError(what, why, do, wanted.source.at("serve", "tensor_parallel_size"), code)
