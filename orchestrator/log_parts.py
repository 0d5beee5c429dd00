"""The files that the log of one start is kept in. Its engine writes ``ATTEMPT.log``; when that becomes too long
(`log_rotation`), what is in it moves, and the log is all of these in order, each byte once:

    ATTEMPT.log.0       how it began, where something after it was dropped
    ATTEMPT.log.1       what came before the next, without a gap
    .ATTEMPT.log.1.N    a copy of ATTEMPT.log from its byte N on, from before it is made until it has its name (.1):
                        of what ATTEMPT.log still holds, or already of what it held before

The last one is seen for milliseconds, unless whoever made it was killed.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

MOST = 1 << 20  # bytes of one reading
LIMIT = 64 << 20
"""Bytes of a log, beyond which it is rotated. One that grew beyond twice as many before somebody came keeps this much
of its end."""
OPENINGS = 20  # times that the files may be renamed while they are being opened
_LOG = re.compile(r"[0-9]{5,9}-[0-9a-f]{8}\.log")
_COPY = re.compile(r"\.[0-9]{5,9}-[0-9a-f]{8}\.log\.1\.([0-9]{1,18})")

Identity = tuple[int, int, int, int] | None


def logs_in(folder: Path) -> list[Path]:
    """Those that orch made, oldest first; what else somebody put there is left alone."""
    return sorted((path for path in folder.glob("*.log") if is_ours(path)), key=number)


def is_ours(log: Path) -> bool:
    """Beside any other log, a file ``.1`` is whatever its keeper made it."""
    return _LOG.fullmatch(log.name) is not None


def number(log: Path) -> int:
    """Of its start."""
    return int(log.name.partition("-")[0])


def first(log: Path) -> Path:
    return log.with_name(f"{log.name}.0")


def before(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def copy(log: Path, start: int) -> Path:
    return log.with_name(f".{log.name}.1.{start}")


def copies(log: Path) -> list[tuple[Path, int]]:
    """There is one at most, with the byte from which on it copies."""
    found = ((path, _COPY.fullmatch(path.name)) for path in log.parent.glob(f".{log.name}.1.*"))
    return sorted((path, int(match[1])) for path, match in found if match)


def parts(log: Path) -> list[Path]:
    """Those files that are there, but for the log itself."""
    return [path for path in (first(log), before(log), *(path for path, _ in copies(log))) if os.path.lexists(path)]


def beside(log: Path) -> list[Path]:
    """All that stands beside a log of orch's and is of no use without it."""
    more = (log.with_suffix(kind) for kind in (".json", ".dump"))
    return [*parts(log), *(path for path in more if os.path.lexists(path))]


def is_copy(of: int, start: int, log: int) -> bool:
    """Whether the file (a handle) still has at ``start`` all that the copy (likewise) holds."""
    at = 0
    while chunk := os.pread(of, MOST, at):
        if os.pread(log, len(chunk), start + at) != chunk:
            return False
        at += len(chunk)
    return True


def begins_with(file: int, head: int) -> bool:
    """Both are handles."""
    return is_copy(head, 0, file)


class Written:
    """All that an engine wrote into a log, from its beginning or from shortly before its end, and what is added. A log
    need not be there yet; it may be rotated, cut short by somebody (what is written then comes after), or become
    another file of the same name, while it is read."""

    def __init__(self, log: Path, back: int | None = None) -> None:
        """``back``: so many bytes before its end, or where it begins."""
        self._log, self._ours, self._back = log, is_ours(log), back
        self._before: list[int] = []  # handles of what comes first
        self._file: int | None = None
        self._read = 0  # bytes of the log itself
        self._size = 0  # of that, when last looked at
        self._known: set[Identity] = set()  # what ATTEMPT.log.1 is, or will be once it has its name
        self.midway = False  # it does not begin where the log does

    def read(self) -> bytes:
        """What comes next, at most `MOST` bytes; none where there is nothing new. Raises OSError where there is no such
        file, as long as it was never there."""
        if self._file is None:
            self._open()
            self._begin()
        while self._before or self._moved():
            if chunk := os.read(self._before[0], MOST):
                return chunk
            os.close(self._before.pop(0))
        assert self._file is not None
        if chunk := os.read(self._file, MOST):
            self._read += len(chunk)
            return chunk
        return self._another()

    def all(self) -> Iterator[bytes]:
        """What is there, to its end. Raises OSError."""
        while chunk := self.read():
            yield chunk

    def close(self) -> None:
        for handle in (*self._before, *([] if self._file is None else [self._file])):
            os.close(handle)
        self._before, self._file = [], None

    def _open(self) -> None:
        """All files as they belong together: none was renamed meanwhile."""
        for _ in range(OPENINGS):
            self._file = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
            self._size = os.fstat(self._file).st_size
            if not self._ours:
                return
            mark = _named(before(self._log))
            try:
                self._gather()
            except OSError:
                pass
            else:
                if mark == _named(before(self._log)) and os.fstat(self._file).st_size >= self._size:
                    self._known.add(mark)
                    return
            self.close()
        self._file = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)

    def _gather(self) -> None:
        assert self._file is not None
        self._known = set()
        one = _open(before(self._log))
        self._before = [one] if one is not None else []
        made = copies(self._log)
        for path, start in made:
            if (handle := _open(path)) is not None:
                self._before.append(handle)
                if is_copy(handle, start, self._file):
                    os.close(self._before.pop())
                else:
                    self._known.add(_identity(handle))
        head = _open(first(self._log))
        if head is None:
            return
        # How it began is written before that which it is taken from goes.
        if made and (not self._before or begins_with(self._before[0], head)):
            os.close(head)
        else:
            self._before.insert(0, head)

    def _begin(self) -> None:
        """At the byte that was asked for."""
        if self._back is None:
            return
        assert self._file is not None
        sizes = [os.fstat(handle).st_size for handle in self._before]
        skipped = max(0, sum(sizes) + self._size - self._back)
        self.midway = skipped > 0
        for size in sizes:
            if skipped < size:
                os.lseek(self._before[0], skipped, os.SEEK_SET)
                return
            os.close(self._before.pop(0))
            skipped -= size
        self._read = os.lseek(self._file, skipped, os.SEEK_SET)

    def _moved(self) -> bool:
        """Whether what is not read yet has moved; then the part that holds it is what comes next."""
        assert self._file is not None
        size, before_that = os.fstat(self._file).st_size, self._size
        mark = _named(before(self._log)) if self._ours else None
        self._size = size
        if size >= before_that and (mark is None or mark in self._known):
            return False
        found = self._last_moved() if self._ours else None
        if found is None:
            self._read = os.lseek(self._file, 0, os.SEEK_SET)
            return False
        handle, start = found
        self._known.add(_identity(handle))
        length = os.fstat(handle).st_size
        if start is None:  # one that had become very long has lost its middle
            start = before_that - LIMIT if before_that > 2 * LIMIT else 0
        at = os.lseek(handle, max(0, self._read - start), os.SEEK_SET)
        self._read = os.lseek(self._file, min(size, max(0, at - length)), os.SEEK_SET)
        self._before = [handle]
        return True

    def _last_moved(self) -> tuple[int, int | None] | None:
        """The handle of the part, and which byte of the log was its first, where that is known."""
        assert self._file is not None
        for path, start in (*copies(self._log), (before(self._log), None)):
            if (handle := _open(path)) is None:
                continue
            if _identity(handle) not in self._known and (start is None or not is_copy(handle, start, self._file)):
                return handle, start
            os.close(handle)
        return None

    def _another(self) -> bytes:
        assert self._file is not None
        try:
            there = self._log.stat()
        except OSError:
            return b""
        here = os.fstat(self._file)
        if (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
            return b""
        self.close()
        self._read, self._back = 0, None
        return b"\n"  # whoever wrote the last line of the other file does not end it here


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None


def _identity(handle: int) -> Identity:
    return _of(os.fstat(handle))


def _named(path: Path) -> Identity:
    try:
        return _of(path.lstat())
    except OSError:
        return None


def _of(status: os.stat_result) -> Identity:
    """A number of a file may be used again."""
    return status.st_ino, status.st_dev, status.st_mtime_ns, status.st_size
