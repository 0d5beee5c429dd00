"""`orch engine`, and validate against a version: with what is shipped, and with what a runtime told."""

from collections.abc import Callable
from pathlib import Path

import pytest
from deploy_kit import Project
from fakes.sandbox import Result, Sandbox

Orch = Callable[..., Result]


def test_a_flag_in_full(orch: Orch) -> None:
    shown = orch("engine", "flags", "max-num-seqs", "--version", "vllm==0.32.0").stdout
    assert shown.startswith("max_num_seqs  (vllm 0.32.0: --max-num-seqs)\n  takes    int at least 1\n")
    assert orch("engine", "flags", "-o", "json").json["engine"] == "vllm"


def test_a_flag_that_is_none_and_a_version_that_is_not_known(orch: Orch) -> None:
    refused = orch("engine", "flags", "max_nums_eqs", "--version", "0.32")
    assert (refused.code, refused.stderr.count("did you mean max")) == (64, 1)
    near = orch("engine", "flags", "max_num_seqs", "--version", "0.32.99")
    assert "vllm 0.32.99 is not known here: this is 0.32.0, the nearest" in near.stderr
    assert orch("engine", "flags", "--version", "latest").code == 64


def test_what_an_upgrade_changes_for_these_profiles(sandbox: Sandbox, orch: Orch) -> None:
    sandbox.profile("a", 8000, {"swap_space": 4, "max_num_seqs": 8})
    shown = orch("engine", "diff", "0.10", "0.32", "a").stdout
    assert "  - swap_space (used by a)\n" in shown
    assert "block_size" not in shown
    assert orch("engine", "diff", "0.32", "0.32", "a").stdout == "vllm 0.32.0 -> 0.32.0: nothing changed for a\n"
    assert "swap_space" in orch("engine", "diff", "0.10", "0.32", "a", "-o", "json").json["removed"]


def test_the_upgrade_is_rehearsed(sandbox: Sandbox, orch: Orch) -> None:
    file = sandbox.profile("a", 8000, {"swap_space": 4})
    assert orch("validate", "a", "--engine", "vllm==0.10.2").code == 0
    refused = orch("validate", "a", "--engine", "0.32.0")
    line = file.read_text()[: file.read_text().index('"swap_space"')].count("\n") + 1
    assert refused.code == 1
    assert f"profiles/a.yaml:{line}:7: cannot use serve.args.swap_space: vllm 0.32.0 has no flag --swap-space: " in (
        refused.stderr
    )
    assert orch("validate", "a", "--engine", "vllm").code == 64


@pytest.mark.parametrize(
    ("config", "serve", "code"),
    [
        ('{"num_attention_heads": 6}', {"tensor_parallel_size": 4}, "indivisible-heads"),
        ('{"max_position_embeddings": 512}', {"max_model_len": 1024}, "context-too-long"),
    ],
)
def test_the_models_config_beside_the_profile(
    sandbox: Sandbox, orch: Orch, config: str, serve: dict[str, int], code: str
) -> None:
    sandbox.profile("a", 8000, serve=serve, model={"repo": "org/m"}, gpus="auto")
    assert orch("validate", "a", "--engine", "0.32.0").code == 0
    sandbox.write("profiles/a.config.json", config)
    found = orch("validate", "a", "--engine", "0.32.0", "-o", "json").json
    assert [one["code"] for one in found["errors"]] == [code]


def test_an_installed_engine_is_asked_once_and_then_believed(project: Project, tmp_path: Path) -> None:
    project.env["ORCH_CACHE_DIR"] = str(tmp_path / "cache")
    project.profile("a", args={"max_num_sqs": 3})
    assert project.orch("validate", "a", code=1).stderr.count("vllm 0.33.0 has no flag --max-num-sqs")
    told = project.orch("engine", "snapshot", "fake")
    assert told.stdout.startswith("vllm 9.9.9 takes ")
    refused = project.orch("validate", "a", code=1).stderr
    assert "vllm 9.9.9 has no flag --max-num-sqs" in refused


def test_apply_asks_an_engine_of_a_version_that_nobody_knows(project: Project, tmp_path: Path) -> None:
    project.env["ORCH_CACHE_DIR"] = str(tmp_path / "cache")
    project.profile("a")
    assert "asking vllm 9.9.9 once which flags it takes" in project.apply("a").stderr
    project.profile("a", serve={"max_model_len": 99})
    assert "asking vllm" not in project.apply("a").stderr
