"""The files of a flat folder, taken into the Hub's cache by hard links: no byte is fetched and none is copied, and the
folder stays as it was."""

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.cached import Adoption
from orchestrator.codec import to_json
from orchestrator.errors import FetchFailed
from orchestrator.hub.child.download import hash_file
from orchestrator.hub.child.fetch import Fetching, Item, at_work, one_a_blob, refuse_strange, write_ref
from orchestrator.hub.child.job import Job
from orchestrator.hub.child.locks import make_shared
from orchestrator.hub.memory import stamp
from orchestrator.hub.parts import map_file, part_file
from orchestrator.model import Json


def adopt(job: Job, write: Callable[[str], object] | None = None) -> Json:
    """An Adoption. Raises FetchFailed, also when there is nothing of it to be had."""
    what = f"adopt {job.source}"
    with at_work(job, what, write) as report:
        return to_json(Adopting(job, report, what).take())


class Adopting(Fetching):
    """Of one repository."""

    def take(self) -> Adoption:
        want, folder = self.job.wants[0], Path(self.job.source)
        refuse_strange(want)
        self._verify([one for one in self._items() if one.state.whole and not one.state.verified])
        had = [one for one in self._items() if one.state.whole]
        lacking = [one for one in self._items() if not one.state.whole]
        offered = [one for one in lacking if _is_file(folder / one.file.path)]
        try:
            self._take_over(folder, [one for one in offered if _size(folder / one.file.path) == one.file.size])
        finally:
            self._tidy()
        whole = [one for one in self._items() if one.state.whole]
        if not whole:
            why = f"none of its files is what the Hub has of {want.repo} at {want.commit[:12]}"
            do = "say which with --repo and --revision, or serve the folder as it is (model.path)"
            raise FetchFailed(self.what, why, do)
        self._remember(want)
        self._hand_over([one for one in whole if not one.state.linked])
        if len(whole) == len(want.files):
            write_ref(whole[0].repo, want)
        taken = {one.file.path for one in whole}
        return Adoption(
            want.repo,
            want.commit,
            want.revision,
            self.job.cache,
            wanted=len(want.files),
            total=sum(file.size for file in want.files),
            adopted=len(whole) - len(had),
            had=len(had),
            here=sum(one.file.size for one in whole),
            differing=tuple(one.file.path for one in offered if one.file.path not in taken),
        )

    def _take_over(self, folder: Path, items: Sequence[Item]) -> None:
        """Linked first, then hashed: a folder that cannot be linked is told before gigabytes are read, and what was
        hashed is what is kept."""
        items = one_a_blob(items)
        if not items:
            return
        self.report.begin("verifying", sum(one.file.size for one in items), 0, len(items))
        try:
            for one in items:
                _link(folder / one.file.path, one.blob)
            with ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 1))) as pool:
                right = list(pool.map(self._is_right, items))
            for one, good in zip(items, right, strict=True):
                if good:
                    self._keep(one)
        finally:
            for one in items:
                _taking(one.blob).unlink(missing_ok=True)

    def _is_right(self, item: Item) -> bool:
        good = hash_file(_taking(item.blob), item.file, self.report.came)
        self.report.file_done()
        return good

    def _keep(self, item: Item) -> None:
        """Its own unfinished download is of no use any more."""
        _taking(item.blob).replace(item.blob)
        for unfinished in (map_file(item.blob), part_file(item.blob)):
            unfinished.unlink(missing_ok=True)
        self._note(item.repo, item.file, stamp(item.blob))
        self._write_down(every=0)

    def _tidy(self) -> None:
        """Folders made for nothing; what holds anything stays."""
        blobs = self._items()[0].blob.parent
        with contextlib.suppress(OSError):
            blobs.rmdir()
            blobs.parent.rmdir()


def _taking(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.taking")


def _link(source: Path, blob: Path) -> None:
    make_shared(blob.parent)
    _taking(blob).unlink(missing_ok=True)
    try:
        os.link(source.resolve(), _taking(blob))
    except OSError as error:
        raise _no_link(source, blob, error) from error


def _no_link(source: Path, blob: Path, error: OSError) -> FetchFailed:
    what = f"take over {source}"
    if error.errno == errno.EXDEV:
        do = "serve the folder as it is (model.path), or set cache.hf_home to a folder on its disk"
        return FetchFailed(what, f"it is on another disk than the cache {blob.parent.parent.parent}", do)
    return FetchFailed(what, f"it cannot be linked: {(error.strerror or str(error)).lower()}", "check who owns it")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _size(path: Path) -> int:
    found = stamp(path)
    return found.size if found else -1
