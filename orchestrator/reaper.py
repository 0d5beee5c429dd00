"""Orphans of what was started come to this process instead of init, which in a container may not exist, and which
tells nobody how they ended."""

import contextlib
import ctypes
import os
from collections.abc import Mapping

from orchestrator.model import Exit

_SET_CHILD_SUBREAPER = 36  # prctl(2)


def become_reaper() -> None:
    """Where the kernel does not know of it, they go to init as before."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> Mapping[int, Exit]:
    """How each child ended that has ended, by pid; waits for none."""
    found: dict[int, Exit] = {}
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(ended[1])
            found[ended[0]] = Exit(signal=-code) if code < 0 else Exit(code=code)
    return found
