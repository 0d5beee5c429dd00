"""Notices that files of a project changed. A folder is watched and not a file: editors put a new one in its place."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

TOGETHER = 200  # milliseconds within which changes are told as one: an editor writes, renames and removes
LOOK_EVERY = 100  # milliseconds between two looks at what the kernel has told
GIVE_UP = 60_000  # milliseconds of waiting in one go, for a stop to be heard even so


class FileWatch:
    """``changed`` is called from another thread."""

    def __init__(self, changed: Callable[[frozenset[Path]], None]) -> None:
        self._changed = changed
        self._folders: Mapping[Path, int] = {}  # and which inode each was
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self, folders: Iterable[Path]) -> None:
        """From now on these, not what is below them; those that are not there are left out."""
        wanted = _there(folders)
        alive = self._thread is not None and self._thread.is_alive()
        if wanted == self._folders and (alive or not wanted):
            return
        self.close()
        self._folders, self._stop = wanted, threading.Event()
        if wanted:
            self._thread = threading.Thread(target=self._run, args=(wanted, self._stop), daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        self._thread, self._folders = None, {}

    def _run(self, folders: Iterable[Path], stop: threading.Event) -> None:
        from watchfiles import watch

        with contextlib.suppress(OSError):  # a folder that was removed meanwhile: the next look watches what is there
            for changes in watch(
                *folders,
                watch_filter=None,
                debounce=TOGETHER,
                step=LOOK_EVERY,
                rust_timeout=GIVE_UP,
                stop_event=stop,
                raise_interrupt=False,
                recursive=False,
                ignore_permission_denied=True,
            ):
                self._changed(frozenset(Path(path) for _, path in changes))


def _there(folders: Iterable[Path]) -> Mapping[Path, int]:
    """One that was removed and made again is another one, of which the kernel tells nothing yet."""
    found = {}
    for one in folders:
        with contextlib.suppress(OSError):
            if one.is_dir():
                found[one] = one.stat().st_ino
    return found
