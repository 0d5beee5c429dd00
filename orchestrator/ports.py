"""The seams between what is decided and the world. Each comes as a reader, which cannot change anything, and, where
there is something to change, as a writer on top of it. `plan`, `status` and `--dry-run` are given `Eyes` and so have
no port that can write (invariant 5).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from orchestrator.model import (
    Attempt,
    Backend,
    Deployment,
    Endpoint,
    Exit,
    Instance,
    Inventory,
    Laid,
    Launch,
    Marker,
    Mend,
    PortHolder,
    Pull,
    Record,
    RepoUse,
    Revision,
    RuntimeInfo,
    RuntimeSpec,
    RuntimeState,
    SecretRef,
    Spec,
    Watcher,
    Weights,
)

if TYPE_CHECKING:
    from orchestrator.cached import Adoption, Found, Removal, User
    from orchestrator.engines.knowledge import Engine
    from orchestrator.fit.description import Description
    from orchestrator.liveness import Canary, Sample


@dataclass(frozen=True, slots=True)
class Answer:
    """``ready``: it is healthy and lists the served names; else ``why`` not, in a few words."""

    ready: bool
    why: str = ""


Asker = Literal["watch", "person", "stop"]
"""Who waits for a lock, from the least pressing on: the watcher, a person, a person who wants it down. Whoever merely
waits for readiness lets a more pressing one go first."""


class StateReader(Protocol):
    @property
    def project(self) -> str: ...
    @property
    def root(self) -> Path:
        """The project's own folder."""
        ...

    @property
    def folder(self) -> Path:
        """Where the state of this project is."""
        ...

    def records(self) -> Mapping[str, Record]: ...
    def fingerprint(self, value: str) -> str:
        """A keyed hash "KEYID:HMAC" of a secret's value."""
        ...

    def logs(self, name: str) -> Sequence[Path]:
        """The kept logs of a deployment's starts, oldest first."""
        ...

    def attempt(self, log: Path) -> Attempt | None:
        """What is remembered of the start that wrote this log, as it was last saved."""
        ...

    def revisions(self, name: str) -> Sequence[Revision]:
        """Those that are kept, oldest first; a damaged one counts as absent."""
        ...

    def watcher(self) -> Watcher | None:
        """The living one of this project."""
        ...


class State(StateReader, Protocol):
    def save(self, record: Record) -> None: ...
    def next_revision(self, name: str) -> int:
        """A number that none of its revisions ever had."""
        ...

    def add_revision(self, name: str, revision: Revision) -> None:
        """Drops the oldest beyond those that are kept."""
        ...

    def forget(self, name: str) -> None: ...
    def lock(
        self, names: Iterable[str], claims: Iterable[str], waiting: "Events", asker: "Asker" = "person"
    ) -> AbstractContextManager[None]:
        """Exclusive for these deployments of this project, and for these claims (ports, GPUs) among all users of this
        host; waits, and says so. The holder hears of the ``asker`` by ``asked_by``."""
        ...

    def asked_by(self, name: str) -> "Asker | None":
        """Who waits for the lock of this deployment; the most pressing one."""
        ...

    def check_writable(self, name: str) -> None:
        """Raises HostError unless a log and a record could be written now."""
        ...

    def new_attempt(self, name: str) -> tuple[str, Path]:
        """An id never used before and the path of its empty log. Raises HostError when it cannot be written."""
        ...


class TargetReader(Protocol):
    @property
    def boot(self) -> str: ...
    def list(self, project: str, attempts: Mapping[Marker, Attempt]) -> tuple[Instance, ...]:
        """Everything of this project that lives, oldest first; ``attempts`` as recorded, by the marker each has."""
        ...

    def everywhere(self) -> tuple[Instance, ...]:
        """All that carries a marker of orch's, of whatever project of this user."""
        ...

    def ended(self, marker: Marker, attempt: Attempt) -> Exit | None:
        """How a start that is gone ended, where its target remembers."""
        ...


class Target(TargetReader, Protocol):
    def check(self, backend: Backend, say: "Say") -> None:
        """Raises HostError unless something could be started there now. ``say`` hears what speaks against it."""
        ...

    def start(self, marker: Marker, launch: Launch, secrets: Mapping[str, str], log: Path) -> Instance: ...
    def stop(self, instance: Instance, drain: float) -> None:
        """Idempotent; returns when nothing of it is left. Raises HostError when something will not go."""
        ...

    def wait(self, instance: Instance, seconds: float) -> Exit | None:
        """Returns as soon as the leader is gone, or None after ``seconds``."""
        ...

    def forget(self, project: str, name: str) -> None:
        """What is remembered of earlier starts of a deployment."""
        ...


class RuntimeReader(Protocol):
    def state(self, spec: RuntimeSpec) -> RuntimeState: ...
    def engine(self, info: RuntimeInfo) -> "Engine | None":
        """What its version takes on the command line: as it told itself, or as the nearest version that is known."""
        ...

    def look(self, spec: RuntimeSpec, say: "Say") -> RuntimeInfo:
        """What is in an existing runtime, asked of its own Python and not remembered. Raises RuntimeFailure."""
        ...


class Runtimes(RuntimeReader, Protocol):
    def ensure(self, spec: RuntimeSpec, say: "Say") -> RuntimeInfo: ...
    def learn(self, info: RuntimeInfo, say: "Say") -> None:
        """Has an engine of which nobody knows what it takes told it, once. ``say`` hears when it could not."""
        ...

    def check_argv(self, info: RuntimeInfo, argv: Sequence[str], say: "Say") -> str | None:
        """None, or the complaint of the engine's own parser about these flags. ``say`` hears it when the parser could
        not be asked."""
        ...


class Say(Protocol):
    def __call__(self, line: str, /) -> None: ...


class Host(Protocol):
    @property
    def variables(self) -> Mapping[str, str]: ...
    @property
    def user(self) -> str:
        """The name of whoever runs orch; empty for one without a name."""
        ...

    def holders(self, ports: Iterable[int]) -> Mapping[int, PortHolder]: ...
    def secret(self, name: str, ref: SecretRef) -> str:
        """The value. Raises HostError, without the value, when there is none."""
        ...

    def check_model(self, path: str) -> str | None:
        """Why this folder or file holds no model, or None."""
        ...


class LogFollower(Protocol):
    def poll(self, *, last: bool = False) -> Sequence[str]:
        """The lines, and the states of lines drawn over, that were ended since the last look; none where nothing is
        left. Never waits. ``last``: nothing is written any more, and what came a moment ago counts too."""
        ...

    def close(self) -> None: ...


class Logs(Protocol):
    """What engines wrote, and the kernel about them. What cannot be read is empty."""

    def text(self, log: str) -> str:
        """The end of it, some megabytes at most: why an engine ended is never far from there. A blank line stands there
        for each that was left out before, so that lines have the numbers that they have in what `orch logs --raw`
        prints."""
        ...

    def numbered(self, log: str) -> bool:
        """Whether those are the numbers that the lines have in this very file: it is not in the journal, nor in other
        files too."""
        ...

    def tail(self, log: str, lines: int) -> tuple[str, ...]: ...
    def follow(self, log: str) -> LogFollower: ...
    def kernel(self, since: float) -> tuple[str, ...] | None:
        """What the kernel's log says since then (seconds since the epoch) of processes that it killed or that crashed,
        and of the GPU driver; oldest first. None where that log cannot be read."""
        ...

    def cgroup(self, pid: int) -> str:
        """Where the kernel counts what it kills for want of memory, and this process with others; empty where it
        does not."""
        ...

    def oom_kills(self, cgroup: str) -> int | None:
        """How many it has killed there; None where it does not tell."""
        ...


class WeightReader(Protocol):
    """What the repositories that a deployment names have on this disk. Asks the Hub for what cannot be known here."""

    def resolve(self, wanted: Deployment, known: Spec | None, *, refresh: bool = False) -> Deployment:
        """With the commit of each repository, as far as it can be learnt. ``known`` is what runs or ran last."""
        ...

    def state(
        self, wanted: Deployment, include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> tuple[Weights, ...]: ...
    def model_file(self, wanted: Deployment) -> str | None:
        """The file that stands for the model on the command line, where the engine cannot find it offline by the
        repository's name: a GGUF model. None: the name does."""
        ...

    def described(self, wanted: Deployment) -> "Description | None":
        """What is on this disk of the repository that is served, by the first bytes of its files; None when nothing
        is, or when it is served from a folder. Asks nobody."""
        ...

    def pulls(self) -> tuple[Pull, ...]:
        """The fetches in progress on this host, by whomever of this user."""
        ...

    def cache(self, spec: Spec) -> str:
        """The real path of the Hub's cache that an engine of this spec reads."""
        ...

    def uses(self, spec: Spec) -> tuple[RepoUse, ...]:
        """Every repository that its engine loads from, as far as it can be told from this disk."""
        ...

    def cached(self, specs: Iterable[Spec], users: "Sequence[User]") -> "Found":
        """All that is in the caches of these specs, and in folders beside them or named by ``users``. Asks nobody."""
        ...

    def removal(self, cache: str, repo: str, commits: Sequence[str]) -> "Removal":
        """What it would come to. Raises HostError where it cannot be done."""
        ...


class WeightStore(WeightReader, Protocol):
    def fetch(
        self,
        wanted: Deployment,
        events: "FetchEvents",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        *,
        rehash: bool = False,
    ) -> tuple[Weights, ...]:
        """Until every file is there and verified. ``rehash`` believes no earlier check. Raises FetchFailed; what came
        is kept."""
        ...

    def settle(self, wanted: Deployment) -> None:
        """Makes what was verified of these weights outlast a power cut."""
        ...

    def adopt(self, wanted: Deployment, folder: Path, events: "FetchEvents") -> "Adoption":
        """Takes the files of a flat folder into the cache by hard links, and fetches none. Raises FetchFailed."""
        ...

    def remove(self, cache: str, repo: str, commits: Sequence[str]) -> "Removal":
        """Deletes these commits, and with the last one all that is left of the repository. Raises FetchFailed."""
        ...


class GpuReader(Protocol):
    def inventory(self) -> Inventory | None:
        """The cards as they are now; None where there is no NVML."""
        ...


class CudaReader(Protocol):
    """libcuda for an engine: is it found as it is, or what has to be mended at user level."""

    def mend(self, wanted: Deployment, info: RuntimeInfo) -> Mend | None:
        """What the tests of this runtime ask for; None when they pass, when it needs no CUDA, when the environment says
        `libcuda: off`, and when there is nothing to link to. Runs those tests unless it is known what they told."""
        ...

    def is_missing(self, wanted: Deployment, info: RuntimeInfo) -> bool:
        """Whether a runtime that computes on GPUs can load no libcuda, and none is found that it could be given."""
        ...

    def in_force(self, wanted: Deployment) -> Laid | None:
        """What was laid for its environment, and holds for every start in it, unless the environment says `off`."""
        ...


class CudaMender(CudaReader, Protocol):
    def repair(self, wanted: Deployment, info: RuntimeInfo) -> None:
        """Lays the links and runs the failed tests again; does nothing when nothing is to be mended. Raises HostError
        when a test fails as before, with what was laid taken away again."""
        ...


class Prober(Protocol):
    def ask(self, endpoint: Endpoint, names: Sequence[str], token: str | None) -> Answer: ...


class Pulse(Protocol):
    """Looks whether an engine that became ready still serves (`liveness`). Neither of the two raises."""

    def sample(self, instance: Instance, endpoint: Endpoint) -> "Sample":
        """One look; takes milliseconds, of an engine that does not answer a few seconds."""
        ...

    def canary(self, endpoint: Endpoint, name: str, token: str | None) -> "Canary":
        """Asks the model served as ``name`` for one token; whatever it answers is a sign of life."""
        ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class FetchEvents(Protocol):
    def say(self, line: str) -> None: ...
    def pull(self, pull: Pull) -> None:
        """How far the weights have come, shown as a line of progress."""
        ...


class Events(FetchEvents, Protocol):
    """Progress, for a person who waits. Never results."""

    def progress(self, line: str) -> None:
        """Replaces the last progress line on a terminal; elsewhere shown now and then."""
        ...

    def engine(self, log: str) -> None:
        """The engine writes this log from now on: follow it, if the person asked for that."""
        ...


class Interrupts(Protocol):
    def deferred(self) -> AbstractContextManager[None]:
        """Ctrl-C and SIGTERM wait inside, and come up at the next ``check``."""
        ...

    def check(self) -> None:
        """Raises KeyboardInterrupt when one came."""
        ...


@dataclass(frozen=True, slots=True)
class Eyes:
    """Everything needed to look."""

    state: StateReader
    target: TargetReader
    runtimes: RuntimeReader
    host: Host
    logs: Logs
    prober: Prober
    clock: Clock
    weights: WeightReader
    gpus: GpuReader
    cuda: CudaReader


@dataclass(frozen=True, slots=True)
class World(Eyes):
    """Everything needed to act."""

    state: State
    target: Target
    runtimes: Runtimes
    weights: WeightStore
    cuda: CudaMender
    events: Events
    interrupts: Interrupts
    by: Literal["", "watch"] = ""  # who acts: a person, or the watcher
