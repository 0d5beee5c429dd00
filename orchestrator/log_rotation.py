"""Keeps the logs of a deployment's starts within bounds. An engine writes its log itself and keeps it open; nothing
stands between the two. What is in it is moved to another file (`log_parts`), behind the engine's back.

Nothing is lost where the file system takes a range out of a file (ext4, XFS). Elsewhere the log is cut short once all
of it is copied; what the engine writes between these two calls, microseconds apart, is gone.
"""

import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator import log_parts
from orchestrator.errors import HostError
from orchestrator.log_parts import MOST, before, beside, copies, copy, first, is_copy, logs_in
from orchestrator.logfiles import unit_of

LOGS_KEPT = 10  # starts
TOTAL = 256 << 20  # bytes of all logs of a deployment
HEAD = 1 << 20  # bytes of its beginning that are always kept: the flags, the config, the stages of the start
_COLLAPSE = 0x08  # FALLOC_FL_COLLAPSE_RANGE


def too_long(folder: Path) -> list[Path]:
    """Of the logs in a deployment's folder of logs those that are to be rotated, or were left in the midst of it."""
    return [log for log in logs_in(folder) if _is_regular(log) and (_size(log) > log_parts.LIMIT or copies(log))]


def rotate(log: Path) -> bool:
    """Whether it was; not while another process does it. Raises HostError, with all there as it was."""
    try:
        with _alone(log) as file:
            if file is None or unit_of(log):
                return False
            _settle(log, file)
            if os.fstat(file).st_size <= log_parts.LIMIT:
                return False
            _rotate(log, file)
    except FileNotFoundError:  # removed meanwhile
        return False
    except OSError as error:
        why = error.strerror or str(error)
        raise HostError(f"rotate {log}", f"{why}; it goes on growing", "free some space") from error
    return True


def prune(folder: Path, spared: Set[str]) -> None:
    """Removes the oldest logs, each with all that stands beside it, as far as they are too many, or too large together.
    ``spared``: starts whose logs stay unless there are too many; the newest always does. Raises OSError."""
    logs = logs_in(folder)
    for log in logs[:-LOGS_KEPT]:
        remove(log)
    sizes = {log: sum(map(_size, (log, *beside(log)))) for log in logs[-LOGS_KEPT:]}
    total = sum(sizes.values())
    for log in logs[-LOGS_KEPT:-1]:
        if total > TOTAL and log.stem not in spared:
            remove(log)
            total -= sizes[log]


def remove(log: Path) -> None:
    """Itself last: what stands beside it is found by it. Raises OSError."""
    for path in (*beside(log), log):
        path.unlink(missing_ok=True)


def free(folder: Path) -> int:
    """Bytes that this user may still write there."""
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize


@contextmanager
def _alone(log: Path) -> Iterator[int | None]:
    """The log's handle; None where another process rotates it."""
    file = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        yield None
        return
    try:
        yield file
    finally:
        os.close(file)


def _settle(log: Path, file: int) -> None:
    """What a killed process left in the midst of it is undone or done."""
    for path, start in copies(log):
        made = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            undone = is_copy(made, start, file)
        finally:
            os.close(made)
        if not undone:
            _name(log, path)
        else:
            path.unlink()
            if not before(log).exists():
                first(log).unlink(missing_ok=True)


def _rotate(log: Path, file: int) -> None:
    size = os.fstat(file).st_size
    start = size - log_parts.LIMIT if size > 2 * log_parts.LIMIT else 0
    # An engine must not find the disk full because of us: as much again stays free.
    if free(log.parent) < 2 * (size - start + HEAD):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    path = copy(log, start)
    try:
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if start and not before(log).exists():
                _keep_head(log, file)
            _copy(file, made, start)
            os.fsync(made)
            _cut(file, made, start)
        finally:
            os.close(made)
    except OSError:
        _settle(log, file)
        raise
    _name(log, path)


def _cut(file: int, made: int, start: int) -> None:
    """Takes out of the log what was copied of it."""
    block = os.statvfs(file).f_frsize or 4096
    end = (_copy(file, made, start) - 1) // block * block  # not all of it may go
    if end > start:
        os.ftruncate(made, end - start)
        if _collapse(file, end):
            return
    _copy(file, made, start)
    os.ftruncate(file, 0)  # at once


def _copy(file: int, made: int, start: int) -> int:
    """What the copy does not hold yet; answers up to which byte of the log it goes then."""
    at = start + os.lseek(made, 0, os.SEEK_END)
    while chunk := os.pread(file, MOST, at):
        at += len(chunk)
        while chunk:
            chunk = chunk[os.write(made, chunk) :]
    return at


def _collapse(file: int, size: int) -> bool:
    """Takes the first bytes out of the file, at once and whatever is being written; not every file system can."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "fallocate"):
        return False
    done: int = library.fallocate(file, _COLLAPSE, ctypes.c_int64(0), ctypes.c_int64(size))
    return done == 0


def _name(log: Path, made: Path) -> None:
    """How it began is kept before what holds it goes."""
    old = before(log)
    if old.exists() and not first(log).exists():
        file = os.open(old, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _keep_head(log, file)
        finally:
            os.close(file)
    made.replace(old)


def _keep_head(log: Path, file: int) -> None:
    if first(log).exists():
        return
    head = os.pread(file, HEAD, 0)
    head = head[: head.rfind(b"\n") + 1] or head
    fresh = log.with_name(f".{log.name}.0.new")
    try:
        fresh.write_bytes(head)
        fresh.chmod(0o600)
        fresh.replace(first(log))
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _is_regular(path: Path) -> bool:
    with suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0
