"""Looks at a model without loading it: at its files and those of its other forms, here or on the Hub, at the cards that
it is to fit, and at what a person wants to ask it. Starts no engine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator import fitting, headers
from orchestrator.engines import vllm
from orchestrator.engines.knowledge import Engine
from orchestrator.engines.repos import repos
from orchestrator.errors import FetchFailed, HostError, InputError
from orchestrator.fit.cards_of import KV_SPACE
from orchestrator.fit.description import Description
from orchestrator.fit.inputs import TOKENIZER_FILES, Input
from orchestrator.fit.inspection import Counted
from orchestrator.fit.model import Cards, Seen, Use
from orchestrator.fit.relatives import Relative
from orchestrator.hub.describing import Form, HubDescriber
from orchestrator.hub.layout import Repo
from orchestrator.learning import seen
from orchestrator.model import Deployment, Environment, ModelRef, RuntimeState
from orchestrator.ports import Eyes, FetchEvents, WeightStore
from orchestrator.runtimes.tokens import KEPT, count


def described(wanted: Deployment, hub: HubDescriber) -> Description:
    """Of a profile whose model cannot be had, what the config.json beside it says. Raises HostError for a folder that
    cannot be looked at, and FetchFailed for a repository of which nothing is known."""
    if wanted.spec.model.path is not None:
        return headers.at(Path(wanted.spec.model.path), str(wanted.spec.serve.args.get("load_format", "auto")))
    try:
        return hub.describe(wanted)
    except FetchFailed as error:
        if (found := fitting.beside(wanted.source.file)) is None:
            raise
        return replace(found, notes=(*found.notes, str(error)))


def forms(
    wanted: Deployment, found: Description, named: Sequence[str], hub: HubDescriber, *, all_of_them: bool
) -> tuple[tuple[Form, ...], str]:
    """The model, then its other forms: those ``named``, and with ``all_of_them`` what the Hub knows. Beside them why
    these could not be found, or nothing."""
    own = Relative(wanted.spec.model.label, disk=found.disk, cached=1.0 if found.here and found.complete else None)
    if wanted.spec.model.repo and all_of_them:
        try:
            return hub.variants(wanted, named), ""
        except FetchFailed as error:
            return ((own, found),), str(error)
    return ((own, found), *(_named(wanted, one, hub) for one in named)), ""


def _named(wanted: Deployment, name: str, hub: HubDescriber) -> Form:
    one = replace(wanted, spec=replace(wanted.spec, model=ModelRef(repo=name), commits={}))
    try:
        told = hub.describe(one)
    except FetchFailed as error:
        return Relative(name, given=True, why=str(error)), None
    cached = 1.0 if told.here and told.complete else 0.0
    why = str(told.error) if told.error else ""
    return Relative(name, given=True, disk=told.disk, cached=cached, gated=told.gated, why=why), told


# -------------------------------------------------------------------------------------------------------------- cards


def cards_elsewhere(environment: Environment, state: RuntimeState) -> Cards:
    """Those of the host that an environment declares. Raises InputError when it declares none."""
    if (found := fitting.cards_declared(environment, state=state)) is not None:
        return found
    what = f"take the cards of {environment.name}"
    if vllm.device(environment.runtime, state.info) == "cpu":
        do = f'say how much memory the KV cache may take: env: {{{KV_SPACE}: "4"}}'
        raise InputError(what, f"it computes on the processor, and {KV_SPACE} is not set", do)
    do = "say which GPUs it has: host: {gpus: {model: ..., count: 4, memory: 49140MiB}}"
    raise InputError(what, "it declares none, or not how much memory they have", do, environment.source.at("host"))


def cards_here(wanted: Deployment, environment: Environment, state: RuntimeState, eyes: Eyes) -> Cards | None:
    """This host's, else what the environment declares; None where neither tells of any."""
    here = fitting.cards_here(wanted, state, eyes.gpus.inventory())
    return here or fitting.cards_declared(environment, wanted.spec)


def learnt(wanted: Deployment, use: Use, cards: Cards, engine: Engine | None, eyes: Eyes) -> Seen | None:
    """What an engine like it reported on this host; nothing of a host that a file declares."""
    if cards.how != "measured":
        return None
    kept = [record.revision for record in eyes.state.records().values() if record.revision]
    return seen(wanted, use, cards, kept, engine)


# ------------------------------------------------------------------------------------------------------------- tokens


def counted(
    wanted: Deployment,
    found: Description,
    inputs: Sequence[Input],
    expected: int,
    state: RuntimeState,
    store: Callable[[], WeightStore],
    events: FetchEvents,
    variables: Mapping[str, str],
) -> Counted:
    """In the runtime of ``state``. Of a repository whose tokenizer is not here, that is fetched, and no weights. Raises
    FetchFailed, HostError or RuntimeFailure."""
    args, folder = wanted.spec.serve.args, _tokenizer(wanted, found, store, events)
    template = args.get("chat_template")
    told = count(
        wanted.spec.runtime,
        state,
        folder,
        inputs,
        variables,
        trust_remote_code=args.get("trust_remote_code") is True,
        chat_template=_template(template) if isinstance(template, str) else None,
    )
    return Counted(tuple(inputs), told, expected)


def _tokenizer(wanted: Deployment, found: Description, store: Callable[[], WeightStore], events: FetchEvents) -> Path:
    given = wanted.spec.serve.args.get("tokenizer")
    if isinstance(given, str) and Path(given).is_dir():
        return Path(given)
    uses = {use.slot: use for use in repos(wanted.spec)}
    use = uses.get("tokenizer") or uses.get("model")
    if use is None:
        place = Path(str(wanted.spec.model.path))
        return place if place.is_dir() else place.parent
    weights = store()
    cache = Path(weights.cache(wanted.spec))
    if found.here and use.slot == "model" and _has_tokenizer(Repo(cache, use.repo).snapshot(found.commit)):
        return Repo(cache, use.repo).snapshot(found.commit)
    fetched = weights.fetch(weights.resolve(wanted, None), events, TOKENIZER_FILES)
    commit = next((one.commit for one in fetched if one.use.repo == use.repo and one.commit), "")
    return Repo(cache, use.repo).snapshot(commit)


def _has_tokenizer(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in KEPT)


def _template(given: str) -> str:
    """A file, or the template itself, as the engine has it."""
    if any(mark in given for mark in "{}\n"):
        return given
    try:
        return Path(given).read_text("utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise HostError(f"read the chat template {given}", why.lower(), "correct serve.args.chat_template") from error
