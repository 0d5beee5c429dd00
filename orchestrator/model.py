"""What the files say and what a host shows, as frozen values. No behaviour beyond small derived properties.

Units: seconds for every duration, bytes for every size, seconds since the epoch for every point in time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import OrchError

if TYPE_CHECKING:
    from orchestrator.fit.model import Fit

Scalar = bool | int | float | str | None
Json = Any  # a JSON value; mypy's recursive aliases cost more than they catch here

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the fields of one document stand, so that a late error can still name file:line:col (both 1-based)."""

    file: str
    positions: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    def at(self, *path: str | int) -> str:
        """The position of ``path``, or of its nearest enclosing field that is written in the file."""
        for end in range(len(path), -1, -1):
            if (position := self.positions.get(path[:end])) is not None:
                return f"{self.file}:{position[0]}:{position[1]}"
        return self.file


# ---------------------------------------------------------------------------------------------- what the files say


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A Hub repository or a folder on disk (exactly one of the two), and how its weights are quantized."""

    repo: str | None = None
    path: str | None = None
    revision: str | None = None
    quantization: str | None = None

    @property
    def label(self) -> str:
        return self.repo or self.path or ""


@dataclass(frozen=True, slots=True)
class Serve:
    """``args`` holds any other flag of the engine, keyed in snake_case without the dashes."""

    names: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    tensor_parallel_size: int | Literal["auto"] = 1
    pipeline_parallel_size: int = 1
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    args: Mapping[str, Json] = field(default_factory=dict)


Gpus = Literal["auto"] | int | tuple[str, ...]  # placement is orch's, a count, or these indexes / UUIDs
Unfitting = Literal["refuse", "warn"]  # what is done about a model that will not fit, by what orch reckons


@dataclass(frozen=True, slots=True)
class Restart:
    """What the watcher does about an engine that ended by itself; after ``attempts`` deaths within ``window`` seconds
    it gives up."""

    policy: Literal["never", "on-failure", "always"] = "on-failure"
    attempts: int = 5
    window: float = 3600.0


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    environment: str
    model: ModelRef
    serve: Serve = Serve()
    gpus: Gpus = "auto"
    ready_timeout: float = 1200.0
    restart: Restart = Restart()
    drain: float = 30.0
    source: Source = field(default=Source(""), compare=False)
    text: str = field(default="", compare=False, repr=False)
    fit: Unfitting = "refuse"


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """Which Python installation runs the engine. ``where`` is the venv's folder or the conda name/prefix; the rest
    describes a runtime that orch builds from ``requirements`` with uv and owns. ``lock`` is the key of the exact set
    that orch.lock names for these; without it, uv's choice at the first build."""

    kind: Literal["venv", "conda", "self", "requirements"]
    where: str = ""
    requirements: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    torch_backend: str = ""
    python: str = ""
    lock: str = ""

    @property
    def label(self) -> str:
        if self.kind == "requirements":
            return "requirements " + ", ".join(self.requirements)
        return f"{self.kind} {self.where}".strip()


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret's value is found at the moment of use. The value itself is never part of any model value."""

    kind: Literal["env", "file"]
    name: str


@dataclass(frozen=True, slots=True)
class GpuDeclaration:
    """What CI plans against when this machine is not the target; ``memory`` in bytes a card."""

    model: str = ""
    count: int = 0
    memory: int = 0
    compute_capability: str = ""


Backend = Literal["local", "systemd"]  # what an engine is to the system: a process of this user, or a unit of its own
Transfer = Literal["auto", "xet", "ranged", "hf_transfer"]  # how orch fetches weights; auto: xet, else ranged


@dataclass(frozen=True, slots=True)
class Notice:
    """What a file says that works, and should be said otherwise. ``do`` is the next step, ``at`` a file:line:col,
    ``code`` a stable name for it (`rules`)."""

    at: str
    what: str
    do: str
    code: str = ""

    def __str__(self) -> str:
        return f"{self.at}: warning: {self.what}; {self.do}"


@dataclass(frozen=True, slots=True)
class Environment:
    name: str
    runtime: RuntimeSpec
    cuda_home: str | None = None
    libcuda: str = "auto"  # or "off", or the path of the driver's library
    hf_home: str | None = None
    transfer: Transfer = "auto"
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretRef] = field(default_factory=dict)
    host_gpus: GpuDeclaration | None = None
    source: Source = field(default=Source(""), compare=False)
    text: str = field(default="", compare=False, repr=False)
    warnings: tuple[Notice, ...] = field(default=(), compare=False)
    backend: Backend = "local"


# ------------------------------------------------------------------------------------------------------- the weights


@dataclass(frozen=True, slots=True)
class RepoUse:
    """A repository on the Hub that an engine's command line names. ``slot`` says where it is named ("model",
    "tokenizer", "code", ...), ``wants`` which part of it is loaded; ``variant`` picks one GGUF model of several."""

    slot: str
    repo: str
    revision: str = "main"
    wants: Literal["weights", "texts", "code"] = "weights"
    load_format: str = "auto"
    variant: str = ""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository at a commit. ``blob`` names its content, and the file in the Hub's cache: a sha256 for
    large files, git's sha1 of the content for the others. ``xet``: its hash where the Hub stores it as Xet, or ""."""

    path: str
    size: int
    blob: str
    xet: str = ""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much of a repository is in a cache. Sizes in bytes; ``total`` is None when it could not be learnt, and
    ``why`` then says so. ``missing`` counts the files that are not there whole, ``unverified`` are bytes that are
    there and were never compared with the Hub's hash."""

    use: RepoUse
    commit: str | None = None
    cache: str = ""
    total: int | None = None
    here: int = 0
    unverified: int = 0
    files: int = 0
    missing: int = 0
    left_out: int = 0
    kind: str = ""
    why: str = ""
    do: str = ""
    refused: bool = False  # the Hub said no, and will again

    @property
    def complete(self) -> bool:
        """Every file is there and verified."""
        return self.total is not None and not self.missing and not self.unverified


@dataclass(frozen=True, slots=True)
class Pull:
    """A fetch in progress, in whichever process. Sizes in bytes, ``rate`` in bytes a second over the last seconds;
    ``doing`` in a word: "fetching", "verifying" or "linking"."""

    repo: str
    commit: str
    cache: str
    pid: int
    start: int
    boot: str
    doing: str = "fetching"
    done: int = 0
    total: int = 0
    rate: float = 0.0
    files_done: int = 0
    files: int = 0


# ---------------------------------------------------------------------------------------------------- what is wanted


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything whose change needs the engine to start anew. Drift is a field-by-field diff of two of these.

    ``secrets`` maps a name to a keyed hash ("KEYID:HMAC"), which tells that a value was rotated and nothing else.
    ``commits`` maps the slot of each repository (RepoUse) to the commit that its revision was resolved to.
    """

    model: ModelRef
    serve: Serve
    runtime: RuntimeSpec
    gpus: Gpus = "auto"
    cuda_home: str | None = None
    hf_home: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    drain: float = 30.0
    commits: Mapping[str, str] = field(default_factory=dict)
    backend: Backend = "local"


@dataclass(frozen=True, slots=True)
class Policy:
    """What orch itself does around the engine; a change takes effect without a restart, of ``libcuda`` with the next
    start."""

    ready_timeout: float = 1200.0
    restart: Restart = Restart()
    transfer: Transfer = "auto"
    libcuda: str = "auto"  # as in Environment
    fit: Unfitting = "refuse"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One profile joined with its environment: what should run under ``name``."""

    name: str
    environment: str
    spec: Spec
    policy: Policy = Policy()
    secret_refs: Mapping[str, SecretRef] = field(default_factory=dict)
    given: tuple[str, ...] = field(default=(), compare=False)  # the KEY=VALUE of --set
    file: str = field(default="", compare=False)  # the profile's, by its full path
    source: Source = field(default=Source(""), compare=False)
    profile_text: str = field(default="", compare=False, repr=False)
    environment_text: str = field(default="", compare=False, repr=False)
    pinned: int | None = None  # the earlier revision that this is: it holds, whatever the files say
    held_back: tuple[str, ...] = field(default=(), compare=False)  # the fields in which the files differ from that

    @property
    def claims(self) -> frozenset[str]:
        """What only one running engine can hold, or what only one may start on at a time, in the words a person
        reads."""
        pinned = self.spec.gpus if isinstance(self.spec.gpus, tuple) else ()
        return frozenset({f"port {self.spec.serve.port}", *(f"GPU {gpu}" for gpu in pinned)})

    @property
    def served_names(self) -> tuple[str, ...]:
        return self.spec.serve.names or (self.spec.model.label,)


# --------------------------------------------------------------------------------------------------- how it is started


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """A runtime that exists, as found by looking at what is installed.

    ``program`` starts the engine; ``style`` says how it takes the model ("serve": positional, "module": ``--model``).
    ``env`` is what the runtime itself needs (a conda activation, a target device). ``torch`` is that library's version,
    ``libraries`` the folders of its own shared libraries and of the CUDA that came with it, in its search order.
    """

    key: str
    prefix: str
    python: str
    engine: str
    version: str
    program: tuple[str, ...]
    style: Literal["serve", "module"]
    env: Mapping[str, str] = field(default_factory=dict)
    torch: str = ""
    libraries: tuple[str, ...] = ()

    @property
    def device(self) -> Literal["cuda", "cpu", "other", ""]:
        """What its torch computes on; empty when it holds none that could tell."""
        if self.env.get("VLLM_TARGET_DEVICE") == "cpu" or self.torch.endswith("+cpu"):
            return "cpu"
        build = self.torch.partition("+")[2]
        return ("other" if build and not build.startswith("cu") else "cuda") if self.torch else ""


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """``ready``: usable now. ``buildable``: orch can make it. ``missing``: it is the user's, and it is not there."""

    status: Literal["ready", "buildable", "missing"]
    why: str = ""
    info: RuntimeInfo | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """A ready-to-run command. ``env`` is complete but for the secrets, which the target adds as it starts. ``drain`` in
    seconds, for a stop that is not orch's."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    backend: Backend = "local"
    drain: float = 30.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``host`` is one a client on this machine can connect to, never a wildcard address."""

    host: str
    port: int
    tls: bool = False

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


# --------------------------------------------------------------------------------------------------------- what runs


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Process:
    """One row of /proc. ``start`` is in clock ticks since boot: with the pid and the boot id it names the process
    for good. ``marker`` is orch's own, read from the process environment; None when it is not visible."""

    pid: int
    start: int
    session: int
    command: str
    marker: "Marker | None" = None
    parent: int = 0
    zombie: bool = False


@dataclass(frozen=True, slots=True)
class Marker:
    """Carried in the environment of everything orch starts, so that it is found again without any state."""

    project: str
    name: str
    attempt: str
    owner: str = ""  # "PID:START" of an `orch run` that is the engine's parent; empty for a detached engine


@dataclass(frozen=True, slots=True)
class Instance:
    """One start of a deployment, alive or not. ``leader`` is the API server, ``children`` its other processes;
    children without a leader are left-overs. ``spec`` is what it was started with, from the marker or the record."""

    marker: Marker
    phase: Phase
    leader: Process | None = None
    children: tuple[Process, ...] = ()
    spec: Spec | None = None
    started_at: float | None = None
    log: str = ""
    why: str = ""
    owned: bool = False  # a living `orch run` owns it; only that one may end it
    gpus: tuple[str, ...] = ()  # UUIDs or indexes, as CUDA_VISIBLE_DEVICES of its processes has them
    backend: Backend = "local"  # that of the spec it was started with
    adopted: bool = False  # as in Attempt: known by its record alone, so its session proves nothing

    @property
    def name(self) -> str:
        return self.marker.name

    @property
    def processes(self) -> tuple[Process, ...]:
        return ((self.leader,) if self.leader else ()) + self.children


@dataclass(frozen=True, slots=True)
class PortHolder:
    """Who listens on a port; pid 0 when the kernel does not tell this user."""

    port: int
    pid: int = 0
    command: str = ""
    user: str = ""
    marker: Marker | None = None  # when orch started it, be it from another project


# ------------------------------------------------------------------------------------------------ the host's GPUs


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU. ``memory`` in bytes, None where the driver does not tell; ``user`` and ``command`` are empty
    for one that this user cannot see (it left, or lives in another container)."""

    pid: int
    memory: int | None = None
    user: str = ""
    command: str = ""
    marker: Marker | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card as NVML shows it. Sizes in bytes; ``reserved`` is the driver's own and not part of ``used``.
    ``utilization`` in percent and ``temperature`` in degrees Celsius, None where it does not tell. ``parts`` are the
    UUIDs of its MIG devices; ``trouble`` says why it cannot be used at all."""

    index: int
    uuid: str
    name: str = ""
    total: int = 0
    reserved: int = 0
    used: int = 0
    utilization: int | None = None
    temperature: int | None = None
    capability: str = ""
    pci: str = ""
    mode: Literal["default", "exclusive", "prohibited"] = "default"
    mig: bool = False
    parts: tuple[str, ...] = ()
    processes: tuple[GpuProcess, ...] = ()
    trouble: str = ""

    @property
    def usable(self) -> int:
        """What an engine sees as the card's memory."""
        return self.total - self.reserved

    @property
    def free(self) -> int:
        return max(0, self.usable - self.used)


GpuDistance = Literal["nvlink", "switch", "bridge", "node", "system"]
"""How two cards reach each other, nearest first: NVLink, one or more PCIe switches, the host bridge, one NUMA node,
and the link between processors."""


@dataclass(frozen=True, slots=True)
class GpuLink:
    """Between the cards of these two indexes, the lower first."""

    a: int
    b: int
    distance: GpuDistance


@dataclass(frozen=True, slots=True)
class Inventory:
    """The cards of a host by index, as far as NVML tells; ``why`` it does not, and what to ``do``. ``cuda`` is the
    newest CUDA that the driver runs ("12.4"). ``peers_blocked`` says why traffic between cards over PCIe may hang."""

    gpus: tuple[Gpu, ...] = ()
    links: tuple[GpuLink, ...] = ()
    driver: str = ""
    cuda: str = ""
    why: str = ""
    do: str = ""
    peers_blocked: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """The cards of one start: ``gpus`` as CUDA_VISIBLE_DEVICES takes them; ``indexes`` as a person reads them and
    ``needs`` in bytes, of each whole card."""

    gpus: tuple[str, ...] = ()
    indexes: tuple[int, ...] = ()
    needs: tuple[int, ...] = ()

    @property
    def claims(self) -> frozenset[str]:
        """On each of these one engine starts at a time: two that measure one card's free memory at once both go wrong
        (vllm 55827)."""
        return frozenset(f"GPU {index}" for index in self.indexes)


@dataclass(frozen=True, slots=True)
class Laid:
    """Links, under both its names, in ``folder`` to the driver's library ``target``. ``load``: the engine does not
    find it at load time without them; else they serve linking alone, and LD_LIBRARY_PATH is left as it is."""

    folder: str
    target: str
    load: bool = False


@dataclass(frozen=True, slots=True)
class Mend:
    """What is to be laid for an environment, and what that changes in the engine's environment variables (those that
    differ). ``why`` holds, in a person's words, each test that fails without it."""

    environment: str
    laid: Laid
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    why: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------------- what is remembered


class Intent(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended; all None when it was not our child and the kernel tells nobody else. ``oom_killed``: by the
    kernel, for want of memory; None where nobody can tell."""

    code: int | None = None
    signal: int | None = None
    oom_killed: bool | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"ended by signal {self.signal}" + (" (out of memory)" if self.oom_killed else "")
        return "exited" if self.code is None else f"exited with {self.code}"


@dataclass(frozen=True, slots=True)
class Revision:
    """A deployment that became ready. ``ready_seconds`` is how long that took the last time, ``stages`` seconds of each
    stage of that (`diagnosis.model.Stage`), and ``measured`` the numbers that the engine told meanwhile, by the names
    and in the units of `diagnosis/data/stages.toml`; ``estimate`` those that orch had reckoned before, likewise."""

    number: int
    digest: str
    deployment: Deployment
    at: float
    user: str = ""
    runtime: str = ""
    engine: str = ""
    ready_seconds: float = 0.0
    gpus: tuple[str, ...] = ()  # as in Instance
    stages: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    estimate: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A digest that was started and did not become ready; not tried again while something older serves."""

    digest: str
    why: str
    at: float
    log: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)  # as in Spec: another token is another input


@dataclass(frozen=True, slots=True)
class Attempt:
    """A start: what it was, which process, how far it came (``stage``; ``stages`` and ``measured`` as in Revision), and
    how it ended: ``exit``, or that it was not ready in time, or stopped serving. ``cgroup`` and ``oom_kills`` are
    what `Logs` told when it began."""

    id: str
    pid: int
    start: int
    boot: str
    at: float
    deployment: Deployment
    log: str = ""
    ready_at: float | None = None
    ended: str = ""  # why, once known
    gpus: tuple[str, ...] = ()  # as in Instance
    by: Literal["", "watch"] = ""  # who started it: a person, or the watcher
    adopted: bool = False  # someone else started it: no process of it carries a marker
    family: tuple[tuple[int, int], ...] = ()  # of an adopted one: (pid, start) of each process below it at that time
    stage: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    exit: Exit | None = None
    timed_out: bool = False
    hung: bool = False
    cgroup: str = ""
    oom_kills: int | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """An engine that ended by itself, or a start that failed. ``uptime``: for how many seconds it had been ready."""

    attempt: str
    at: float
    why: str
    uptime: float = 0.0


@dataclass(frozen=True, slots=True)
class Pin:
    """The revision that was gone back to. It holds, whatever the files say, until a person ends it."""

    number: int
    at: float
    user: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """The durable half of the state of one deployment."""

    name: str
    intent: Intent = Intent.RUNNING
    revision: Revision | None = None
    attempt: Attempt | None = None
    rejected: tuple[Rejected, ...] = ()
    because: str = ""  # why the intent is what it is, when that is not plain
    pin: Pin | None = None
    deaths: tuple[Death, ...] = ()  # since a person last started it, oldest first; forgotten one by one
    retry_at: float | None = None  # when the watcher starts it again
    given_up: str = ""  # why the watcher does not
    refused: str = ""  # why it could not even be started when it was due
    refused_since: float | None = None


@dataclass(frozen=True, slots=True)
class Watcher:
    """The living process that keeps a project converged. ``paths`` as it was given them, empty for all that is
    deployed; ``unit`` the systemd unit that runs it, or ""; ``plans_only``: it reports and changes nothing."""

    pid: int
    start: int
    boot: str
    since: float
    paths: tuple[str, ...] = ()
    unit: str = ""
    plans_only: bool = False
    trouble: str = ""  # why the files are not applied, until they are
    names: tuple[str, ...] = ()  # of the set that its PATHs name, once the files were good


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at the world, gathered before anything is decided."""

    instances: tuple[Instance, ...] = ()
    records: Mapping[str, Record] = field(default_factory=dict)
    runtimes: Mapping[str, RuntimeState] = field(default_factory=dict)  # by deployment name
    holders: Mapping[int, PortHolder] = field(default_factory=dict)  # listeners on wanted ports, by port
    weights: Mapping[str, tuple[Weights, ...]] = field(default_factory=dict)  # by deployment name
    inventory: Inventory | None = None  # None: there is no NVML here
    others: tuple[Instance, ...] = ()  # of other projects of this user, on a host with cards
    mends: Mapping[str, Mend] = field(default_factory=dict)  # by deployment name, where something is to be mended
    unmendable: Mapping[str, OrchError] = field(default_factory=dict)  # by deployment name: why its libcuda is none
    watcher: Watcher | None = None
    fits: Mapping[str, "Fit"] = field(default_factory=dict)  # by deployment name: of what may start, if that is known
