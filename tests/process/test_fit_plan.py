"""Plans of large models on a host with cards: what cannot fit is refused before anything stops. NVML is a stand-in, the
model's files are sparse, the engines are fakes; all else is real."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from deploy_kit import Project, environ, serves
from fakes.model_files import QWEN3_32B, write_model
from fakes.nvml import Nvml


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
