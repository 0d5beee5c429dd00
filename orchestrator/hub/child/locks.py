"""Who may work on a repository in the cache: one orch at a time. The files stay, for a removed one would let two hold
two."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from orchestrator.hub.layout import Repo

LOOK_EVERY = 0.2  # seconds between two tries for a lock that another pull holds


def make_shared(folder: Path) -> None:
    """With the modes of the caller's umask, for a cache may belong to several users."""
    folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def locked(repos: Sequence[Repo], say: Callable[[str], object]) -> Iterator[None]:
    """One pull a repository at a time: the second finds what the first fetched. In order, so that two of several
    repositories cannot wait on each other."""
    with contextlib.ExitStack() as held:
        for repo in sorted(set(repos), key=lambda one: one.name):
            try:
                held.callback(os.close, handle := _open_lock(repo.lock))
            except OSError:
                if os.access(repo.folder / "blobs", os.W_OK):
                    raise
                continue  # where nothing can be written there is nothing to guard
            _await_lock(handle, repo, say)
        yield


@contextlib.contextmanager
def alone(repo: Repo) -> Iterator[None]:
    """Raises BlockingIOError while another orch works on the repository, or the Hub's client, which locks each file
    that it fetches."""
    with contextlib.ExitStack() as held:
        held.callback(os.close, own := _open_lock(repo.lock))
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for file in sorted(repo.lock.parent.glob("*.lock")):
            if file != repo.lock:
                held.callback(os.close, handle := _open_lock(file))
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _open_lock(file: Path) -> int:
    make_shared(file.parent)
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:  # another user's: a lock needs no more than reading
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    with contextlib.suppress(PermissionError):
        os.fchmod(handle, 0o666)
    return handle


def _await_lock(handle: int, repo: Repo, say: Callable[[str], object]) -> None:
    waited = threading.Event()
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                say(f"waiting: another orch is fetching {repo.name}")
                told = True
            waited.wait(LOOK_EVERY)
