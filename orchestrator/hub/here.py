"""What is on this disk of a model in the Hub's cache, described by its first bytes. Asks nobody, writes nothing."""

import os
from dataclasses import replace

from orchestrator.fit.description import Description
from orchestrator.hub.layout import Repo
from orchestrator.hub.memory import Memory
from orchestrator.model import RepoUse


def described(repo: Repo, commit: str, use: RepoUse, memory: Memory | None = None) -> Description | None:
    """At this commit, be it config.json alone; None when nothing of it is here. ``memory`` knows which files there are
    that are not here yet."""
    if not os.path.isdir(repo.snapshot(commit)):  # noqa: PTH112 (never raises)
        return None
    from orchestrator.describe import describe, in_brief
    from orchestrator.pieces import pieces

    listed = memory.listing(repo, commit) if memory else None
    files = listed or repo.held(commit)
    place, piece = f"{repo.name}@{commit[:8]}", pieces(repo.snapshot(commit))
    found = in_brief(lambda each: describe(place, files, use, piece, each, partial=not listed))
    return replace(found, commit=commit, here=True) if found.config or found.headers else None
