"""The one place where the world is put together, and where words on the command line become deployments."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.backends.targets import Targets, TargetsReader
from orchestrator.cli.deployed import specs
from orchestrator.cli.homes import home
from orchestrator.cli.later import later
from orchestrator.cli.recorded import deployed, pinned, pinned_alone, profiles_gone
from orchestrator.cuda.places import Places
from orchestrator.engine_logs import EngineLogs
from orchestrator.errors import HostError, InputError, UsageProblem
from orchestrator.host import LocalHost, SystemClock
from orchestrator.hub.memory import Memory
from orchestrator.model import Deployment, Environment, Notice, Profile, RuntimeSpec, Spec
from orchestrator.nvml import Nvml
from orchestrator.ports import CudaReader, Events, Eyes, RuntimeReader, WeightReader, World
from orchestrator.probe import HttpProber
from orchestrator.resolve import as_before, is_open, resolve
from orchestrator.store import State, StateReader

if TYPE_CHECKING:
    from orchestrator.hub.describing import HubDescriber
    from orchestrator.lockfile import Base, Lock
    from orchestrator.runtimes.catalogue import Runtimes


@dataclass(frozen=True)
class Context:
    root: Path
    state_dir: Path

    @cached_property
    def eyes(self) -> Eyes:
        """Has no port that can write (invariant 5)."""
        variables = dict(os.environ)
        return Eyes(
            state=StateReader(self.state_dir, self.root),
            target=TargetsReader(variables),
            runtimes=later(lambda: self._runtimes(variables)),
            host=LocalHost(variables),
            logs=EngineLogs(),
            prober=HttpProber(),
            clock=SystemClock(),
            weights=later(lambda: self._weights(variables)),
            gpus=_nvml(variables),
            cuda=later(lambda: _cuda(variables)),
        )

    def world(self, events: Events) -> World:
        from orchestrator.cuda.mender import CudaMender
        from orchestrator.hub.store import HubStore
        from orchestrator.interrupts import SignalInterrupts

        variables = dict(os.environ)
        secret = LocalHost(variables).secret
        return World(
            state=State(self.state_dir, self.root),
            target=Targets(variables),
            runtimes=runtimes(variables, self._usable_lock),
            host=LocalHost(variables),
            logs=EngineLogs(),
            prober=HttpProber(),
            clock=SystemClock(),
            weights=HubStore(variables, self.memory, secret, _runtime_env(variables), self._usable_lock),
            gpus=_nvml(variables),
            cuda=CudaMender(variables, home("CACHE", ".cache")),
            events=events,
            interrupts=SignalInterrupts().install(),
        )

    def _runtimes(self, variables: Mapping[str, str]) -> RuntimeReader:
        from orchestrator.cli.homes import runtime_reader

        return runtime_reader(variables, self._usable_lock)

    def _weights(self, variables: Mapping[str, str]) -> WeightReader:
        from orchestrator.hub.store import HubReader

        secret = LocalHost(variables).secret
        return HubReader(variables, self.memory, secret, _runtime_env(variables), self._usable_lock)

    @cached_property
    def describer(self) -> "HubDescriber":
        """What models on the Hub are, asked for or from this disk."""
        from orchestrator.hub.describing import HubDescriber

        variables = dict(os.environ)
        secret = LocalHost(variables).secret
        return HubDescriber(variables, self.memory, secret, _runtime_env(variables), self._usable_lock)

    @property
    def memory(self) -> Memory:
        """What is known of weights, and who is fetching some, without looking into a cache."""
        return Memory(home("CACHE", ".cache") / "weights")

    # --------------------------------------------------------------------------------------------------------- lock

    @cached_property
    def lock(self) -> "Lock | None":
        """None where the project has none. Raises InputError for one that cannot be used."""
        from orchestrator.lockfile import NAME

        if not os.path.lexists(self.root / NAME):
            return None
        from orchestrator.lock_store import read_lock

        return read_lock(self.root)

    def _usable_lock(self) -> "Lock":
        """What is wrong with it is told by whoever reads the other files: what is deployed needs it no more."""
        from orchestrator.lockfile import EMPTY

        try:
            return self.lock or EMPTY
        except InputError:
            return EMPTY

    def at_lock(self, wanted: Deployment, known: Spec | None = None) -> Deployment:
        """With the commits and the packages that orch.lock names. ``known`` is what runs, or ran last. Raises
        InputError."""
        from orchestrator.pins import at_lock

        return at_lock(wanted, self.lock, known, self._base, self._built)

    @cached_property
    def _base(self) -> "Base":
        if self.lock is None:
            from orchestrator.lockfile import Base

            return Base("", "", "")
        from orchestrator.lock_store import base

        return base(self.root, os.environ)

    def _built(self, spec: RuntimeSpec) -> str:
        info = self.eyes.runtimes.state(spec).info
        return info.key if info else ""

    def warn_of_gaps(self, wanted: Iterable[tuple[Deployment, Environment]]) -> None:
        """Says what orch.lock does not hold of these."""
        if self.lock is not None:
            from orchestrator.lock_changes import unheld_models, unheld_runtime

            lock, both = self.lock, list(wanted)
            _say(notice for one, _ in both for notice in unheld_models(lock, one.spec, one.source))
            _say(notice for _, at in both for notice in unheld_runtime(lock, at.runtime, at.source, self._base))

    # ------------------------------------------------------------------------------------------------------- wanted

    def load(
        self, paths: Sequence[str], given: Sequence[str] = ()
    ) -> tuple[tuple[Profile, ...], dict[str, Environment]]:
        from orchestrator.load import load_set

        return load_set(paths, self.root, os.environ, given)

    def environment(self, given: str) -> Environment:
        """By its name, or by its file. Raises InputError."""
        from orchestrator.find import ENDINGS, display, folder_files
        from orchestrator.findings import did_you_mean, listed

        folder = self.root / "environments"
        files = folder_files(folder)
        if named := next((one for one in files if one.stem == given), None):
            return self.load_environment(named)
        if os.path.isfile(given) or given.endswith(ENDINGS):  # noqa: PTH113 (never raises)
            return self.load_environment(given)
        known = sorted({one.stem for one in files})
        do = did_you_mean(given, known) or (f"there is {listed(known)}" if known else "")
        raise InputError(f"find the environment {given}", f"there is no {display(folder / f'{given}.yaml')}", do)

    def load_environment(self, file: str | Path) -> Environment:
        """With the runtime that orch.lock names. Raises InputError."""
        from orchestrator.load import load_environment

        found = load_environment(file, os.environ)
        from orchestrator.pins import locked

        return replace(found, runtime=locked(found.runtime, self.lock, self._base))

    def refuse_refresh(self) -> None:
        """Raises UsageProblem where a lock says what the revisions are."""
        if self.lock is not None:
            do = "move them with `orch lock --upgrade`, then `orch apply`"
            raise UsageProblem("use --refresh", "orch.lock says which commits the revisions are", do)

    def desired(
        self,
        paths: Sequence[str],
        eyes: Eyes,
        given: Sequence[str] = (),
        *,
        refresh: bool = False,
        unpin: bool = False,
    ) -> tuple[Deployment, ...]:
        """The set that PATHs name; without any, what this project has deployed and not stopped on purpose. One that is
        pinned is its revision, at the revision's commits, but for ``unpin``. Each with its commits, which may ask the
        Hub; ``refresh`` asks in any case. Says what the files are warned about."""
        if refresh:
            self.refuse_refresh()
        written = self.written(paths, eyes, given, quiet=False)
        found = written if unpin else pinned(written, eyes)
        found += () if paths or unpin else pinned_alone(eyes)
        if not found and not paths and (gone := profiles_gone(eyes)):
            raise gone[0]
        known = {**self.known(eyes), **{one.name: one.spec for one in found if one.pinned is not None}}
        return tuple(
            self.settled(
                eyes.weights.resolve(one, known.get(one.name), refresh=refresh and one.pinned is None), known, eyes
            )
            for one in found
        )

    def settled(self, wanted: Deployment, known: Mapping[str, Spec | None], eyes: Eyes) -> Deployment:
        """With the number of its cards. Raises InputError where that is orch's to choose, and cannot be told."""
        wanted = as_before(wanted, known.get(wanted.name))
        if not is_open(wanted):
            return wanted
        from orchestrator.fitting import settled

        return settled(wanted, eyes)

    def written(
        self, paths: Sequence[str], eyes: Eyes, given: Sequence[str] = (), *, quiet: bool
    ) -> tuple[Deployment, ...]:
        """The same as the files and orch.lock have it: other revisions by their names, and nobody asked."""
        sets = [(list(paths), tuple(given))] if paths else deployed(eyes, given)
        loaded = [(*self.load(some, known), known) for some, known in sets]
        if not quiet:
            for error in () if paths else profiles_gone(eyes):
                _say([Notice(error.at, error.why, error.do)])
            _say(notice for _, environments, _ in loaded for one in environments.values() for notice in one.warnings)
        found = [
            (self.resolve(profile, environments[profile.environment], eyes, known), environments[profile.environment])
            for profiles, environments, known in loaded
            for profile in profiles
        ]
        if not quiet:
            self.warn_of_gaps(found)
        kept = any(one.spec.runtime.kind == "requirements" or is_open(one) for one, _ in found)
        before = self.known(eyes) if kept else {}
        return tuple(as_before(self.at_lock(one, before.get(one.name)), before.get(one.name)) for one, _ in found)

    def known(self, eyes: Eyes) -> Mapping[str, Spec | None]:
        """What runs, or ran last, by name."""
        return specs(eyes)

    def resolve(self, profile: Profile, environment: Environment, eyes: Eyes, given: Sequence[str] = ()) -> Deployment:
        hashes = {}
        for name, ref in sorted(environment.secrets.items()):
            try:
                value = eyes.host.secret(name, ref)
            except HostError as error:
                at = environment.source.at("secrets", name)
                raise InputError(error.what, error.why, error.do, at) from None
            hashes[name] = eyes.state.fingerprint(value)
        made = resolve(profile, environment, hashes, tuple(given))
        return replace(made, file=str(Path(profile.source.file).absolute()))


def context(root: str | None, state_dir: str | None, paths: Sequence[str] = ()) -> Context:
    from orchestrator.project import project_root

    return Context(project_root(paths, root, str(Path.cwd())), _state_dir(state_dir))


def known_names() -> list[str]:
    here = context(None, None)
    profiles = {path.stem for path in (here.root / "profiles").glob("*.yaml")}
    return sorted(profiles | set(specs(here.eyes)))


def _nvml(variables: Mapping[str, str]) -> Nvml:
    """Where a driver may be that the loader knows nothing of: WSL, NixOS, a container."""
    return Nvml(folders=[folder for folder, _ in Places(variables=variables).folders()])


def runtimes(variables: Mapping[str, str], lock: "Callable[[], Lock] | None" = None) -> "Runtimes":
    from orchestrator.lockfile import EMPTY
    from orchestrator.runtimes.catalogue import Runtimes

    return Runtimes(home("DATA", ".local/share"), home("CACHE", ".cache"), variables, lock or (lambda: EMPTY))


def _cuda(variables: Mapping[str, str]) -> CudaReader:
    from orchestrator.cuda.mender import CudaReader

    return CudaReader(variables, home("CACHE", ".cache"))


def _runtime_env(variables: Mapping[str, str]) -> Callable[[RuntimeSpec], Mapping[str, str]]:
    """What activating a conda environment sets, once it was looked into."""

    def read(spec: RuntimeSpec) -> Mapping[str, str]:
        from orchestrator.cli.homes import runtime_reader

        info = runtime_reader(variables).state(spec).info if spec.kind == "conda" else None
        return info.env if info else {}

    return read


def _say(notices: Iterable[Notice]) -> None:
    """Each once: several deployments may share an environment."""
    import typer

    for line in dict.fromkeys(map(str, notices)):
        typer.echo(f"orch: {line}", err=True)


def _state_dir(given: str | None) -> Path:
    if chosen := given or os.environ.get("ORCH_STATE_DIR"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "orch"
