"""Notices that files of a project changed. A folder is watched and not a file: editors put a new one in its place."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

# Not by the thread that needs it: a fork made while another thread imports waits for that import for ever.
from watchfiles import watch

TOGETHER = 200  # milliseconds within which changes are told as one: an editor writes, renames and removes
LOOK_EVERY = 400  # milliseconds between two looks at what the kernel has told
POLL_EVERY = 2_000  # milliseconds, where the kernel tells nothing
GIVE_UP = 60_000  # milliseconds of waiting in one go, for a stop to be heard even so


class FileWatch:
    """``changed`` is called from another thread, and so is ``say``, in words for a person."""

    def __init__(self, changed: Callable[[frozenset[Path]], None], say: Callable[[str], None]) -> None:
        self._changed, self._say = changed, say
        self._polls = False  # the kernel has refused to tell
        self._folders: Mapping[Path, int] = {}  # and which inode each was
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self, folders: Iterable[Path]) -> bool:
        """From now on these, not what is below them; those that are not there are left out. Whether that is anything
        new: what happened until now, or a moment from now, may have been missed."""
        wanted = _there(folders)
        alive = self._thread is not None and self._thread.is_alive()
        if wanted == self._folders and (alive or not wanted):
            return False
        self.close()
        self._folders, self._stop = wanted, threading.Event()
        if wanted:
            self._thread = threading.Thread(target=self._run, args=(wanted, self._stop), daemon=True)
            self._thread.start()
        return True

    def close(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        self._thread, self._folders = None, {}

    def _run(self, folders: Iterable[Path], stop: threading.Event) -> None:
        try:
            self._follow(folders, stop)
        except (
            OSError,
            RuntimeError,
        ) as error:  # a folder is gone, or no watch is left to be had
            if not self._polls and all(one.is_dir() for one in folders):
                self._polls = True
                every = f"files are looked at every {POLL_EVERY // 1000} s"
                self._say(f"warning: {every}, for the kernel tells nothing of them: {error}")
                self._changed(frozenset())

    def _follow(self, folders: Iterable[Path], stop: threading.Event) -> None:
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
            force_polling=self._polls,
            poll_delay_ms=POLL_EVERY,
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
