"""The demo's tiny model from a Hub to the answer of a real vLLM: one real start."""

import json

import pytest
from fakes.hub import Hub
from fakes.sandbox import MODEL, Sandbox, ask

pytestmark = pytest.mark.real

REPO = "org/tiny-qwen3"


def test_a_model_from_the_hub_must_be_pulled_and_served_by_a_real_engine_without_the_hub(
    real_project: Sandbox, hub: Hub
) -> None:
    project = real_project
    commit = hub.add(REPO, {path.name: path for path in MODEL.iterdir()})
    text = (project.project / "profiles" / "demo-cpu.yaml").read_text()
    text = text.replace("name: demo-cpu", "name: from-hub").replace("path: models/tiny-qwen3", f"repo: {REPO}")
    port = int(text.partition("port: ")[2].split()[0])
    (project.project / "profiles" / "from-hub.yaml").write_text(text)
    project.env["HF_ENDPOINT"] = hub.endpoint

    pulled = project.orch("pull", "from-hub")
    assert pulled.code == 0, pulled.stderr
    assert f"{REPO}@{commit[:8]} is complete" in pulled.stdout

    hub.stop()  # neither the second apply nor the engine may need it
    planned = project.orch("plan", "from-hub")
    assert planned.code == 0, planned.stderr
    assert "fetch" not in planned.stdout
    applied = project.orch("apply", "from-hub", "--yes", timeout=400)
    assert applied.code == 0, applied.stderr
    question = {"model": "tiny-qwen3", "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
    status, answer = ask(port, "/v1/chat/completions", question, timeout=60)
    assert status == 200, answer
    assert json.loads(answer)["choices"][0]["message"]["content"]
    assert project.orch("apply", "from-hub", "--yes").stdout.startswith("Nothing to change")
    assert project.orch("stop", "from-hub").code == 0
    assert project.living() == {}
