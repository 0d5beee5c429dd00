"""What `orch lock` does: looks what profiles and environments name, asks for what is to be written, and writes it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.engines.repos import trusts_code
from orchestrator.errors import FetchFailed, OrchError, raise_all
from orchestrator.findings import each
from orchestrator.hub.store import HubReader
from orchestrator.lock_changes import Wants
from orchestrator.lockfile import Base, Lock, LockedModel, LockedRuntime, asked, ordered
from orchestrator.model import Deployment, Environment, RepoUse, RuntimeSpec, Spec
from orchestrator.ports import Say
from orchestrator.runtimes.catalogue import Runtimes
from orchestrator.units import format_size

Key = tuple[str, str]
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Named:
    """What may be locked: each repository with a deployment that names it, each runtime as `asked` makes it and as the
    file has it here."""

    wants: Wants
    models: Mapping[Key, tuple[Deployment, RepoUse]]
    runtimes: Mapping[RuntimeSpec, RuntimeSpec]


def named(deployments: Iterable[Deployment], environments: Iterable[Environment], hub: HubReader, base: Base) -> Named:
    """``environments`` of which a runtime is wanted, whoever serves in it. Reads this disk and asks nobody."""
    models: dict[Key, tuple[Deployment, RepoUse]] = {}
    codes = False
    for one in deployments:
        codes = codes or trusts_code(one.spec)
        for use in hub.uses(one.spec):
            models.setdefault((use.repo, use.revision), (one, use))
    built = [one for one in environments if one.runtime.kind == "requirements"]
    runtimes = {asked(one.runtime, base): one.runtime for one in built}
    who = {asked(one.runtime, base): f"environment {one.name}" for one in reversed(built)}
    return Named(Wants({key: one.name for key, (one, _) in models.items()}, who, codes), models, runtimes)


@dataclass(frozen=True, slots=True)
class Learner:
    """``known`` is what runs or ran last, by name: without ``anew`` it is what gets locked."""

    hub: HubReader
    runtimes: Runtimes
    known: Mapping[str, Spec | None]
    base: Base
    say: Say

    def ask(self, named: Named, keys: Iterable[Key], runtimes: Iterable[RuntimeSpec], *, anew: bool) -> Lock:
        """The commits and files, and the packages: with ``anew`` today's, else what is used here already. Raises all
        that could not be learnt, together."""
        errors: list[OrchError] = []
        models = _each(sorted(keys), lambda key: self._model(*named.models[key], anew=anew), errors)
        wanted = sorted(runtimes, key=lambda one: one.label)
        built = _each(wanted, lambda one: self._runtime(one, named.runtimes[one], anew=anew), errors)
        raise_all(errors)
        return ordered(Lock(tuple(models), tuple(built)))

    def _model(self, wanted: Deployment, use: RepoUse, *, anew: bool) -> LockedModel:
        self.say(f"looking at {use.repo}@{use.revision}")
        resolved = wanted if anew else self.hub.resolve(wanted, self.known.get(wanted.name))
        commit, files = self.hub.listing(resolved, use, anew=anew)
        if strange := next((one.path for one in files if len(one.blob) not in (40, 64)), None):
            why = f"the list of its files has no hash of {strange}"
            raise FetchFailed(f"lock {use.repo}", why, "ask the Hub itself and not a mirror")
        self.say(f"{use.repo}@{use.revision} is {commit[:8]}, {format_size(sum(one.size for one in files))}")
        bare = tuple(sorted((replace(one, xet="") for one in files), key=lambda one: one.path))
        return LockedModel(use.repo, use.revision, commit, bare, code=use.wants == "code")

    def _runtime(self, wanted: RuntimeSpec, spec: RuntimeSpec, *, anew: bool) -> LockedRuntime:
        python, packages = self.runtimes.to_lock(spec, self.say, anew=anew)
        return LockedRuntime(wanted, self.base.platform, python, packages)


def _each(keys: Sequence[K], make: Callable[[K], V], errors: list[OrchError]) -> list[V]:
    found = []
    for key in keys:
        try:
            found.append(make(key))
        except OrchError as error:
            errors += each(error)
    return found
