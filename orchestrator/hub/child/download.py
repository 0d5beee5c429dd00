"""The transfer of several files at once: ranges of all of them over a few connections, hashed while they come.

Workers take runs of missing chunks, the lowest first, so that hashing, which goes from front to back, keeps up. What a
run had received is kept when its connection breaks, and marked when the process is killed (see ``parts``).
"""

import hashlib
import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import FetchFailed, OrchError
from orchestrator.hub.child import problems
from orchestrator.hub.child.job import Tuning
from orchestrator.hub.child.problems import Passing
from orchestrator.hub.child.sources import Remote, Source
from orchestrator.hub.parts import CHUNK, Part
from orchestrator.model import RemoteFile

HASH_BUFFER = 4 << 20


def new_hash(file: RemoteFile) -> "hashlib._Hash":
    """sha256 for large files; git's object hash, which starts with a header, for the others."""
    if len(file.blob) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


@dataclass(slots=True)
class _Job:
    """One file: its unfinished blob, the runs nobody has taken, and how often its hash was wrong."""

    remote: Remote
    blob: Path
    source: Source
    part: Part
    wanted: list[int] = field(default_factory=list)  # chunks nobody has taken, highest first
    asking: bool = False  # the first request is under way: how the server answers ranges is not known yet
    bad: int = 0

    @property
    def file(self) -> RemoteFile:
        return self.remote.file

    def take(self, longest: int) -> tuple[int, int] | None:
        """Chunks ``first`` to before ``end``; None when there is none to be had now."""
        if not self.wanted or self.asking:
            return None
        self.asking = self.remote.ranged is None
        longest = 1 if self.asking else longest
        first = self.wanted.pop()
        end = first + 1
        while self.wanted and self.wanted[-1] == end and (end - first < longest or self.remote.ranged is False):
            end = self.wanted.pop() + 1
        if self.remote.ranged is False:
            # The server sends the file from its start to its end or not at all: one reader, to the last chunk.
            end, self.wanted = max([end, *(one + 1 for one in self.wanted)]), []
        return first, end


class Transfer:
    """``on_bytes`` hears of every piece that came, ``on_file`` of each file that is whole and right; both are called
    from several threads."""

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
        self._jobs: list[_Job] = []
        self._open = 0
        self._error: OrchError | None = None
        self._stop = threading.Event()

    def fetch(self, wanted: Sequence[tuple[Remote, Path, Source]]) -> None:
        """Each (file, blob to make, source). Raises FetchFailed; what came is kept."""
        try:
            for remote, blob, source in wanted:
                self._jobs.append(self._begin(remote, blob, source))
        except OSError as error:
            raise problems.unwritable("fetch", error, str(error.filename)) from error
        self._open = len(self._jobs)
        hashers = min(len(self._jobs), max(2, os.cpu_count() or 1)) or 1
        try:
            with ThreadPoolExecutor(hashers) as pool:
                hashing = [pool.submit(self._guarded, self._verify, job) for job in self._jobs]
                workers = [threading.Thread(target=self._guarded, args=(self._work,)) for _ in self._slots()]
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
                for done in hashing:
                    done.result()
        finally:
            for job in self._jobs:
                job.part.close()
        if self._error:
            raise self._error

    def _slots(self) -> range:
        chunks = sum(len(job.wanted) for job in self._jobs)
        return range(max(1, min(self.tuning.connections, chunks)))

    @staticmethod
    def _begin(remote: Remote, blob: Path, source: Source) -> _Job:
        part = Part(blob, remote.file.size)
        return _Job(remote, blob, source, part, part.missing()[::-1])

    def _guarded(self, run: Callable[..., None], *args: object) -> None:
        """The first error ends everything; it is raised by ``fetch``."""
        try:
            run(*args)
        except OrchError as error:
            self._fail(error)
        except OSError as error:
            self._fail(problems.unwritable("fetch", error, str(self._jobs[0].blob.parent)))
        except BaseException as error:
            self._fail(FetchFailed("fetch", f"{type(error).__name__} inside orch: {error}", "please report it"))
            raise

    def _fail(self, error: OrchError) -> None:
        with self._changed:
            self._error = self._error or error
            self._stop.set()
            self._changed.notify_all()

    # ------------------------------------------------------------------------------------------------- connections

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            job, first, end = taken
            self._run(job, first, end)

    def _take(self) -> tuple[_Job, int, int] | None:
        """The next run; waits while what is left is asked for the first time or hashed; None at the end."""
        with self._changed:
            while self._open and not self._stop.is_set():
                left = sum(len(job.wanted) for job in self._jobs)
                # Shorter runs towards the end, so that no connection idles while another has much to do.
                longest = max(1, min(self.tuning.run, left // (2 * self.tuning.connections)))
                for job in self._jobs:
                    if span := job.take(longest):
                        return job, *span
                self._changed.wait()
            return None

    def _run(self, job: _Job, first: int, end: int) -> None:
        position, failures = job.part.span(first)[0], 0
        stop = job.part.span(end - 1)[1]

        def sink(data: memoryview) -> None:
            nonlocal position
            if self._stop.is_set():
                raise _Stopped
            if job.asking:
                self._asked(job)
            job.part.write(position, data)
            before, position = position, position + len(data)
            self.on_bytes(len(data))
            if before // CHUNK != position // CHUNK or position == stop:
                self._mark(job, before, position, stop)

        while position < stop:
            had = position
            try:
                job.source.read(job.remote, position, stop, sink)
                if position < stop:
                    raise Passing("the connection ended early")
            except _Stopped:
                return
            except Passing as error:
                failures = 0 if position > had else failures + 1
                if failures >= min(self.tuning.attempts, error.tries):
                    failures = self._give_up(job, error)
                elif self._stop.wait(self._pause(failures, error)):
                    return
        self._asked(job)

    def _mark(self, job: _Job, before: int, position: int, stop: int) -> None:
        """Marks the chunks that were filled between two positions."""
        first = before // CHUNK
        end = -(-position // CHUNK) if position == stop else position // CHUNK
        with self._changed:
            for index in range(first, end):
                job.part.mark(index)
            self._changed.notify_all()

    def _asked(self, job: _Job) -> None:
        with self._changed:
            job.asking = False
            self._changed.notify_all()

    def _pause(self, failures: int, error: Passing) -> float:
        if error.after is not None:
            return error.after
        wait = min(self.tuning.longest, self.tuning.backoff * 2 ** max(0, failures - 1)) if failures else 0.0
        return wait * random.uniform(0.7, 1.3)

    def _give_up(self, job: _Job, error: Passing) -> int:
        """Over plain HTTP where Xet failed; else for good. Answers the count of failures to go on with."""
        if self.fallback is not None and job.source is not self.fallback:
            self.say(f"{job.file.path}: {error}; going on over plain HTTP")
            job.source = self.fallback
            return 0
        what, tries = f"fetch {job.file.path} of {job.remote.repo}", min(self.tuning.attempts, error.tries)
        if error.cause is not None:
            known = problems.network(what, error.cause, getattr(job.source, "endpoint", "the Hub"))
            raise FetchFailed(what, f"{known.why} ({tries} tries)", f"{known.do}; what came is kept") from error
        raise FetchFailed(what, f"{error} ({tries} tries)", "try again later: what came is kept") from error

    # ------------------------------------------------------------------------------------------------------- hashes

    def _verify(self, job: _Job) -> None:
        """Hashes the file from front to back as it fills, then gives the blob its name."""
        while not self._right(job):
            if self._stop.is_set():
                return
            job.bad += 1
            if job.bad > 1:
                what = f"fetch {job.file.path} of {job.remote.repo}"
                why = f"twice the bytes that came had another hash than the Hub says ({job.file.blob[:12]}...)"
                raise FetchFailed(what, why, "a proxy or mirror may be changing it: try another HF_ENDPOINT")
            self.say(f"{job.file.path}: what came is not what the Hub says; fetching it again")
            self._again(job)
        job.part.finish()
        self.on_file(job.file, job.blob)
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def _right(self, job: _Job) -> bool:
        buffer, hashed = memoryview(bytearray(min(HASH_BUFFER, job.file.size or 1))), new_hash(job.file)
        position = 0
        while position < job.file.size:
            ready = self._filled(job, position)
            if not ready:
                return False
            while position < ready:
                count = job.part.read(position, buffer[: min(len(buffer), ready - position)])
                if not count:
                    return False
                hashed.update(buffer[:count])
                position += count
        return hashed.hexdigest() == job.file.blob

    def _filled(self, job: _Job, position: int) -> int:
        """Waits until the chunk at ``position`` is there; answers where the unbroken bytes end, 0 when stopped."""
        index = position // CHUNK
        with self._changed:
            while not job.part.has(index):
                if self._stop.is_set():
                    return 0
                self._changed.wait()
            return job.part.span(index)[1]

    def _again(self, job: _Job) -> None:
        with self._changed:
            job.part.discard()
            job.part = Part(job.blob, job.file.size)
            job.wanted = job.part.missing()[::-1]
            self.on_bytes(-job.file.size)
            self._changed.notify_all()


class _Stopped(Exception):
    """Another thread failed: this one ends quietly."""


def hash_file(path: Path, file: RemoteFile, on_bytes: Callable[[int], None]) -> bool:
    """Whether a file's content is what the Hub says. Raises OSError."""
    hashed = new_hash(file)
    buffer = memoryview(bytearray(HASH_BUFFER))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            hashed.update(buffer[:count])
            on_bytes(count)
    return hashed.hexdigest() == file.blob
