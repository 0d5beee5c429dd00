"""Deleting commits from the Hub's cache: huggingface_hub knows which blobs nobody else needs."""

import shutil
from pathlib import Path

from orchestrator.errors import FetchFailed
from orchestrator.hub.child.job import Job
from orchestrator.hub.layout import Repo
from orchestrator.hub.memory import Memory


def remove(job: Job) -> dict[str, int]:
    """Raises FetchFailed. What is left of a repository without any commit goes as a whole, unfinished files too."""
    repo = Repo(Path(job.cache), job.wants[0].repo)
    commits = {want.commit for want in job.wants}
    try:
        before = _size(repo.folder)
        if set(repo.commits()) <= commits:
            _forget(repo, Memory(Path(job.memory)))
            _sweep(job, commits)
            shutil.rmtree(repo.folder, ignore_errors=False) if repo.folder.exists() else None
        else:
            _sweep(job, commits)
        return {"freed": max(0, before - _size(repo.folder))}
    except OSError as error:
        why = f"{error.filename or repo.folder}: {(error.strerror or str(error)).lower()}"
        raise FetchFailed(f"remove {repo.name}", why, "check who owns it") from error


def _sweep(job: Job, commits: set[str]) -> None:
    """Through the Hub's client, which also lets go of blobs that several repositories share."""
    from huggingface_hub import scan_cache_dir

    scan_cache_dir(job.cache).delete_revisions(*sorted(commits)).execute()


def _forget(repo: Repo, memory: Memory) -> None:
    memory.keep_verified(repo, {})
    memory.pull_file(repo).unlink(missing_ok=True)


def _size(folder: Path) -> int:
    """Bytes on disk, each content once."""
    seen: dict[int, int] = {}
    for path in folder.glob("**/*"):
        if path.is_file() and not path.is_symlink():
            found = path.stat()
            seen[found.st_ino] = found.st_blocks * 512
    return sum(seen.values())
