"""What `orch inspect` is asked about, as a deployment of which only the model, the runtime and the cards matter."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.bare import is_repo, place
from orchestrator.errors import HostError, UsageProblem
from orchestrator.find import ENDINGS
from orchestrator.model import Deployment, Environment, ModelRef, Profile, RuntimeState
from orchestrator.resolve import is_open, resolve

if TYPE_CHECKING:
    from orchestrator.cli.context import Context
    from orchestrator.engines.knowledge import Engine
    from orchestrator.fit.model import Cards
    from orchestrator.ports import Say

_MODEL_FILES = ("config.json", "params.json", "*.safetensors", "*.gguf", "*.bin", "*.pt")


@dataclass(frozen=True)
class Subject:
    """``at`` is the environment that it runs in, ``other`` the one whose cards are asked for. ``sized``: it says itself
    on how many cards it is spread."""

    wanted: Deployment
    at: Environment
    other: Environment | None = None
    sized: bool = False

    def state(self, here: "Context") -> RuntimeState:
        return here.eyes.runtimes.state(self.at.runtime)

    def looked_into(self, here: "Context", say: "Say") -> RuntimeState:
        """Of an existing runtime that was never looked into, now. Raises RuntimeFailure."""
        known, spec = self.state(here), self.at.runtime
        if known.info or spec.kind == "requirements":
            return known
        return RuntimeState("ready", info=here.eyes.runtimes.look(spec, say))

    def cards(self, here: "Context") -> "Cards | None":
        """Raises InputError where the named environment declares none."""
        from orchestrator.inspecting import cards_elsewhere, cards_here

        if self.other:
            return cards_elsewhere(self.other, here.eyes.runtimes.state(self.other.runtime))
        return cards_here(self.wanted, self.at, self.state(here), here.eyes)

    def engine(self, here: "Context", *, certain: bool = False) -> "Engine | None":
        """What its version takes; of one that is not known, what the newest does, unless that is to be ``certain``."""
        from orchestrator.cli.homes import runtime_reader
        from orchestrator.rehearsal import Rehearsal, pinned

        if certain and not (self.state(here).info or pinned(self.at.runtime)):
            return None
        reader = runtime_reader(os.environ)
        return Rehearsal(reader, reader.told, os.environ).known(self.at).engine


def subject(
    what: str, environment: str | None, given: Sequence[str], root: str | None, state_dir: str | None
) -> "tuple[Context, Subject]":
    """Raises InputError for what is none of them, and UsageProblem for what is several."""
    from orchestrator.cli.context import context

    model = _model(what)
    here = context(root, state_dir, () if model else (what,))
    if model is None:
        return here, _profile(here, what, environment, given)
    if given:
        raise UsageProblem("use --set", f"{what} is no profile", "leave it out")
    other = here.environment(environment) if environment else None
    at = other or place(here, None, os.environ)
    found = resolve(Profile(model.label, at.name, model), at, {})
    return here, Subject(_with_secrets(here, here.at_lock(found)), at, other)


def _model(what: str) -> ModelRef | None:
    """None for a profile. Raises UsageProblem for a page that is no model's."""
    if what.startswith(("http://", "https://")):
        return _on_page(what)
    path = Path(what)
    if what.endswith(".gguf") or (path.is_dir() and _is_model(path)):
        return ModelRef(path=str(path.absolute()))
    if what.endswith(ENDINGS) or not is_repo(what):
        return None
    repo, _, revision = what.partition("@")
    return ModelRef(repo=repo, revision=revision or None)


def _on_page(url: str) -> ModelRef:
    """``https://HUB/OWNER/NAME``, and with ``/tree/REVISION``."""
    from orchestrator.checks import is_repo as could_be
    from orchestrator.hub.access import HUB

    hubs = (os.environ.get("HF_ENDPOINT", HUB).rstrip("/"), HUB)
    page = next((url.removeprefix(f"{hub}/") for hub in hubs if url.startswith(f"{hub}/")), "")
    owner, _, rest = re.sub(r"[?#].*", "", page).strip("/").partition("/")
    name, _, rest = rest.partition("/")
    kind, _, revision = rest.partition("/")
    if not name or not could_be(f"{owner}/{name}") or (kind, bool(revision)) not in (("", False), ("tree", True)):
        do = f"name a repository, OWNER/NAME or {HUB}/OWNER/NAME, or a file that is here"
        raise UsageProblem(f"inspect {url}", "it is no page of a model on the Hub", do)
    return ModelRef(repo=f"{owner}/{name}", revision=revision or None)


def _is_model(folder: Path) -> bool:
    """A folder with profiles in it is theirs."""
    if any(next(folder.glob(pattern), None) for pattern in _MODEL_FILES):
        return True
    return not any(path.suffix in ENDINGS for path in folder.glob("*"))


def _profile(here: "Context", what: str, environment: str | None, given: Sequence[str]) -> Subject:
    profiles, environments = here.load([what], given)
    if len(profiles) != 1:
        names = ", ".join(one.name for one in profiles)
        raise UsageProblem(f"inspect {what}", f"it holds {len(profiles)} profiles ({names})", "name one of them")
    at = environments[profiles[0].environment]
    found = here.at_lock(resolve(profiles[0], at, {}, tuple(given)))
    other = here.environment(environment) if environment else None
    return Subject(_with_secrets(here, found), at, other, sized=not is_open(found))


def _with_secrets(here: "Context", wanted: Deployment) -> Deployment:
    """Those that can be read: a token is a help here, and no condition."""
    return replace(
        wanted, secret_refs={name: ref for name, ref in wanted.secret_refs.items() if _is_there(here, wanted, name)}
    )


def _is_there(here: "Context", wanted: Deployment, name: str) -> bool:
    try:
        here.eyes.host.secret(name, wanted.secret_refs[name])
    except HostError:
        return False
    return True
