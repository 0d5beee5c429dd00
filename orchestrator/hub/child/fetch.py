"""From what is wanted to a complete snapshot in the Hub's cache: lock, verify what is there, check the disk, transfer
what is missing, and hand it over to huggingface_hub, which owns the layout."""

import contextlib
import errno
import fcntl
import importlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import FetchFailed
from orchestrator.files import write_text
from orchestrator.hub import look
from orchestrator.hub.child import problems
from orchestrator.hub.child.download import Transfer, hash_file
from orchestrator.hub.child.job import Job, Want
from orchestrator.hub.child.report import Report
from orchestrator.hub.child.sources import HttpSource, Remote, Source
from orchestrator.hub.layout import OWN_REFS, Repo
from orchestrator.hub.look import FileState
from orchestrator.hub.memory import Memory, boot_id, process_start, stamp
from orchestrator.model import Pull, RemoteFile

MARGIN = 1 << 30
"""Bytes left free on the disk beyond what comes, at most; a twentieth of it if that is less."""
LOOK_EVERY = 0.2  # seconds between two tries for a lock that another pull holds


def fetch(job: Job, write: Callable[[str], object] | None = None) -> dict[str, object]:
    """Raises FetchFailed. The result tells the bytes that were fetched and hashed."""
    cache = Path(job.cache)
    repos = [Repo(cache, want.repo) for want in job.wants]
    first = job.wants[0]
    own = Pull(first.repo, first.commit, job.cache, os.getpid(), process_start(os.getpid()), boot_id())
    report = Report(own, Memory(Path(job.memory)), repos, write)
    what = f"fetch {', '.join(dict.fromkeys(want.repo for want in job.wants))}"
    try:
        with _locked(repos, report), contextlib.closing(report):
            return _Fetch(job, report, what).run()
    except OSError as error:
        raise problems.unwritable(what, error, job.cache) from error


@dataclass(slots=True)
class _Item:
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


class _Fetch:
    def __init__(self, job: Job, report: Report, what: str) -> None:
        self.job, self.report, self.what = job, report, what
        self.memory = report.memory
        self.tuning = job.tuning
        self.http = HttpSource(job.endpoint, job.token, self.tuning.connections, self.tuning.stall)
        self.hashed = self.fetched = 0
        self.rehashed = not job.rehash  # until then no earlier check is believed

    def run(self) -> dict[str, object]:
        for want in self.job.wants:
            self._remember(want)
        self._verify([one for one in self._items() if one.state.whole and not one.state.verified])
        self.rehashed = True
        if self.job.source:
            self._take_over(Path(self.job.source))
        missing = [one for one in self._items() if not one.state.whole]
        if missing and self.job.offline:
            files = ", ".join(one.file.path for one in missing[:5])
            do = "unset HF_HUB_OFFLINE to fetch it, or copy the files into the cache"
            raise FetchFailed(self.what, f"HF_HUB_OFFLINE is set and {len(missing)} files are missing ({files})", do)
        self._check_disk(missing)
        self._transfer(missing)
        self._hand_over([one for one in self._items() if not one.state.linked])
        for want in self.job.wants:
            _write_ref(Repo(Path(self.job.cache), want.repo), want)
        return {"fetched": self.fetched, "hashed": self.hashed}

    def _items(self) -> list[_Item]:
        """What is wanted, as it is now. A blob that two files share is one."""
        found: list[_Item] = []
        for want in self.job.wants:
            repo = Repo(Path(self.job.cache), want.repo)
            believed = self.memory.verified(repo) if self.rehashed else {}
            states = look.states(repo, want.commit, want.files, believed)
            found += [_Item(want, repo, state) for state in states]
        return found

    def _remember(self, want: Want) -> None:
        """The commit and its refs are there from the first byte on: an interrupted pull goes on with this commit,
        and `hf cache prune` leaves it alone."""
        repo = Repo(Path(self.job.cache), want.repo)
        if not repo.snapshot(want.commit).is_dir():  # a ref without its snapshot is a damaged cache to the Hub's client
            make_shared(repo.snapshot(want.commit))
        for name in dict.fromkeys((want.revision, want.commit)):
            ref = repo.folder / "refs" / OWN_REFS / name
            if repo.pinned(name) != want.commit:
                make_shared(ref.parent)
                write_text(ref, want.commit)
                ref.chmod(0o644)

    # ---------------------------------------------------------------------------------------------------- verifying

    def _verify(self, items: Sequence[_Item]) -> None:
        """Hashes what was never hashed, several files at once, and sets aside what is wrong."""
        items = _one_a_blob(items)
        if not items:
            return
        self.report.begin("verifying", sum(one.file.size for one in items), 0, len(items))
        with ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 1))) as pool:
            right = list(pool.map(self._hash, items))
        for one, good in zip(items, right, strict=True):
            self.hashed += one.file.size
            if good:
                self._right(one.repo, one.file, one.content)
            else:
                self._set_aside(one)

    def _hash(self, item: _Item) -> bool:
        good = hash_file(item.content, item.file, self.report.came)
        self.report.file_done()
        return good

    def _right(self, repo: Repo, file: RemoteFile, content: Path) -> None:
        self.memory.keep_verified(repo, {file.blob: stamp(content)})

    def _set_aside(self, item: _Item) -> None:
        """Never deleted: somebody may want to look at it. Links to it go, for they would still be believed."""
        content = item.content.resolve()
        aside = content.with_name(f"{content.name}.corrupt")
        content.replace(aside)
        for link in (item.repo.pointer(item.want.commit, item.file.path), item.blob):
            if link.is_symlink():
                link.unlink()
        self.memory.keep_verified(item.repo, {item.file.blob: None})
        self.report.say(f"{item.file.path} of {item.want.repo} is corrupt; it is set aside as {aside}")

    # ----------------------------------------------------------------------------------------------- a flat folder

    def _take_over(self, folder: Path) -> None:
        """Hard-links files of a flat folder into the cache where their content is what the Hub says."""
        found = [one for one in self._items() if not one.state.whole and _same_size(folder / one.file.path, one.file)]
        self.report.begin("verifying", sum(one.file.size for one in found), 0, len(found))
        for one in _one_a_blob(found):
            source = folder / one.file.path
            if not hash_file(source, one.file, self.report.came):
                self.report.say(f"{source} is not what the Hub has at {one.want.commit[:12]}; it is left out")
                continue
            self.report.file_done()
            self.hashed += one.file.size
            make_shared(one.blob.parent)
            try:
                os.link(source.resolve(), one.blob)
            except OSError as error:
                raise _no_link(source, one.blob, error) from error
            self._right(one.repo, one.file, one.blob)

    # -------------------------------------------------------------------------------------------------- transferring

    def _check_disk(self, missing: Sequence[_Item]) -> None:
        needed = sum(one.file.size - one.state.here for one in _one_a_blob(missing))
        if not needed:
            return
        place = next(near for near in (Path(self.job.cache), *Path(self.job.cache).parents) if near.exists())
        free, margin = shutil.disk_usage(place).free, min(MARGIN, needed // 20)
        if needed + margin > free:
            raise problems.no_space(self.what, needed, free, margin, str(place))

    def _transfer(self, missing: Sequence[_Item]) -> None:
        wanted = _one_a_blob(missing)
        if not wanted:
            return
        total = sum(one.file.size for one in wanted)
        self.report.begin("fetching", total, sum(one.state.here for one in wanted), len(wanted))
        owners = {one.blob: one for one in wanted}
        for blobs in {one.blob.parent for one in wanted}:
            make_shared(blobs)

        def on_file(file: RemoteFile, blob: Path) -> None:
            with lock:
                self._right(owners[blob].repo, file, blob)
            self.report.file_done()

        def on_bytes(count: int) -> None:
            self.fetched += max(0, count)
            self.report.came(count)

        lock = threading.Lock()
        # Small files first: what they say (the config) may be wanted while the weights are still to come.
        ordered = sorted(wanted, key=lambda one: (len(one.file.blob) == 64, one.want.repo, one.file.path))
        if self.job.transfer == "hf_transfer":
            from orchestrator.hub.child.hf_transfers import fetch_large

            ordered = fetch_large(ordered, self.http, self.tuning, on_bytes, on_file)
        # It takes a fifth of a second to import, and is needed once the bytes are here.
        threading.Thread(target=importlib.import_module, args=("huggingface_hub.file_download",), daemon=True).start()
        transfer = Transfer(self.tuning, on_bytes, on_file, self.report.say, self.http)
        transfer.fetch([(_remote(one), one.blob, self._source(one)) for one in ordered])

    def _source(self, item: _Item) -> Source:
        """Xet for what the Hub stores so, unless another way is asked for."""
        if self.job.transfer in ("ranged", "hf_transfer") or not item.file.xet:
            return self.http
        try:
            return self._xet()
        except ImportError:
            if self.job.transfer == "xet":
                why = "cache.transfer is xet and hf_xet is not installed where orch is"
                raise FetchFailed(
                    self.what, why, "run `pip install hf_xet` there, or use cache.transfer: auto"
                ) from None
            return self.http

    def _xet(self) -> Source:
        if not hasattr(self, "_made"):
            from orchestrator.hub.child.sources import XetSource

            self._made = XetSource(self.job.endpoint, self.job.token)
        return self._made

    # ------------------------------------------------------------------------------------------------ handing over

    def _hand_over(self, items: Sequence[_Item]) -> None:
        """huggingface_hub finds every blob there, and writes the links."""
        if not items:
            return
        from orchestrator.hub.child.remote import Hub

        hub = Hub(self.job.endpoint, self.job.token)
        self.report.begin("linking", 0, 0, len(items))
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(
                lambda one: hub.link(one.want.repo, one.want.commit, one.file.path, self.job.cache), items
            ):
                self.report.file_done()


def _remote(item: _Item) -> Remote:
    return Remote(item.want.repo, item.want.commit, item.file)


def _one_a_blob(items: Sequence[_Item]) -> list[_Item]:
    return list({one.blob: one for one in items}.values())


def _same_size(path: Path, file: RemoteFile) -> bool:
    found = stamp(path)
    return found is not None and found.size == file.size and path.is_file()


def _no_link(source: Path, blob: Path, error: OSError) -> FetchFailed:
    what = f"take over {source}"
    if error.errno == errno.EXDEV:
        do = "serve the folder as it is (model.path), or set cache.hf_home to a folder on its disk"
        return FetchFailed(what, f"it is on another disk than the cache {blob.parent}", do)
    return FetchFailed(what, f"it cannot be linked: {(error.strerror or str(error)).lower()}", "check who owns it")


def _write_ref(repo: Repo, want: Want) -> None:
    """The revision's name for every other tool, as huggingface_hub writes it."""
    if want.revision != want.commit and repo.ref(want.revision) != want.commit:
        ref = repo.folder / "refs" / want.revision
        make_shared(ref.parent)
        write_text(ref, want.commit)
        ref.chmod(0o644)


def make_shared(folder: Path) -> None:
    """With the modes of the caller's umask, for a cache may belong to several users."""
    folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _locked(repos: Sequence[Repo], report: Report) -> Iterator[None]:
    """One pull a repository at a time: the second finds what the first fetched. In order, so that two of several
    repositories cannot wait on each other."""
    with contextlib.ExitStack() as held:
        for repo in sorted(set(repos), key=lambda one: one.name):
            held.callback(os.close, handle := _open_lock(repo.lock))
            _await_lock(handle, repo, report)
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


def _await_lock(handle: int, repo: Repo, report: Report) -> None:
    waited = threading.Event()
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                report.say(f"waiting: another orch is fetching {repo.name}")
                told = True
            waited.wait(LOOK_EVERY)
