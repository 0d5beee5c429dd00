"""The kernel's log, as far as this user may read it: from /dev/kmsg, else from the journal. Takes 0.3 s at most."""

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.diagnosis.kernel import tells, without_numbers
from orchestrator.shell import CommandFailed, stream

DEVICE = Path("/dev/kmsg")
_NUMBER = (1, 11)  # the device's; elsewhere a console or /dev/null stands in its place
_RECORD = 8192  # bytes: no record is longer
_BUDGET = 0.25  # seconds for each of the two ways
_JOURNAL = ("journalctl", "-k", "-q", "--no-pager", "--no-hostname", "-o", "short-unix", "-n", "5000")
_ENTRY = re.compile(r"(\d+\.\d+) kernel: (.*)")
_SPARE = 1.0  # seconds by which the clocks may differ, and
_DRIFT = 1 / 20_000  # of the time since boot: that of the log is never set right
_FIRST_NAMESPACE = 0xEFFFFFFC  # the inode of the one that the kernel counts processes in


def lines(since: float) -> tuple[str, ...] | None:
    """Those that tell something of processes or of the GPU driver (`diagnosis.kernel`), since then (seconds since the
    epoch), oldest first, with numbers of processes as they are here. None where the log cannot be read."""
    found = _from_device(since)
    if found is None:
        found = _from_journal(since)
    if found is None or _counts_as_here():
        return found
    return tuple(map(without_numbers, found))


def _from_device(since: float) -> tuple[str, ...] | None:
    now = time.monotonic()
    read = list(_records(DEVICE))
    found = texts(read, now - (time.time() - since) - _SPARE - now * _DRIFT)
    # A log that is not read to its end in time proves nothing by what it does not hold.
    return found if read and (found or time.monotonic() - now < _BUDGET) else None


def _records(device: Path) -> Iterator[bytes]:
    """All that the kernel still has, one each; none where it may not be read. Never waits."""
    end = time.monotonic() + _BUDGET
    try:
        handle = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    with os.fdopen(handle, "rb", buffering=0):
        number = os.fstat(handle).st_rdev
        while (os.major(number), os.minor(number)) == _NUMBER and time.monotonic() < end:
            try:
                yield os.read(handle, _RECORD)
            except BrokenPipeError:  # the next record was overwritten: what follows it is there
                continue
            except OSError:  # BlockingIOError: there is no more
                return


def texts(records: Iterable[bytes], since: float) -> tuple[str, ...]:
    """Of records "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];TEXT", each with lines behind it that begin with a space,
    the texts that tell something, from ``since`` on (seconds of CLOCK_MONOTONIC). Odd bytes in them stay escaped. What
    programs wrote into the log is left out: the kernel's own has facility 0."""
    found = []
    for record in records:
        head, _, rest = record.partition(b";")
        fields = head.split(b",")
        if len(fields) < 4 or not (fields[0].isdigit() and fields[2].isdigit()) or int(fields[0]) >> 3:
            continue
        text = rest.partition(b"\n")[0].decode(errors="replace")
        if int(fields[2]) >= since * 1e6 and tells(text):
            found.append(text)
    return tuple(found)


def _from_journal(since: float) -> tuple[str, ...] | None:
    late = threading.Event()
    timer = threading.Timer(_BUDGET, late.set)
    timer.daemon = True
    timer.start()
    try:
        told = "".join(stream(_JOURNAL, late, 0.02))
    except CommandFailed:
        return None
    finally:
        timer.cancel()
    return None if late.is_set() else entries(told, since)


def entries(journal: str, since: float) -> tuple[str, ...] | None:
    """Of what `journalctl -o short-unix` prints the same. None of one without any entry: a journal that does not keep
    the kernel's log looks like one that this user may not read."""
    found = [match for line in journal.split("\n") if (match := _ENTRY.match(line))]
    return tuple(one[2] for one in found if float(one[1]) >= since and tells(one[2])) if found else None


def _counts_as_here() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _FIRST_NAMESPACE  # noqa: PTH116 (beside os.open)
    except OSError:
        return False
