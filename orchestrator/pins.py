"""Commits are sticky: a revision is resolved once, and what runs or was recorded says to what, unless orch.lock says
otherwise. So is what a runtime is built from. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.engines.repos import is_commit, repos
from orchestrator.lockfile import Base, Lock, asked
from orchestrator.model import Deployment, RepoUse, RuntimeSpec, Spec


def carried(wanted: Spec, known: Spec | None) -> dict[str, str]:
    """The commits of ``wanted``, by slot, that need nobody to be asked: those that the file says, and those that the
    same revision of the same repository was resolved to in ``known``."""
    before = {(use.slot, use.repo, use.revision): use for use in repos(known)} if known else {}
    found = {}
    for use in repos(wanted):
        if is_commit(use.revision):
            found[use.slot] = use.revision
        elif known and (use.slot, use.repo, use.revision) in before and use.slot in known.commits:
            found[use.slot] = known.commits[use.slot]
    return found


def unresolved(spec: Spec) -> tuple[RepoUse, ...]:
    return tuple(use for use in repos(spec) if use.slot not in spec.commits)


def pinned(wanted: Deployment, commits: Mapping[str, str]) -> Deployment:
    return replace(wanted, spec=replace(wanted.spec, commits={**wanted.spec.commits, **commits}))


def at_lock(
    wanted: Deployment, lock: Lock | None, known: Spec | None, base: Base, built: Callable[[RuntimeSpec], str]
) -> Deployment:
    """With the commits and the packages that the lock names, as far as it holds what the files ask for. ``known`` is
    what runs or ran last, ``built`` tells the key of a runtime that is there."""
    uses = [use for use in repos(wanted.spec) if not is_commit(use.revision)]
    held = {use.slot: lock.model(use.repo, use.revision) for use in uses} if lock else {}
    runtime = _runtime(wanted.spec.runtime, lock, known.runtime if known else None, base, built)
    commits = {slot: one.commit for slot, one in held.items() if one}
    return pinned(replace(wanted, spec=replace(wanted.spec, runtime=runtime)), commits)


def locked(wanted: RuntimeSpec, lock: Lock | None, base: Base) -> RuntimeSpec:
    """One that is not running yet."""
    return _runtime(wanted, lock, None, base, lambda _: "")


def _runtime(
    wanted: RuntimeSpec, lock: Lock | None, known: RuntimeSpec | None, base: Base, built: Callable[[RuntimeSpec], str]
) -> RuntimeSpec:
    """A lock that names what was built without it changes nothing; nor does one that went away."""
    if wanted.kind != "requirements":
        return wanted
    wanted = replace(wanted, lock="")
    before = known if known and replace(known, lock="") == wanted else wanted
    held = lock.runtime(asked(wanted, base), base.platform) if lock else None
    if held is None:
        return before
    return wanted if known == wanted and built(wanted) == held.key else replace(wanted, lock=held.key)
