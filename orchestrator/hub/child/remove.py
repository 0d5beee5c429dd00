"""Deleting commits from the Hub's cache. What goes is decided by `going`, anew and with the repository locked.

huggingface_hub's own delete_revisions is not used: it takes a commit from whichever repository of the cache has it (a
renamed one has the same commits), deletes what a link in a snapshot leads to wherever that is, leaves a damaged
repository alone, and tells of a refusal by the system in its log only. What several repositories share has its locks
and manifests, though: that it lets go of itself.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from orchestrator.cached import Removal
from orchestrator.codec import to_json
from orchestrator.errors import FetchFailed, HostError
from orchestrator.hub.child.job import Job
from orchestrator.hub.child.locks import alone
from orchestrator.hub.going import Going, going
from orchestrator.hub.layout import Repo
from orchestrator.hub.memory import Memory
from orchestrator.model import Json


def remove(job: Job) -> Json:
    """A Removal, as it came to be. Raises FetchFailed."""
    repo, memory = Repo(Path(job.cache), job.wants[0].repo), Memory(Path(job.memory))
    commits = sorted({want.commit for want in job.wants} - {""})
    what = f"remove {repo.name}"
    try:
        with alone(repo):
            found = going(repo, commits, memory)
            _delete(repo, found)
            memory.forget(repo, commits)
    except BlockingIOError:
        do = "wait for it, or end it"
        raise FetchFailed(what, "another process is fetching it at this moment", do) from None
    except HostError as error:
        raise FetchFailed(error.what, error.why, error.do) from error
    except OSError as error:
        why = f"{error.filename or repo.folder}: {(error.strerror or str(error)).lower()}"
        raise FetchFailed(what, why, "check who owns it; the same command goes on from here") from error
    held = sum(size for payload, size in found.payloads.items() if payload.exists())
    return to_json(Removal(repo.name, job.cache, tuple(commits), found.whole, found.freed - held, found.stays + held))


def _delete(repo: Repo, found: Going) -> None:
    for file in found.files:
        if file not in found.shared:
            file.unlink(missing_ok=True)
    if found.shared:
        _let_go(repo, found.shared)
    for folder in found.folders:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
    _prune(repo.folder / "refs")


def _let_go(repo: Repo, links: Iterable[Path]) -> None:
    """Through the Hub's client, which deletes a payload with its last link. One too old to know the store leaves the
    payload to whoever made it."""
    from huggingface_hub import DeleteCacheStrategy

    known = {one.name for one in fields(DeleteCacheStrategy)}
    more: dict[str, Any] = {"cache_dir": repo.cache} if "cache_dir" in known else {}
    none: frozenset[Path] = frozenset()
    DeleteCacheStrategy(
        expected_freed_size=0, blobs=frozenset(links), refs=none, repos=none, snapshots=none, **more
    ).execute()
    for link in links:  # it only logs what it may not
        link.unlink(missing_ok=True)


def _prune(top: Path) -> None:
    """Folders of refs (``orch/``) that have become empty."""
    for folder in sorted((path for path in top.glob("**/*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            folder.rmdir()
