"""Locks that are not waited for: who holds one is at work, and what he works on is no garbage."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import HostError


@contextlib.contextmanager
def alone(file: Path, what: str) -> Iterator[None]:
    """Raises HostError while somebody else holds it."""
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(f"remove {what}", f"{file}: {error.strerror or error}", "make it writable") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError(f"remove {what}", "another orch is working on it", "try again later") from None
        yield
    finally:
        os.close(handle)
