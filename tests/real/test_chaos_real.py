"""What `make chaos` does to fake engines, done to a real vLLM: four real starts. In `make test-real`."""

import os
import signal
from typing import Any

import pytest
from fakes.sandbox import Sandbox, ask, command_line, wait_until

pytestmark = pytest.mark.real_more

START = 400.0  # seconds; the first one may build the runtime


def row(project: Sandbox) -> dict[str, Any]:
    return dict(project.orch("status", "demo-cpu", "--output", "json").json["deployments"][0])


def core(of: dict[str, Any]) -> int:
    return next(pid for pid in of["processes"] if "EngineCore" in command_line(pid))


def converged(project: Sandbox, before: dict[str, Any], *command: str) -> dict[str, Any]:
    """One ``command`` and nothing is left to do, nor left over, and it serves; answers the new row."""
    done = project.orch(*command, timeout=START)
    assert done.code == 0, done.stderr
    plan = project.orch("plan", "demo-cpu", "--detailed-exitcode")
    assert plan.code == 0, plan.stdout
    now = row(project)
    assert now["phase"] == "ready"
    assert not {*before["processes"]} & {*now["processes"]}
    assert not [pid for pid in before["processes"] if command_line(pid)]
    assert set(project.living()) == set(now["processes"])
    assert ask(int(now["endpoint"].rpartition(":")[2].partition("/")[0]))[0] == 200
    return now


def test_one_command_must_mend_what_was_killed_or_stopped(real_project: Sandbox) -> None:
    project, apply = real_project, ("apply", "demo-cpu", "--yes")
    served = project.orch(*apply, timeout=START)
    assert served.code == 0, served.stderr
    first = row(project)

    # The API server is killed, and the EngineCore that it leaves behind hears nothing.
    os.kill(core(first), signal.SIGSTOP)
    os.kill(first["pid"], signal.SIGKILL)
    wait_until(lambda: not command_line(first["pid"]))
    assert command_line(core(first))
    second = converged(project, first, *apply)

    # The EngineCore is killed: the API server sees that, and ends.
    os.kill(core(second), signal.SIGKILL)
    wait_until(lambda: not command_line(second["pid"]), 60)
    third = converged(project, second, *apply)

    # The API server is stopped in its tracks: it is not for `apply` to end what may yet go on.
    os.kill(third["pid"], signal.SIGSTOP)
    held = project.orch(*apply, timeout=60)
    assert held.code == 1
    assert "orch restart demo-cpu" in held.stdout + held.stderr
    converged(project, third, "restart", "demo-cpu")

    assert project.orch("stop", "demo-cpu", timeout=120).code == 0
    assert project.living() == {}
