"""One function over many items on several processors. The answers come in the order of the items, as if one had done
it all: a helper that dies changes how long it takes and nothing else.

The helpers are forks. They inherit what is loaded and known, write nothing but their answers, and end with them. Who
calls runs no other thread.
"""

import os
import pickle
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(function: Callable[[Item], Answer], items: Sequence[Item], helpers: int) -> list[Answer]:
    """``[function(item) for item in items]``, a part by each of so many ``helpers`` and the first part here. Answers
    must be picklable; what ``function`` raises is raised here."""
    share = -(-len(items) // (helpers + 1)) or 1
    mine, *parts = [items[start : start + share] for start in range(0, len(items), share)] or [items]
    with ExitStack() as stack:
        others = [_Helper.start(function, part) for part in parts]
        for one in others:
            stack.callback(one.end)
        answers = [function(item) for item in mine]
        for one, part in zip(others, parts, strict=True):
            found: list[Answer] | None = one.answers()
            answers += [function(item) for item in part] if found is None else found
    return answers


@dataclass(slots=True)
class _Helper:
    pid: int
    pipe: int

    @classmethod
    def start(cls, function: Callable[[Item], Answer], items: Sequence[Item]) -> "_Helper":
        reads, writes = os.pipe()
        try:
            pid = os.fork()
        except OSError:  # no process to be had: its part is done here
            os.close(writes)
            return cls(0, reads)
        if pid:
            os.close(writes)
            return cls(pid, reads)
        status = 1
        try:
            os.close(reads)
            with open(writes, "wb") as stream:  # noqa: PTH123 (a pipe has no path)
                pickle.dump([function(item) for item in items], stream)
            status = 0
        finally:
            os._exit(status)  # whatever happened: a fork must not go on with its parent's work

    def answers(self) -> Any:
        """A list of them; None when it ended without."""
        with open(self.pipe, "rb", closefd=False) as stream:
            try:
                return pickle.load(stream)
            except (EOFError, pickle.UnpicklingError):
                return None

    def end(self) -> None:
        os.close(self.pipe)
        if self.pid:
            os.waitpid(self.pid, 0)
