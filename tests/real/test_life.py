"""One deployment's life on a real vLLM (CPU build): five real starts, about five minutes on two cores."""

import json
import os
import signal
import urllib.request
from typing import Any

import pytest
from fakes.sandbox import Sandbox, command_line, wait_until

pytestmark = pytest.mark.real

START = 400.0  # seconds; the first one may build the runtime


def status(project: Sandbox) -> dict[str, Any]:
    return project.orch("status", "demo-cpu", "--output", "json").json["deployments"][0]


def ask(base_url: str) -> str:
    """The answer of a chat completion."""
    question = {"model": "tiny-qwen3", "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{base_url}/chat/completions", json.dumps(question).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def edit(project: Sandbox, before: str, after: str) -> None:
    file = project.project / "profiles" / "demo-cpu.yaml"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if command_line(pid)]  # a zombie has none


def test_a_real_engine_must_be_served_changed_rolled_back_repaired_and_stopped(real_project: Sandbox) -> None:
    project = real_project

    served = project.orch("apply", "demo-cpu", "--yes", timeout=START)
    assert served.code == 0, served.stderr
    first = status(project)
    assert first["phase"] == "ready"
    assert first["endpoint"] in served.stdout
    assert ask(first["endpoint"])

    again = project.orch("apply", "demo-cpu", "--yes")
    assert again.code == 0
    assert again.stdout.startswith("Nothing to change")
    assert status(project)["pid"] == first["pid"]

    edit(project, "max_model_len: 256", "max_model_len: 192")
    changed = project.orch("plan", "demo-cpu", "--detailed-exitcode")
    assert changed.code == 2
    assert "serve.max_model_len: 256 -> 192" in changed.stdout
    assert status(project)["drift"] == "serve.max_model_len"
    restarted = project.orch("apply", "demo-cpu", "--yes", timeout=START)
    assert restarted.code == 0, restarted.stderr
    second = status(project)
    assert second["pid"] != first["pid"]
    assert alive(first["processes"]) == []
    assert ask(second["endpoint"])

    edit(project, "max_model_len: 192", "max_model_len: 4096")
    refused = project.orch("apply", "demo-cpu", "--yes", timeout=START)
    assert refused.code == 1
    assert "max_model_len is longer than the model can take" in refused.stderr
    assert "+   max_model_len: 512" in refused.stderr
    assert "brought back demo-cpu" in refused.stderr
    third = status(project)
    assert third["phase"] == "ready"
    assert third["drift"] == "serve.max_model_len"
    assert ask(third["endpoint"])
    assert alive(second["processes"]) == []

    edit(project, "max_model_len: 4096", "max_model_len: 192")
    os.kill(third["pid"], signal.SIGKILL)
    wait_until(lambda: status(project)["phase"] == "failed", 20)
    dead = status(project)
    orphans = alive(third["processes"])
    assert orphans, "the engine's own processes outlive its API server: vLLM 0.32 does so"
    assert any("killed" in note for note in dead["notes"])
    assert any("left over" in note and str(orphans[0]) in note for note in dead["notes"])
    repaired = project.orch("apply", "demo-cpu", "--yes", timeout=START)
    assert repaired.code == 0, repaired.stderr
    assert alive(orphans) == []
    fourth = status(project)
    assert ask(fourth["endpoint"])

    assert project.orch("stop", "demo-cpu").code == 0
    assert alive(fourth["processes"]) == []
    assert status(project)["phase"] == "stopped"
    assert project.living() == {}
