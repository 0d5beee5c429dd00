"""Commits are sticky: a revision is resolved once, and what runs or was recorded says to what. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.engines.repos import is_commit, repos
from orchestrator.model import Deployment, RepoUse, Spec


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
