"""A real engine that stops in the middle of its work, as the watcher would look at it. In `make test-real`."""

import json
import os
import signal
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.sandbox import Sandbox, wait_until

from orchestrator import proc
from orchestrator.dump import dump
from orchestrator.liveness import Canary, Sample, assess
from orchestrator.model import Endpoint, Instance, Marker, Phase
from orchestrator.pulse import HttpPulse

pytestmark = pytest.mark.real_more

PACE = 25.0  # seconds between two looks of the watcher; here they follow each other at once
NAME = "tiny-qwen3"


def ask(url: str) -> int:
    question = {"model": NAME, "prompt": "Hello", "max_tokens": 240, "ignore_eos": True}
    request = urllib.request.Request(
        f"{url}/completions", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return int(answer.status)


def judged(looks: Sequence[Sample], *canaries: Canary) -> tuple[str, str]:
    paced = [replace(one, at=1000.0 + number * PACE) for number, one in enumerate(looks)]
    asked = [replace(one, at=paced[-1].at, ended=paced[-1].at) for one in canaries]
    found = assess([*paced, *asked], paced[-1].at)
    return found.state, found.why


def unseen(looks: Sequence[Sample]) -> list[Sample]:
    """As if the kernel said nothing of the processes."""
    return [replace(one, members=()) for one in looks]


def test_a_real_engine_that_stops_at_work_must_be_found_and_one_that_goes_on_left_alone(
    real_project: Sandbox, tmp_path: Path
) -> None:
    served = real_project.orch("apply", "demo-cpu", "--yes", timeout=400)
    assert served.code == 0, served.stderr
    row = real_project.orch("status", "--output", "json").json["deployments"][0]
    found = [process for pid in row["processes"] if (process := proc.read(pid))]
    leader, *children = sorted(found, key=lambda process: process.pid != row["pid"])
    instance = Instance(Marker("p", "demo-cpu", "1"), Phase.READY, leader, tuple(children))
    core = next(process for process in children if process.command == "VLLM::EngineCore")
    url = str(row["endpoint"])
    endpoint = Endpoint("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))
    pulse = HttpPulse(canary_timeout=3.0)

    def looks(count: int) -> list[Sample]:
        return [pulse.sample(instance, endpoint) for _ in range(count)]

    idle = looks(3)
    assert judged(idle) == ("idle", "")
    assert [one.name for one in idle[-1].members if one.vital] == ["API server", "EngineCore", "Worker"]
    before = idle[-1].progress
    assert pulse.canary(endpoint, NAME, None).answered
    wait_until(lambda: pulse.sample(instance, endpoint).progress > before)

    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(ask, url) for _ in range(4)]
        wait_until(lambda: pulse.sample(instance, endpoint).running, 30)
        os.kill(core.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: proc.state(core) == "T")
            stopped = looks(9)
            saw = dump(instance, tmp_path / "1.dump")
        finally:
            os.kill(core.pid, signal.SIGCONT)
        assert [one.result() for one in answers] == [200] * 4
    assert all(one.answers for one in stopped)
    assert judged(stopped[:1])[0] == "suspect"
    assert judged(stopped) == ("hung", f"its EngineCore (pid {core.pid}) is stopped (SIGSTOP)")
    assert judged(unseen(stopped))[0] == "hung"
    assert "no counter moved" in judged(unseen(stopped))[1]
    assert saw.saw.startswith("EngineCore is stopped (SIGSTOP)")
    assert saw.path
    assert "== Worker" in saw.path.read_text()
    after = looks(2)
    assert judged([*stopped, *after])[0] in {"well", "idle"}

    os.kill(core.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: proc.state(core) == "T")
        quiet, failed = looks(14), [pulse.canary(endpoint, NAME, None) for _ in range(2)]
    finally:
        os.kill(core.pid, signal.SIGCONT)
    assert judged(unseen(quiet))[0] == "idle"  # of what came since it hung the counters tell nothing
    assert judged(unseen(quiet), *failed)[0] == "hung"
    assert real_project.orch("stop", "demo-cpu").code == 0
