"""What `orch models rm` takes away: from words to commits, what forbids it, and the question. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from orchestrator.cached import Cached, Found, Removal, User, users_of
from orchestrator.errors import InputError, PlanError
from orchestrator.models_table import revision
from orchestrator.units import format_size

SHORTEST = 4
"""Digits of a commit that are taken for one."""


@dataclass(frozen=True, slots=True)
class Target:
    """Commits of one repository in one cache; one without a commit stands for what is left of a download."""

    models: tuple[Cached, ...]

    @property
    def repo(self) -> str:
        return self.models[0].repo

    @property
    def cache(self) -> str:
        return self.models[0].cache

    @property
    def commits(self) -> tuple[str, ...]:
        return tuple(one.commit for one in self.models if one.commit)


def targets(words: Sequence[str], found: Found) -> tuple[Target, ...]:
    """REPO, REPO@REVISION or REPO@COMMIT each, in every cache that has it. Raises InputError."""
    chosen = dict.fromkeys(one for word in words for one in _named(word, found.models))
    places = dict.fromkeys((one.cache, one.repo) for one in chosen)
    return tuple(Target(tuple(one for one in chosen if (one.cache, one.repo) == place)) for place in places)


def _named(word: str, models: Sequence[Cached]) -> Sequence[Cached]:
    repo, at, wanted = word.partition("@")
    if at and not wanted:  # a variable of the shell that was empty: all of the repository is not what was meant
        raise InputError(f"remove {word}", "no revision stands behind the @", "name one, or leave the @ out")
    mine = [one for one in models if one.kind == "cache" and one.repo == repo]
    if mine and (chosen := [one for one in mine if _is(one, wanted)]):
        return _clear(word, wanted, chosen)
    if mine:
        there = ", ".join(revision(one) for one in mine)
        raise InputError(f"remove {word}", f"{repo} is not cached at that revision", f"there is {there}")
    for one in models:
        if one.kind == "folder" and word in {one.repo, one.place, one.path}:
            why = f"{one.place} is a folder, and none that orch made"
            raise InputError(f"remove {word}", why, "delete it yourself if nobody needs it")
    raise InputError(f"remove {word}", "no cache here has it", _instead(repo, models))


def _is(one: Cached, wanted: str) -> bool:
    if not wanted or wanted in one.names or wanted in one.others:
        return True
    return len(wanted) >= SHORTEST and one.commit.startswith(wanted.lower())


def _clear(word: str, wanted: str, chosen: Sequence[Cached]) -> Sequence[Cached]:
    """A revision's name goes before the first digits of a commit, and what orch takes it for before what others do."""
    for by in ("names", "others"):
        if named := [one for one in chosen if wanted and wanted in getattr(one, by)]:
            return named
    if wanted and len({one.commit for one in chosen}) > 1:
        raise InputError(f"remove {word}", "several commits begin so", f"name one: {', '.join(_commits(chosen))}")
    return chosen


def _commits(chosen: Iterable[Cached]) -> list[str]:
    return sorted({one.commit for one in chosen})


def _instead(repo: str, models: Sequence[Cached]) -> str:
    known = {one.repo.lower(): one.repo for one in models if one.kind == "cache"}
    close = get_close_matches(repo.lower(), known, n=1)
    return f"did you mean {known[close[0]]}?" if close else "`orch models` lists what there is"


def refusals(chosen: Iterable[Target], users: Sequence[User], found: Found) -> list[PlanError]:
    """Why some of it has to stay: what lives was started from it, or it is just being fetched."""
    errors = []
    for target in chosen:
        pulling = {one.pull.pid: one.pull for one in found.models if one.pull and _same(one, target)}
        for pull in pulling.values():
            errors.append(
                PlanError(f"remove {target.repo}", f"an orch (pid {pull.pid}) is fetching it", "wait for it, or end it")
            )
        for one in target.models:
            for user in users_of(one, users, found.models):
                if user.kind == "running":
                    errors.append(_in_use(one, user))
    return list({str(error): error for error in errors}.values())


def _same(one: Cached, target: Target) -> bool:
    return (one.cache, one.repo) == (target.cache, target.repo)


def _in_use(one: Cached, user: User) -> PlanError:
    where = f" in project {user.project}" if user.project else ""
    do = "stop it there first" if user.project else f"`orch stop {user.name}` first"
    return PlanError(f"remove {one.label}", f"{user.name}{where} runs and was started from it", do)


def question_text(planned: Sequence[tuple[Target, Removal]], users: Sequence[User], found: Found) -> str:
    """What would go, from where, what that frees, and who will miss it."""
    lines = []
    for target, removal in planned:
        lines.append(f"Remove from {target.models[0].place}:")
        lines += [f"  {one.repo} {_what(one)}" for one in target.models]
        lines += [f"    {missed}" for one in target.models for missed in _missed(one, users, found)]
        stays = f"; {format_size(removal.stays)} stay, which another commit or a hard link holds"
        lines.append(f"  frees {format_size(removal.freed)}{stays if removal.stays else ''}")
    return "\n".join(lines)


def _what(one: Cached) -> str:
    return f"{revision(one)}, {one.state}" if one.commit else "what is left of a download"


def _missed(one: Cached, users: Sequence[User], found: Found) -> list[str]:
    words = {
        "profile": "profile {0} names it: its next `orch apply` fetches it again",
        "deployed": "{0} was started from it: it is fetched again before {0} starts",
        "stopped": "{0}, which is stopped, was started from it: it is fetched again before {0} starts",
    }
    every = users_of(one, users, found.models)
    strongest = {user.name: user for user in reversed(every)}
    now = [words[user.kind].format(user.name) for name, user in sorted(strongest.items()) if user.kind in words]
    kept = sorted((user.name, user.number) for user in every if user.kind == "revision")
    again = "is kept and needs it: it is fetched again before `orch rollback {0} --to {1}`"
    return now + [f"revision {number} of {name} {again.format(name, number)}" for name, number in kept]


def removed_text(target: Target, removal: Removal) -> str:
    what = ", ".join(f"{target.repo}@{commit[:8]}" for commit in removal.commits) or target.repo
    return f"removed {what} from {target.models[0].place}: {format_size(removal.freed)} came free"
