"""Locks between processes: flock on files that stay, for a removed file would let two holders lock two files.

What only one engine can hold (a port, a GPU) is locked among all users of this host, in a world-writable sticky
folder; such a file is opened before it is created, since the kernel may refuse O_CREAT on another user's file there
(fs.protected_regular).
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orchestrator.errors import HostError

SHARED = Path("/tmp/orch-locks")


def hold(
    handle: int,
    what: str,
    say: Callable[[str], None],
    waiting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> None:
    """Waits for the lock, inside ``waiting``, and says so when it is not to be had at once."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting: another orch is working on {what}")
        with waiting():
            fcntl.flock(handle, fcntl.LOCK_EX)


@contextlib.contextmanager
def asking(file: Path) -> Iterator[None]:
    """Lets the holder see that somebody waits. A file that cannot be made costs patience and no more."""
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def is_held(file: Path, *, shared: bool = False) -> bool:
    """Makes no file; what cannot be opened is held by nobody. ``shared``: also by those who hold it together, as in
    ``asking``. It ends with its process, however that ends."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if shared else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextlib.contextmanager
def claims(names: Iterable[str], say: Callable[[str], None], folder: Path = SHARED) -> Iterator[None]:
    """Holds these claims, taken in order so that two holders cannot wait on each other. Raises HostError."""
    with contextlib.ExitStack() as held:
        for name in sorted(set(names)):
            handle = _open(folder, name)
            held.callback(os.close, handle)
            hold(handle, name, say)
        yield


def _open(folder: Path, name: str) -> int:
    file = folder / re.sub(r"[^A-Za-z0-9.-]+", "-", name)
    try:
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            folder.chmod(0o1777)  # mkdir's own mode is cut by the umask
        with contextlib.suppress(FileNotFoundError):
            return os.open(file, os.O_RDWR | os.O_NOFOLLOW)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with contextlib.suppress(PermissionError):
            os.fchmod(handle, 0o666)
    except OSError as error:
        why = error.strerror or str(error)
        raise HostError(f"lock {name} on this host", f"{file}: {why}", f"make {folder} writable for all") from error
    return handle
