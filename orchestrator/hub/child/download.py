"""The transfer of several files at once: ranges of all of them over a few connections, hashed while they come.

Two sorts of threads share the files in progress. A hasher sees one file after another through: it opens it, hashes it
from front to back while it fills, and gives it its name. A worker is one connection: it takes a run of missing chunks,
the lowest first so that the hash keeps up, and writes what comes; a chunk that is there whole is marked (see
``parts``) and never written again. They wait for each other at one condition, and the first error of any ends all.
"""

import hashlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from orchestrator.errors import FetchFailed, OrchError
from orchestrator.hub.child import problems
from orchestrator.hub.child.job import Tuning
from orchestrator.hub.child.lanes import Lanes
from orchestrator.hub.child.problems import Passing
from orchestrator.hub.child.sources import Remote, Source
from orchestrator.hub.parts import CHUNK, Part
from orchestrator.model import RemoteFile

HASH_BUFFER = 4 << 20  # the larger, the less threads fight for the interpreter
FILES = 16  # in progress at once
UNREACHED = 4  # tries when nothing has come from anywhere yet: then it is no passing trouble
LOUD = 2.0  # seconds without a byte after which a person hears why
WIDEN_EVERY = 0.3  # seconds over which a rate is taken before more connections are opened
REMIND = 10.0  # seconds between two such lines


class _Stopped(Exception):
    """Another thread failed: this one ends quietly."""


@dataclass(slots=True, eq=False)
class _File:
    """One in progress, and the chunks of it that nobody has taken."""

    remote: Remote
    source: Source
    part: Part
    wanted: list[int]  # highest first
    asking: bool = False  # its first request is under way: how the server answers ranges is not known yet

    def take(self, longest: int) -> "_Run | None":
        """The next run of at most so many chunks; None when there is none to be had now."""
        if not self.wanted or self.asking:
            return None
        first = self.wanted.pop()
        end = first + 1
        if self.remote.ranged is False:
            # The server sends the file from its start to its end or not at all: one reader, to the last chunk.
            end, self.wanted = max([end, *(one + 1 for one in self.wanted)]), []
        elif self.remote.ranged is None:
            self.asking = True
        else:
            while self.wanted and self.wanted[-1] == end and end - first < longest:
                end = self.wanted.pop() + 1
        return _Run(self, self.part.span(first)[0], self.part.span(end - 1)[1])


@dataclass(slots=True)
class _Run:
    """What one worker fetches: the bytes from ``position`` to before ``stop``. ``heard``: when the last one came."""

    file: _File
    position: int
    stop: int
    heard: float = field(default_factory=time.monotonic)


class Transfer:
    """``on_bytes`` hears of every piece that came (a negative number: they were wrong), ``on_file`` of each file that
    is whole and right, ``say`` what a person should know; all are called from several threads. ``fallback`` is where
    to go on when another source fails."""

    def __init__(
        self,
        tuning: Tuning,
        on_bytes: Callable[[int], None],
        on_file: Callable[[RemoteFile, Path], None],
        say: Callable[[str], None],
        fallback: Source | None = None,
    ) -> None:
        self.tuning, self.on_bytes, self.on_file, self.say, self.fallback = tuning, on_bytes, on_file, say, fallback
        self._changed = threading.Condition()
        self._queue: deque[tuple[Remote, Path, Source]] = deque()
        self._files: list[_File] = []
        self._open = 0  # files that are not finished
        self._given_up: set[Source] = set()
        self._lanes = Lanes(tuning.connections)
        self._counting = threading.Lock()
        self._came = 0  # bytes, from anywhere
        self._judged = (0.0, 0)  # when a rate was taken last, and what had come by then
        self._told = float("-inf")
        self._error: OrchError | None = None
        self._stop = threading.Event()

    def fetch(self, wanted: Sequence[tuple[Remote, Path, Source]]) -> None:
        """Each (file, blob to make, source), no blob twice. Raises FetchFailed, at once and without waiting for
        connections that hang; what came is kept."""
        self._queue, self._open, self._judged = deque(wanted), len(wanted), (time.monotonic(), 0)
        hashing = [self._hash_files] * min(len(wanted), FILES)
        working = [partial(self._work, lane) for lane in range(self.tuning.connections)]
        threads = [threading.Thread(target=self._guarded, args=(duty,), daemon=True) for duty in (*hashing, *working)]
        for thread in threads:
            self._guarded(thread.start)
        with self._changed:
            while not self._changed.wait_for(lambda: self._error or not self._open, WIDEN_EVERY):
                self._widen()
        if self._error:
            self._guarded(threading.Thread(target=self._clear_up, args=(threads,), daemon=True).start)
            raise self._error
        self._clear_up(threads)

    def _widen(self) -> None:
        """The lock is held."""
        now, came = time.monotonic(), self._came
        (then, before), self._judged = self._judged, (now, came)
        if self._lanes.widen((came - before) / (now - then)):
            self._changed.notify_all()

    def _clear_up(self, threads: Sequence[threading.Thread]) -> None:
        """A part may be closed only when nobody can be writing to it."""
        for thread in threads:
            if thread.ident:
                thread.join()
        for file in self._files:
            file.part.close()

    def _guarded(self, run: Callable[[], None]) -> None:
        """The first error ends everything; it is raised by ``fetch``."""
        try:
            run()
        except _Stopped:
            pass
        except OrchError as error:
            self._fail(error)
        except OSError as error:
            self._fail(problems.unwritable("fetch", error, str(error.filename or self._place())))
        except Exception as error:  # noqa: BLE001 (a thread has nobody else to tell)
            self._fail(FetchFailed("fetch", f"{type(error).__name__} inside orch: {error}", "please report it"))

    def _fail(self, error: OrchError) -> None:
        with self._changed:
            self._error = self._error or error
            self._stop.set()
            self._changed.notify_all()

    def _place(self) -> Path:
        with self._changed:
            return self._files[0].part.blob.parent if self._files else Path()

    # ------------------------------------------------------------------------------------------------- connections

    def _work(self, lane: int) -> None:
        while run := self._take(lane):
            failures = 0
            while run.position < run.stop:
                had, source = run.position, self._source(run.file)
                try:
                    source.read(run.file.remote, run.position, run.stop, partial(self._receive, run))
                except Passing as error:
                    failures = 0 if run.position > had else failures + 1
                    if failures >= self._tries(error):
                        self._give_up(run.file, source, error, failures)
                        failures = 0
                    else:
                        self._wait(run, error, failures)

    def _take(self, lane: int) -> _Run | None:
        """The next run; waits while this lane is closed, and while what is left is asked for the first time or hashed;
        None at the end."""
        with self._changed:
            while self._open and not self._stop.is_set():
                if lane >= self._lanes.open:
                    self._changed.wait()
                    continue
                left = sum(len(file.wanted) for file in self._files)
                # Shorter runs towards the end, so that no connection idles while another has much to do.
                longest = max(1, min(self.tuning.run, left // (2 * self._lanes.open)))
                for file in self._files:
                    if run := file.take(longest):
                        return run
                self._changed.wait()
            return None

    def _receive(self, run: _Run, data: memoryview) -> None:
        if self._stop.is_set():
            raise _Stopped
        run.heard = time.monotonic()
        with self._counting:
            self._came += len(data)
        self._answered(run.file)
        part, data = run.file.part, data[: run.stop - run.position]
        while data:
            index = run.position // CHUNK
            end = part.span(index)[1]
            piece, data = data[: end - run.position], data[end - run.position :]
            # A server without ranges sends what is here as well. It may be hashed already: what is marked stays.
            if new := not part.has(index):
                part.write(run.position, piece)
                self.on_bytes(len(piece))
            run.position += len(piece)
            if new and run.position == end:
                with self._changed:
                    part.mark(index)
                    self._changed.notify_all()

    def _answered(self, file: _File) -> None:
        if file.asking:
            with self._changed:
                file.asking = False
                self._changed.notify_all()

    # -------------------------------------------------------------------------------------------------- its trouble

    def _source(self, file: _File) -> Source:
        return self.fallback if self.fallback and file.source in self._given_up else file.source

    def _tries(self, error: Passing) -> int:
        patience = self.tuning.attempts if self._came or error.answered else UNREACHED
        return min(self.tuning.attempts, error.tries, patience)

    def _wait(self, run: _Run, error: Passing, failures: int) -> None:
        """Before the next try. Nobody has to watch a counter that stands still without knowing why."""
        backoff = min(self.tuning.longest, self.tuning.backoff * 2.0 ** (failures - 1))
        pause = max(backoff * random.uniform(0.7, 1.3), error.after)
        now = time.monotonic()
        with self._changed:
            tell = now + pause - run.heard >= LOUD and now >= self._told + REMIND
            self._told = now if tell else self._told
        if tell:
            when = f" in {pause:.0f} s" if pause >= 1 else ""
            self.say(f"{run.file.remote.file.path}: {error}; trying again{when}")
        if self._stop.wait(pause):
            raise _Stopped

    def _give_up(self, file: _File, source: Source, error: Passing, failures: int) -> None:
        """Raises FetchFailed, unless there is another way."""
        path = file.remote.file.path
        if source is self.fallback or self.fallback is None:
            tries = f" ({failures} tries)" if failures > 1 else ""
            raise FetchFailed(
                f"fetch {path} of {file.remote.repo}", f"{error}{tries}", f"{error.do}; what came is kept"
            )
        with self._changed:
            first = source not in self._given_up
            self._given_up.add(source)
        if first:
            self.say(f"{path}: {error}; going on over plain HTTP")

    # ------------------------------------------------------------------------------------------------------- hashes

    def _hash_files(self) -> None:
        while taken := self._next():
            self._see_through(*taken)

    def _next(self) -> tuple[Remote, Path, Source] | None:
        with self._changed:
            return self._queue.popleft() if self._queue and not self._stop.is_set() else None

    def _see_through(self, remote: Remote, blob: Path, source: Source) -> None:
        """One file, until it has its name."""
        part = Part(blob, remote.file.size)
        file = _File(remote, source, part, part.missing()[::-1])
        with self._changed:
            self._files.append(file)
            self._changed.notify_all()
        if not self._right(file):
            self.say(f"{remote.file.path}: what came is not what the Hub says; fetching it again")
            self._again(file)
            if not self._right(file):
                part.discard()
                why = f"it came corrupt twice: its hash is not the one that the Hub lists ({remote.file.blob[:12]}...)"
                do = "a proxy or mirror may be changing it: try another HF_ENDPOINT"
                raise FetchFailed(f"fetch {remote.file.path} of {remote.repo}", why, do)
        part.finish()
        self.on_file(remote.file, blob)
        with self._changed:
            self._files.remove(file)
            self._open -= 1
            self._changed.notify_all()

    def _right(self, file: _File) -> bool:
        """Hashes it as it fills. Nobody writes to it any more when this returns."""
        wanted = file.remote.file
        buffer, hashed, position = memoryview(bytearray(HASH_BUFFER)), new_hash(wanted), 0
        while position < wanted.size:
            end = self._filled(file, position)
            while position < end:
                count = file.part.read(position, buffer[: end - position])
                if not count:  # somebody cut it
                    return False
                hashed.update(buffer[:count])
                position += count
        return hashed.hexdigest() == wanted.blob

    def _filled(self, file: _File, position: int) -> int:
        """Where the unbroken chunks from ``position`` on end, once the first is there: a buffer full at most."""
        index = position // CHUNK
        with self._changed:
            self._changed.wait_for(lambda: file.part.has(index) or self._stop.is_set())
        if self._stop.is_set():
            raise _Stopped
        last = index
        while last + 1 < index + HASH_BUFFER // CHUNK and file.part.has(last + 1):
            last += 1
        return file.part.span(last)[1]

    def _again(self, file: _File) -> None:
        self.on_bytes(-file.remote.file.size)
        with self._changed:
            file.part.forget()
            file.wanted = file.part.missing()[::-1]
            self._changed.notify_all()


def new_hash(file: RemoteFile) -> "hashlib._Hash":
    """sha256 for large files; git's object hash, which starts with a header, for the others."""
    if len(file.blob) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def hash_file(path: Path, file: RemoteFile, on_bytes: Callable[[int], None]) -> bool:
    """Whether a file's content is what the Hub says. Raises OSError."""
    hashed = new_hash(file)
    buffer = memoryview(bytearray(HASH_BUFFER))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            hashed.update(buffer[:count])
            on_bytes(count)
    return hashed.hexdigest() == file.blob
