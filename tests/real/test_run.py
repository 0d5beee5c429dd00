"""`orch run` as the entry point of a container, with a real vLLM. In `make test-real`."""

import signal

import pytest
from fakes.sandbox import Sandbox, command_line, wait_until

pytestmark = pytest.mark.real_more


def test_run_must_hand_on_term_and_end_with_the_engines_own_status(real_project: Sandbox) -> None:
    engine = real_project.start("run", "demo-cpu")

    def ready() -> bool:
        """the engine under `orch run` is ready"""
        assert engine.process.poll() is None, engine.output
        rows = real_project.orch("status", "--output", "json").json["deployments"]
        return any(row["phase"] == "ready" for row in rows)

    wait_until(ready, 400)
    row = real_project.orch("status", "--output", "json").json["deployments"][0]
    assert row["supervised_by"] == "orch run"
    engine.process.send_signal(signal.SIGTERM)
    assert engine.process.wait(60) == 0, engine.output
    assert not [pid for pid in row["processes"] if command_line(pid)]
