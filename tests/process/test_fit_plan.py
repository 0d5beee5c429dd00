"""Plans of large models on a host with cards: what cannot fit is refused before anything stops. NVML is a stand-in, the
model's files are sparse, the engines are fakes; all else is real."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from caches import Cache
from deploy_kit import Project, environ, serves
from fakes.hub import Hub
from fakes.model_files import QWEN3_32B, write_model
from fakes.nvml import Nvml
from fakes.runtime import make_fake_runtime


@pytest.fixture
def host(project: Project, nvml: Nvml) -> Project:
    """Four RTX 6000 Ada, of no other test's host."""
    mine = hashlib.sha256(str(project.sandbox.home).encode()).hexdigest()[:8]
    for index in range(4):
        nvml.gpu(index, uuid=f"GPU-{mine}-{index}")
    project.env.update(nvml.env)
    return project


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "Qwen3-32B")


@pytest.fixture
def cpu(tmp_path: Path) -> Path:
    """A runtime that computes on the processor."""
    made = make_fake_runtime(tmp_path / "cpu")
    packages = next(made.glob("lib/python3*/site-packages"))
    info = packages / "torch-2.13.0+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: torch\nVersion: 2.13.0+cpu\n")
    return made


def wants(host: Project, model: Path, tensor: Any = 1, **keys: Any) -> None:
    serve = {"tensor_parallel_size": tensor, "gpu_memory_utilization": 0.9} | keys.pop("serve", {})
    host.profile("a", **{"gpus": "auto", "model": {"path": str(model)}, "serve": serve} | keys)


def test_what_cannot_fit_is_refused_before_anything_stops(host: Project, model: Path) -> None:
    old = host.up()
    wants(host, model)
    for verb in (("plan", "a"), ("apply", "a", "--yes")):
        refused = host.orch(*verb, code=1).stderr
        assert "profiles/a.yaml:" in refused
        assert "cannot start a: weights (61.0 GiB) and what the engine needs beside them" in refused
        assert "set tensor_parallel_size: 2, on 2 cards" in refused
        assert "`fit: warn` in the profile lets it start" in refused
    assert host.engine() == old
    assert serves(host.port, "a")


def test_heads_that_three_does_not_divide(host: Project, model: Path) -> None:
    wants(host, model, 3)
    refused = host.apply("a", code=1).stderr
    assert "cannot start a: 64 attention heads are not divisible by 3; set tensor_parallel_size: 2" in refused


def test_whoever_knows_better_is_warned(host: Project, model: Path) -> None:
    wants(host, model, fit="warn")
    assert "warning: a: it may not fit: weights (61.0 GiB)" in host.plan("a")
    host.apply("a")
    assert serves(host.port, "a")
    assert "Nothing to change" in host.plan("a")
    host.orch("stop", "a")
    wants(host, model)  # it has served: what is reckoned of it says nothing any more
    host.apply("a")
    assert serves(host.port, "a")


def test_a_tight_fit_is_a_warning(host: Project, model: Path) -> None:
    wants(host, model, 2, serve={"gpu_memory_utilization": 0.86})
    plan = host.plan("a")
    assert "warning: a: it fits barely: the KV cache holds 1." in plan
    assert "set gpu_memory_utilization: 0." in plan
    markdown = host.orch("plan", "a", "--output", "markdown").stdout
    assert "it fits barely" in markdown
    document = host.orch("plan", "a", "--output", "json").json
    assert any("it fits barely" in one for one in document["warnings"])


def test_auto_takes_as_few_cards_as_do_and_keeps_them(host: Project, model: Path) -> None:
    wants(host, model, "auto")
    assert "GPUs 0 and 1" in host.plan("a")
    host.apply("a")
    assert len(environ(host.engine())["CUDA_VISIBLE_DEVICES"].split(",")) == 2
    assert "Nothing to change" in host.plan("a")
    assert host.row()["drift"] == ""
    old = host.engine()
    (model / "config.json").unlink()  # it needs no more telling
    assert "Nothing to change" in host.plan("a")
    assert host.engine() == old


def test_auto_of_a_model_that_is_not_here(host: Project, tmp_path: Path) -> None:
    wants(host, tmp_path / "none", "auto")
    refused = host.orch("plan", "a", code=1).stderr
    assert "cannot work out tensor_parallel_size of a:" in refused
    assert "is not on this disk, which would tell how large it is; write the number" in refused


def test_auto_of_a_model_that_no_number_of_cards_takes(host: Project, tmp_path: Path) -> None:
    huge = write_model(tmp_path / "huge", {**QWEN3_32B, "num_hidden_layers": 400}, shards=4)
    wants(host, huge, "auto")
    refused = host.orch("plan", "a", code=1).stderr
    assert "it fits none of 1 to 4 cards: on 4, weights (" in refused


def test_shards_that_are_not_here_count_all_the_same(host: Project, tmp_path: Path) -> None:
    wants(host, write_model(tmp_path / "half", here=3))
    assert "weights (61.0 GiB)" in host.orch("plan", "a", code=1).stderr


def test_a_plan_for_a_declared_host(host: Project, model: Path, fake_runtime: Path) -> None:
    gpus = {"model": "RTX 6000 Ada Generation", "count": 4, "memory": "49140MiB", "compute_capability": "8.9"}
    host.sandbox.environment(fake_runtime, host={"gpus": gpus})
    wants(host, model)
    refused = host.orch("plan", "a", "--host", "fake", code=1).stderr
    assert "set tensor_parallel_size: 2, on 2 cards" in refused
    wants(host, model, "auto")
    assert "GPUs 0 and 1" in host.orch("plan", "a", "--host", "fake").stdout


def test_a_plan_for_a_declared_host_knows_the_config_that_another_tool_left(
    host: Project, tmp_path: Path, fake_runtime: Path
) -> None:
    """`hf download REPO config.json` leaves no more than that and a ref."""
    gpus = {"model": "RTX 6000 Ada Generation", "count": 4, "memory": "49140MiB", "compute_capability": "8.9"}
    host.sandbox.environment(fake_runtime, host={"gpus": gpus}, cache={"hf_home": str(tmp_path / "hf")})
    config = {"config.json": json.dumps(QWEN3_32B).encode()}
    Cache(tmp_path).commit(config, repo="Qwen/Qwen3-32B", refs=("main",), knows={})
    repo = {"model": {"repo": "Qwen/Qwen3-32B"}, "gpus": "auto"}
    serve = {"tensor_parallel_size": 1, "gpu_memory_utilization": 0.9}
    host.profile("a", **repo, serve=serve)
    for verb in (("plan", "a", "--host", "fake"), ("validate", "profiles/a.yaml")):
        assert "set tensor_parallel_size: 2, on 2 cards" in host.orch(*verb, code=1).stderr
    host.profile("a", **repo, serve=serve | {"tensor_parallel_size": "auto"})
    assert "GPUs 0 and 1" in host.orch("plan", "a", "--host", "fake").stdout


def test_what_the_engine_told_stands_beside_what_was_reckoned_and_the_next_sum_begins_there(
    host: Project, model: Path
) -> None:
    """The stand-in says what a real one would that found 9.50 GiB for its cache: 77,824 tokens of 128 KiB."""
    said = [
        "(Worker_TP0 pid=7) INFO 11-24 10:00:00 [m.py:1] Model loading took 30.52 GiB memory and 41.20 seconds",
        "(Worker_TP0 pid=7) INFO 11-24 10:00:01 [m.py:2] Available KV cache memory: 9.50 GiB",
        "(EngineCore pid=6) INFO 11-24 10:00:02 [m.py:3] GPU KV cache size: 77,824 tokens",
        "(EngineCore pid=6) INFO 11-24 10:00:02 [m.py:4] Maximum concurrency for 40,960 tokens per request: 1.90x",
    ]
    share = {"gpu_memory_utilization": 0.92}
    wants(host, model, 2, args={"fake_log": said}, serve=share)
    assert "fits barely" not in host.plan("a")
    host.apply("a")
    told = "weights 30.5 GiB (30.5 GiB), KV cache 9.5 GiB (10.8 GiB), tokens in it 77,824 (88,"
    assert told in host.orch("status", "a").stdout
    assert told in host.orch("history", "a").stdout
    row = host.row()
    assert row["measured"]["kv_cache_tokens"] == 77_824
    assert row["estimate"]["concurrency"] > 2
    assert row["estimate"] == host.orch("history", "a", "--output", "json").json["revisions"][0]["estimate"]
    wants(host, model, 2, args={"fake_log": said}, serve=share | {"names": ["b"]})
    assert "warning: a: it fits barely: the KV cache holds 1.90 requests of 40,960 tokens at once" in host.plan("a")


def test_on_a_processor_the_cache_has_the_space_that_it_is_given(project: Project, model: Path, cpu: Path) -> None:
    """A request of 40,960 tokens takes 64 layers x 2 x 8 heads x 128 x 2 bytes of each: 10 GiB. What its runtime
    computes on is known once it has started something."""
    project.sandbox.environment(cpu)
    old = project.up()
    for space, code in (("8", 1), ("16", 0)):
        project.sandbox.environment(cpu, env={"VLLM_CPU_KVCACHE_SPACE": space})
        project.profile("a", gpus="auto", model={"path": str(model)})
        done = project.orch("plan", "a", code=code)
        short = "one request of 40,960 tokens takes 10.0 GiB of KV cache, and 8.0 GiB are left for it"
        assert (short in done.stderr) == bool(code)
    assert "it fits barely: the KV cache holds 1.60 requests" in done.stdout
    assert project.engine() == old


def test_auto_of_a_repository_that_is_to_be_pulled_first(host: Project, hub: Hub, fake_runtime: Path) -> None:
    config = json.dumps({**QWEN3_32B, "num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 512}).encode()
    hub.add("org/model", {"config.json": config, "model.safetensors": b"no weights at all"})
    host.env["HF_ENDPOINT"] = hub.endpoint
    host.sandbox.environment(fake_runtime, cache={"hf_home": str(host.sandbox.home / "hf")})
    host.profile("a", gpus="auto", model={"repo": "org/model"}, serve={"tensor_parallel_size": "auto"})
    refused = host.orch("plan", "a", code=1).stderr
    assert "the model is not on this disk, which would tell how large it is; `orch pull a` first" in refused
    host.orch("pull", "a")
    assert "GPU 0" in host.plan("a")
