"""From what is wanted to a complete snapshot in the Hub's cache: lock, verify what is there, check the disk, transfer
what is missing, and give it its names."""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from orchestrator.errors import FetchFailed
from orchestrator.files import write_text
from orchestrator.hub import look
from orchestrator.hub.child import problems
from orchestrator.hub.child.download import Transfer, hash_file
from orchestrator.hub.child.job import Job, Want
from orchestrator.hub.child.locks import locked, make_shared
from orchestrator.hub.child.report import Report
from orchestrator.hub.child.sources import HttpSource, Remote, Source, XetSource
from orchestrator.hub.layout import HASH, OWN_REFS, Repo
from orchestrator.hub.look import FileState
from orchestrator.hub.memory import Memory, Stamp, stamp
from orchestrator.hub_names import is_true
from orchestrator.model import Pull, RemoteFile
from orchestrator.proc import boot_id, process_start

MARGIN = 1 << 30
"""Bytes left free on the disk beyond what comes, at most; a twentieth of it if that is less."""

NOTED = 1.0  # seconds between two notes of what was verified


def fetch(job: Job, write: Callable[[str], object] | None = None) -> dict[str, object]:
    """Raises FetchFailed. The result tells the bytes that were fetched and hashed."""
    what = f"fetch {', '.join(dict.fromkeys(want.repo for want in job.wants))}"
    with at_work(job, what, write) as report:
        return Fetching(job, report, what).run()


@contextlib.contextmanager
def at_work(job: Job, what: str, write: Callable[[str], object] | None) -> Iterator[Report]:
    """With the repositories locked and a report begun; what the disk refuses is told as cannot ``what``."""
    repos = {Repo(Path(job.cache), want.repo): want.commit for want in job.wants}
    first = job.wants[0]
    own = Pull(first.repo, first.commit, job.cache, os.getpid(), process_start(os.getpid()), boot_id())
    report = Report(own, Memory(Path(job.memory)), repos, write)
    try:
        with locked(list(repos), report.say), contextlib.closing(report):
            yield report
    except OSError as error:
        raise problems.unwritable(what, error, job.cache) from error


@dataclass(slots=True)
class Item:
    """One file of one want, and its state."""

    want: Want
    repo: Repo
    state: FileState

    @property
    def file(self) -> RemoteFile:
        return self.state.file

    @property
    def blob(self) -> Path:
        return self.repo.blob(self.file.blob)

    @property
    def content(self) -> Path:
        """Where the bytes are: a snapshot made without links has them itself."""
        pointer = self.repo.pointer(self.want.commit, self.file.path)
        return pointer if self.state.linked else self.blob


class Fetching:
    def __init__(self, job: Job, report: Report, what: str) -> None:
        self.job, self.report, self.what = job, report, what
        self.memory = report.memory
        self.tuning = job.tuning
        self.http = HttpSource(job.endpoint, job.token, self.tuning.connections, self.tuning.stall)
        self.hashed = self.fetched = 0
        self._lock = threading.Lock()  # for the counts and what follows
        self._noted: dict[Repo, dict[str, Stamp | None]] = {}  # verified and not yet written down
        self._written = time.monotonic()
        self.rehashed = not job.rehash  # until then no earlier check is believed

    def run(self) -> dict[str, object]:
        for want in self.job.wants:
            refuse_strange(want)
            self._remember(want)
        self._verify([one for one in self._items() if one.state.whole and not one.state.verified])
        self.rehashed = True
        missing = [one for one in self._items() if not one.state.whole]
        if missing and self.job.offline:
            files = ", ".join(one.file.path for one in missing[:5])
            do = "unset HF_HUB_OFFLINE to fetch it, or copy the files into the cache"
            lack = f"{len(missing)} files are missing" if missing[1:] else "a file is missing"
            raise FetchFailed(self.what, f"HF_HUB_OFFLINE is set and {lack} ({files})", do)
        self._check_disk(missing)
        self._transfer(missing)
        self._hand_over([one for one in self._items() if not one.state.linked])
        for want in self.job.wants:
            write_ref(Repo(Path(self.job.cache), want.repo), want)
        return {"fetched": self.fetched, "hashed": self.hashed}

    def _items(self) -> list[Item]:
        """What is wanted, as it is now. A blob that two files share is one."""
        found: list[Item] = []
        for want in self.job.wants:
            repo = Repo(Path(self.job.cache), want.repo)
            believed = self.memory.verified(repo) if self.rehashed else {}
            states = look.states(repo, want.commit, want.files, believed)
            found += [Item(want, repo, state) for state in states]
        return found

    def _remember(self, want: Want) -> None:
        """The commit and its refs are there from the first byte on: an interrupted pull goes on with this commit,
        and `hf cache prune` leaves it alone."""
        repo = Repo(Path(self.job.cache), want.repo)
        with contextlib.suppress(OSError):  # a ref without its snapshot is a damaged cache to the Hub's client
            make_shared(repo.snapshot(want.commit))
        for name in dict.fromkeys((want.revision, want.commit)):
            if repo.pinned(name) != want.commit:
                _write(repo.folder / "refs" / OWN_REFS / name, want.commit)

    # ---------------------------------------------------------------------------------------------------- verifying

    def _verify(self, items: Sequence[Item]) -> None:
        """Hashes what was never hashed, several files at once, and sets aside what is wrong."""
        items = one_a_blob(items)
        if not items:
            return
        self.report.begin("verifying", sum(one.file.size for one in items), 0, len(items))
        try:
            with ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 1))) as pool:
                right = list(pool.map(self._hash, items))
        finally:
            self._write_down(every=0)
        for one, good in zip(items, right, strict=True):
            if not good:
                self._set_aside(one)

    def _hash(self, item: Item) -> bool:
        """What is remembered is the state before it was read."""
        before = stamp(item.content)
        good = hash_file(item.content, item.file, self.report.came)
        with self._lock:
            self.hashed += item.file.size
        if good:
            self._note(item.repo, item.file, before)
        self.report.file_done()
        return good

    def _note(self, repo: Repo, file: RemoteFile, found: Stamp | None) -> None:
        """Written down every second: the rest may take an hour and be interrupted, and to write all down for each of
        a thousand files takes longer than to fetch them."""
        with self._lock:
            self._noted.setdefault(repo, {})[file.blob] = found
        self._write_down(every=NOTED)

    def _write_down(self, every: float) -> None:
        with self._lock:
            if time.monotonic() >= self._written + every:
                for repo, found in self._noted.items():
                    self.memory.keep_verified(repo, found)
                self._noted.clear()
                self._written = time.monotonic()

    def _set_aside(self, item: Item) -> None:
        """Never deleted: somebody may want to look at it. Links to it go, for they would still be believed; what is not
        in the cache is somebody's own, and stays where it is."""
        content = item.content.resolve()
        if inside := content.is_relative_to(Path(self.job.cache).resolve()):
            aside = content.replace(content.with_name(f"{content.name}.corrupt"))
        for link in (item.repo.pointer(item.want.commit, item.file.path), item.blob):
            if link.is_symlink():
                link.unlink()
        self.memory.keep_verified(item.repo, {item.file.blob: None})
        done = f"it is set aside as {aside}, to be deleted by you" if inside else f"the link to {content} is gone"
        self.report.say(f"{item.file.path} of {item.want.repo} is corrupt; {done}")

    # -------------------------------------------------------------------------------------------------- transferring

    def _check_disk(self, missing: Sequence[Item]) -> None:
        needed = sum(one.file.size - one.state.here for one in one_a_blob(missing))
        if not needed:
            return
        place = next(near for near in (Path(self.job.cache), *Path(self.job.cache).parents) if near.exists())
        free, margin = shutil.disk_usage(place).free, min(MARGIN, needed // 20)
        if needed + margin > free:
            raise problems.no_space(self.what, needed, free, margin, str(place))

    def _transfer(self, missing: Sequence[Item]) -> None:
        wanted = one_a_blob(missing)
        if not wanted:
            return
        everything = one_a_blob(self._items())  # what is here counts, or a second try would seem to go backwards
        total, here = sum(one.file.size for one in everything), sum(one.state.here for one in everything)
        self.report.begin("fetching", total, here, len(everything), len(everything) - len(wanted))
        owners = {one.blob: one for one in wanted}
        for blobs in {one.blob.parent for one in wanted}:
            make_shared(blobs)

        def on_file(file: RemoteFile, blob: Path) -> None:
            self._note(owners[blob].repo, file, stamp(blob))
            self.report.file_done()

        def on_bytes(count: int) -> None:
            with self._lock:
                self.fetched += max(0, count)
            self.report.came(count)

        try:
            self._fetch(wanted, on_bytes, on_file)
        finally:
            self._write_down(every=0)

    def _fetch(
        self, wanted: Sequence[Item], on_bytes: Callable[[int], None], on_file: Callable[[RemoteFile, Path], None]
    ) -> None:
        # Small files first: what they say (the config) may be wanted while the weights are still to come.
        ordered = sorted(wanted, key=lambda one: (len(one.file.blob) == 64, one.want.repo, one.file.path))
        if self.job.transfer == "hf_transfer":
            from orchestrator.hub.child.hf_transfers import fetch_large

            ordered = fetch_large(ordered, self.http, self.tuning, on_bytes, on_file)
        transfer = Transfer(self.tuning, on_bytes, on_file, self.report.say, self.http)
        transfer.fetch([(_remote(one), one.blob, self._source(one)) for one in ordered])

    def _source(self, item: Item) -> Source:
        """Xet for what the Hub stores so, unless another way is asked for."""
        if not item.file.xet or self.job.transfer in ("ranged", "hf_transfer"):
            return self.http
        forced = self.job.transfer == "xet"
        if is_true(os.environ.get("HF_HUB_DISABLE_XET", "")):
            if forced:
                why = "cache.transfer is xet and HF_HUB_DISABLE_XET is set"
                raise FetchFailed(self.what, why, "unset one of the two")
            return self.http
        try:
            return self._xet
        except ImportError:
            if forced:
                why = "cache.transfer is xet and hf_xet is not installed where orch is"
                do = "run `pip install hf_xet` there, or use cache.transfer: auto"
                raise FetchFailed(self.what, why, do) from None
            return self.http

    @cached_property
    def _xet(self) -> Source:
        return XetSource(self.job.endpoint, self.job.token, self.tuning.stall)

    # ----------------------------------------------------------------------------------------------------- its names

    def _hand_over(self, items: Sequence[Item]) -> None:
        """Links in the snapshot, as huggingface_hub makes them. Not through it: it asks the Hub about each file first,
        which takes seconds for hundreds, and fails where there is nothing left that could fail."""
        if not items:
            return
        self.report.begin("linking", 0, 0, len(items))
        for one in items:
            _link(one.repo.pointer(one.want.commit, one.file.path), one.blob)
            self.report.file_done()


def _remote(item: Item) -> Remote:
    return Remote(item.want.repo, item.want.commit, item.file)


def one_a_blob(items: Sequence[Item]) -> list[Item]:
    return list({one.blob: one for one in items}.values())


def refuse_strange(want: Want) -> None:
    """A mirror that is not to be trusted must not choose where files are written."""
    for file in want.files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or not (HASH.fullmatch(file.blob) or not file.blob):
            why = f"the Hub lists {file.path!r} as {file.blob!r}, which names no file of a cache"
            raise FetchFailed(f"fetch {want.repo}", why, "check HF_ENDPOINT")


def _link(pointer: Path, blob: Path) -> None:
    """Whole or not at all. A file that stands there is damaged, and somebody's."""
    make_shared(pointer.parent)
    if pointer.exists() and not pointer.is_symlink():
        pointer.replace(pointer.with_name(f"{pointer.name}.corrupt"))
    new = pointer.with_name(f".{pointer.name}.new")
    new.unlink(missing_ok=True)
    try:
        new.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # a file system without links
        shutil.copyfile(blob, new)
    new.replace(pointer)


def write_ref(repo: Repo, want: Want) -> None:
    """The revision's name for every other tool, as huggingface_hub writes it."""
    if want.revision != want.commit and repo.ref(want.revision) != want.commit:
        _write(repo.folder / "refs" / want.revision, want.commit)


def _write(ref: Path, commit: str) -> None:
    """Not worth failing for: who may not write in this cache can still use what is there."""
    with contextlib.suppress(OSError):
        make_shared(ref.parent)
        write_text(ref, commit)
        ref.chmod(0o644)
