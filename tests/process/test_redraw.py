"""`--watch` on a terminal draws over what was there."""

import os
import pty
import signal
import subprocess
from contextlib import suppress

import pytest
from fakes.nvml import Nvml
from fakes.sandbox import Sandbox, wait_until

CLEAR = "\x1b[H\x1b[2J"


@pytest.mark.parametrize(("verb", "text"), [("status", "Nothing is deployed"), ("gpus", "driver 550.54.15")])
def test_watch_on_a_terminal(sandbox: Sandbox, nvml: Nvml, verb: str, text: str) -> None:
    sandbox.env |= nvml.env
    here, there = pty.openpty()
    os.set_blocking(here, False)
    shown = ""

    def drawn_twice() -> bool:
        nonlocal shown
        with suppress(BlockingIOError):
            shown += os.read(here, 65536).decode()
        return shown.count(text) == 2

    command = sandbox.command(verb, "--watch")
    with subprocess.Popen(command, env=sandbox.env, cwd=sandbox.project, stdout=there, stderr=there) as watching:
        wait_until(drawn_twice)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 130
    os.close(here)
    os.close(there)
    assert shown.startswith(CLEAR)
    assert shown.count(CLEAR) == 2
