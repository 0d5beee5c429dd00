"""What the child is asked to do, as values that travel as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import FetchFailed, HubRefused, HubUnreachable, OrchError
from orchestrator.model import Json, RemoteFile


@dataclass(frozen=True, slots=True)
class Want:
    """Files of one repository at one commit, and the revision's name that led to it."""

    repo: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """``commit`` None: resolve the revision first. ``load_format`` and ``variant`` say which weights are meant, as in
    a RepoUse."""

    repo: str
    revision: str
    commit: str | None = None
    load_format: str = "auto"
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Tuning:
    """``connections`` at once, at most; ``run``: at most so many chunks a request; ``attempts`` without a byte before
    giving up, ``backoff`` seconds before the second of them, doubled each time up to ``longest``; ``stall`` seconds
    without a byte."""

    connections: int = 16
    run: int = 32
    attempts: int = 12
    backoff: float = 0.5
    longest: float = 30.0
    stall: float = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """``cache`` is the Hub's cache folder, ``memory`` orch's own; ``rehash``: believe no hash remembered; ``source``
    is a flat folder to adopt. What to remove is in ``wants``, by repository and commit; without a commit it is what is
    left of a repository that has none."""

    do: Literal["list", "describe", "variants", "fetch", "adopt", "remove"]
    endpoint: str
    parent: int
    token: str | None = None
    cache: str = ""
    memory: str = ""
    questions: tuple[Question, ...] = ()
    wants: tuple[Want, ...] = ()
    transfer: Literal["auto", "xet", "ranged", "hf_transfer"] = "auto"
    rehash: bool = False
    offline: bool = False
    source: str = ""
    tuning: Tuning = Tuning()


_KINDS: Mapping[str, type[FetchFailed]] = {"unreachable": HubUnreachable, "refused": HubRefused}


def told(error: OrchError) -> dict[str, Json]:
    """An error as it travels back."""
    kind = next((name for name, one in _KINDS.items() if isinstance(error, one)), "")
    return {"what": error.what, "why": error.why, "do": error.do, "kind": kind}


def failure(told: Mapping[str, Json]) -> FetchFailed:
    kind = _KINDS.get(told["kind"], FetchFailed)
    return kind(told["what"], told["why"], told["do"])
