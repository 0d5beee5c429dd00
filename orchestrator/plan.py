"""A plan: small steps, each with its cause in words, in two phases. Values only; `render` prints them.

Prepare steps cannot stop anything. The first switch step comes after the last prepare step (invariant 2).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from orchestrator.model import Attempt, Deployment, Instance, Json, Mend, Placement, Weights


class Reason(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    STOPPED = "was stopped"
    DIED = "died"
    HUNG = "hung"
    PRUNED = "not in the set"
    REPLACED = "replaced"
    REQUESTED = "requested"
    ROLLBACK = "rollback"
    RECORD = "recorded"
    STARTING = "not ready yet"


@dataclass(frozen=True, slots=True)
class FieldDiff:
    """``before``/``after`` are JSON values; absent is None."""

    field: str
    before: Json
    after: Json


@dataclass(frozen=True, slots=True)
class Drift:
    reason: Reason
    diffs: tuple[FieldDiff, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BuildRuntime:
    """Build (or repair) a runtime that orch owns."""

    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring one repository of a deployment to completeness: fetch what is missing, verify what never was. ``weights``
    is what there is of it now."""

    deployment: Deployment
    weights: Weights


@dataclass(frozen=True, slots=True)
class Repair:
    """Lay user-level links to the driver's libcuda, and prove that they help. ``mend`` None: whether that is needed
    shows only once the runtime is built."""

    deployment: Deployment
    mend: Mend | None


@dataclass(frozen=True, slots=True)
class Preflight:
    """Check all that can fail without stopping anything: model, runtime, argv, log folder, port."""

    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Stop:
    """TERM to the leader, wait for ``drain`` seconds, KILL what is proven ours."""

    instance: Instance
    drain: float


@dataclass(frozen=True, slots=True)
class Clear:
    """KILL the left-over processes of an instance whose leader is gone."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class Start:
    """``placement`` None: which GPUs it sees is not orch's to say here."""

    deployment: Deployment
    placement: Placement | None = None


@dataclass(frozen=True, slots=True)
class AwaitReady:
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Adjust:
    """Record a changed policy; the engine goes on."""

    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Adopt:
    """Record an engine that somebody else started, if it answers; it goes on. ``attempt`` holds its deployment, and of
    its processes only the API server."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Pause:
    """Record that the deployment is meant to be stopped."""

    name: str
    because: str = ""


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the record and the logs of a deployment."""

    name: str


Change = BuildRuntime | Fetch | Repair | Preflight | Stop | Clear | Start | AwaitReady | Adjust | Adopt | Pause | Forget
PREPARE = (BuildRuntime, Fetch, Repair, Preflight)


@dataclass(frozen=True, slots=True)
class Step:
    """``name`` is the deployment whose rollout the step belongs to; ``needs`` are ids of earlier steps."""

    id: str
    name: str
    change: Change
    drift: Drift
    needs: tuple[str, ...] = ()

    @property
    def prepares(self) -> bool:
        return isinstance(self.change, PREPARE)


@dataclass(frozen=True, slots=True)
class Held:
    """A deployment the plan leaves as it is although it differs, and why."""

    name: str
    why: str
    do: str
    failed: bool = False  # the desired state is out of reach until the user acts


@dataclass(frozen=True, slots=True)
class Pinned:
    """A deployment whose pin to the revision ``number`` holds, begins with this plan, or ends with it. ``differs`` are
    the fields in which its files want something else meanwhile."""

    name: str
    number: int
    turn: Literal["holds", "begins", "ends"] = "holds"
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """``who`` holds how many bytes of a card, in a person's words; None: the driver does not tell. ``name``: a
    deployment of this project. ``planned``: once the plan is carried out."""

    who: str
    memory: int | None
    name: str = ""
    planned: bool = False


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One card before and after the plan; ``usable`` in bytes."""

    index: int
    name: str
    usable: int
    before: tuple[Holding, ...] = ()
    after: tuple[Holding, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order of execution. ``unchanged`` are desired deployments that already are as they should be.
    ``downtime`` maps a deployment that stops and starts to its expected seconds, None when never measured. ``gpus``
    are the cards of the host, when the plan places something; ``warnings`` what a person should know before.
    ``pinned`` are those that do not follow their files, or are about to again."""

    steps: tuple[Step, ...] = ()
    held: tuple[Held, ...] = ()
    unchanged: tuple[str, ...] = ()
    downtime: dict[str, float | None] = field(default_factory=dict)
    gpus: tuple[GpuRow, ...] = ()
    warnings: tuple[str, ...] = ()
    pinned: tuple[Pinned, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.steps
