"""Weights on this disk and who uses them, as values: what `hub.models` finds, before anything is said of it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.engines.repos import is_commit
from orchestrator.model import Pull, RepoUse

Kind = Literal["profile", "running", "deployed", "stopped", "revision"]
STRONGEST_FIRST: tuple[Kind, ...] = ("running", "deployed", "stopped", "profile", "revision")


@dataclass(frozen=True, slots=True)
class User:
    """A profile, a start of a deployment, or a revision of it that is kept, and what it takes from ``cache`` (a real
    path). ``commits`` holds those of its slots that are settled, ``path`` the real path of a folder that is served as
    it is, ``project`` the id of another project, ``started`` when that was, ``number`` the revision's."""

    name: str
    kind: Kind
    cache: str = ""
    uses: tuple[RepoUse, ...] = ()
    commits: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    project: str = ""
    started: float | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Cached:
    """One commit in the Hub's cache, or a flat folder with a model. Sizes in bytes.

    ``place`` is the cache or the folder as it was named, ``cache`` the cache's and ``path`` the snapshot's or the
    folder's real path. ``names`` are the revisions that lead orch to this commit, ``others`` those that lead only other
    tools there. ``size`` is what it takes on the disk; ``total``, ``here`` and ``unverified`` are of the files that are
    wanted of it (None: not known), ``missing`` counts those that are not there whole. ``weights``: some of them are
    here, or none are wanted. ``corrupt`` says what is wrong. ``read_at`` is when its largest file was last read,
    as far as the file system notes that.
    """

    kind: Literal["cache", "folder"]
    repo: str
    place: str
    cache: str = ""
    path: str = ""
    commit: str = ""
    names: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    size: int = 0
    total: int | None = None
    here: int = 0
    unverified: int = 0
    missing: int = 0
    weights: bool = True
    corrupt: tuple[str, ...] = ()
    pull: Pull | None = None
    read_at: float | None = None

    @property
    def whole(self) -> bool:
        return self.total is not None and not self.missing and not self.corrupt

    @property
    def state(self) -> str:
        """``complete``, ``unverified``, ``being fetched``, ``corrupt``, ``metadata only``, ``partial`` or ``empty``."""
        if self.whole and not self.unverified:
            return "complete"
        if self.pull:
            return "being verified" if self.pull.doing == "verifying" else "being fetched"
        if self.corrupt:
            return "corrupt"
        if self.whole:
            return "unverified"
        if not self.size and not self.here:
            return "empty"
        return "metadata only" if self.here and not self.weights else "partial"

    @property
    def percent(self) -> int | None:
        """Of the wanted bytes; 100 only when nothing at all is lacking."""
        if self.whole:
            return 100
        return min(99, 100 * self.here // self.total) if self.total else None

    @property
    def label(self) -> str:
        return f"{self.repo}@{self.commit[:8]}" if self.commit else self.repo or self.place


@dataclass(frozen=True, slots=True)
class Found:
    """``size`` counts every file once, however many commits share it. ``leftovers`` are the bytes of unfinished files
    that no commit goes on with, by repository and cache (as in Cached.cache)."""

    models: tuple[Cached, ...] = ()
    places: tuple[str, ...] = ()
    size: int = 0
    leftovers: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Removal:
    """What deleting ``commits`` of a repository comes to. ``whole``: nothing of the repository is left. ``freed`` bytes
    come free; ``stays`` are theirs and do not, for another commit or a hard link holds them."""

    repo: str
    cache: str
    commits: tuple[str, ...] = ()
    whole: bool = False
    freed: int = 0
    stays: int = 0


@dataclass(frozen=True, slots=True)
class Adoption:
    """What became of the files of a flat folder, adopted as ``revision``. ``adopted`` came from it, ``had`` were in the
    cache already, ``differing`` have another content than the Hub's; ``wanted`` files are ``total`` bytes, of which
    ``here`` are in the cache now."""

    repo: str
    commit: str
    revision: str
    cache: str
    wanted: int = 0
    total: int = 0
    adopted: int = 0
    had: int = 0
    here: int = 0
    differing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return self.adopted + self.had == self.wanted


def uses_of(cache: str, repo: str, users: Iterable[User]) -> tuple[RepoUse, ...]:
    """How anybody uses a repository of this cache."""
    return tuple(use for user in users if user.cache == cache for use in user.uses if use.repo == repo)


def users_of(one: Cached, users: Iterable[User], every: Sequence[Cached]) -> tuple[User, ...]:
    """Those that use ``one`` of ``every``, the strongest claim of each first."""
    found = [user for user in users if _uses(user, one, every)]
    return tuple(sorted(found, key=lambda user: (STRONGEST_FIRST.index(user.kind), user.project, user.name)))


def _uses(user: User, one: Cached, every: Sequence[Cached]) -> bool:
    if user.path and user.path == one.path:
        return True
    if one.kind != "cache" or user.cache != one.cache:
        return False
    return any(_leads_to(user, use, one, every) for use in user.uses if use.repo == one.repo)


def _leads_to(user: User, use: RepoUse, one: Cached, every: Sequence[Cached]) -> bool:
    """By the commit where it is known, else by the revision's name; where that was never resolved here, any commit may
    be meant."""
    commit = user.commits.get(use.slot) or (use.revision if is_commit(use.revision) else "")
    if commit:
        return commit == one.commit
    named = [other for other in every if (other.cache, other.repo) == (one.cache, one.repo)]
    return use.revision in one.names or not any(use.revision in other.names for other in named)
