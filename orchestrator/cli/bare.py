"""A repository on the Hub that no profile names, as a deployment of which only the weights matter."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import HostError, InputError, OrchError
from orchestrator.find import folder_files
from orchestrator.model import Environment, ModelRef, Profile, RuntimeSpec

if TYPE_CHECKING:
    from orchestrator.cli.context import Context
    from orchestrator.model import Deployment

_PLACES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")


def bare(
    here: "Context", repo: str, revision: str | None, environment: str | None, variables: Mapping[str, str]
) -> "Deployment":
    """In the cache of ``environment``; without one in the cache that all of the project's environments share, unless
    that is a mere default and the caller has chosen another; or else in the caller's own."""
    chosen = place(here, environment, variables)
    profile = Profile(repo, chosen.name, ModelRef(repo=repo, revision=revision))
    return here.at_lock(here.resolve(profile, chosen, here.eyes))


def place(here: "Context", environment: str | None, variables: Mapping[str, str]) -> Environment:
    """That of which the cache and the token are taken."""
    return named(here, environment, variables) if environment else _usual(here, variables)


def is_repo(text: str) -> bool:
    """OWNER/NAME or OWNER/NAME@REVISION, and no file or folder here."""
    import os.path

    from orchestrator.checks import is_repo as could_be

    text = text.partition("@")[0]
    return "/" in text and could_be(text) and not os.path.exists(text)  # noqa: PTH110 (never raises)


def environments(here: "Context", variables: Mapping[str, str]) -> Sequence[Environment]:
    """Those of the project that load; what is wrong with the others is `orch validate`'s to say."""
    found = []
    for file in folder_files(here.root / "environments"):
        from orchestrator.load import load_environment

        with suppress(OrchError):
            found.append(load_environment(file, variables))
    return found


def callers(variables: Mapping[str, str]) -> Environment:
    """The cache and the settings of the caller's own shell."""
    places = {name: variables[name] for name in _PLACES if name in variables}
    return Environment("", RuntimeSpec("self"), hf_home=variables.get("HF_HOME"), env=places)


def named(here: "Context", name: str, variables: Mapping[str, str]) -> Environment:
    from orchestrator.load import load_environment

    file = next((one for one in folder_files(here.root / "environments") if one.stem == name), None)
    if file is None:
        known = ", ".join(one.stem for one in folder_files(here.root / "environments"))
        raise InputError(
            f"use --environment {name}", f"there is no environments/{name}.yaml", known and f"there is {known}"
        )
    return load_environment(Path(file), variables)


def _usual(here: "Context", variables: Mapping[str, str]) -> Environment:
    known = environments(here, variables)
    places = {(one.hf_home, one.env.get("HF_HUB_CACHE")) for one in known}
    chosen = "HF_HOME" in variables or "HF_HUB_CACHE" in variables
    if len(places) != 1 or (places == {(None, None)} and chosen):
        return callers(variables)
    return replace(
        known[0], secrets={name: ref for name, ref in known[0].secrets.items() if _readable(here, name, known[0])}
    )


def _readable(here: "Context", name: str, environment: Environment) -> bool:
    """A secret of an environment that nobody asked for by name is a help, and no condition."""
    try:
        here.eyes.host.secret(name, environment.secrets[name])
    except HostError:
        return False
    return True
