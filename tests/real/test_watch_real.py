"""A watcher over a real vLLM: killed, stopped in the middle of its life, and kept up. In `make test-real`."""

import os
import signal
from typing import Any

import pytest
from fakes.sandbox import Sandbox, ask, command_line, wait_until

pytestmark = pytest.mark.real_more


def row(project: Sandbox) -> dict[str, Any]:
    rows = project.orch("status", "--output", "json").json["deployments"]
    return dict(rows[0])


def comes_back(project: Sandbox, before: dict[str, Any], port: int) -> dict[str, Any]:
    """Waits for another engine of it to be ready; answers its row, once nothing of the one before lives."""

    def ready() -> bool:
        """another engine is ready"""
        now = row(project)
        return now["phase"] == "ready" and now["pid"] != before["pid"]

    wait_until(ready, 400)
    assert ask(port)[0] == 200
    assert not [pid for pid in before["processes"] if command_line(pid)]
    return row(project)


def test_what_is_killed_or_hangs_must_come_back_by_itself(real_project: Sandbox) -> None:
    served = real_project.orch("apply", "demo-cpu", "--yes", timeout=400)
    assert served.code == 0, served.stderr
    watcher = real_project.start("watch")
    first = row(real_project)
    port = int(str(first["endpoint"]).rpartition(":")[2].partition("/")[0])
    wait_until(lambda: row(real_project)["supervised_by"], 60)

    os.kill(first["pid"], signal.SIGKILL)
    second = comes_back(real_project, first, port)
    assert second["restarts"] == 1

    core = next(pid for pid in second["processes"] if "EngineCore" in command_line(pid))
    os.kill(core, signal.SIGSTOP)
    third = comes_back(real_project, second, port)
    assert third["restarts"] == 2
    assert f"its EngineCore (pid {core}) is stopped (SIGSTOP)" in watcher.output

    watcher.process.send_signal(signal.SIGTERM)
    assert watcher.process.wait(60) == 0, watcher.output
    assert ask(port)[0] == 200
    assert real_project.orch("stop", "demo-cpu", timeout=120).code == 0
