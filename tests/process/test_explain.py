"""`orch explain`: the reason and the cure, of a deployment and of any log."""

from pathlib import Path

from deploy_kit import Project

RECORDED = Path(__file__).parents[1] / "recorded"
TOO_LONG = "max_model_len is longer than the model can take (while reading its configuration)"


def test_a_log_from_anywhere_must_be_explained(project: Project) -> None:
    log = RECORDED / "vllm-0.32-cpu-too-long.log"
    said = project.orch("explain", str(log)).stdout
    assert said.startswith(TOO_LONG)
    assert "  +   max_model_len: 512\n" in said
    assert "  seen   line 56" in said
    assert f"  log    {log}\n" in said
    assert len(said.splitlines()) <= 12
    assert project.orch("explain", "-", input=log.read_text()).stdout.startswith(TOO_LONG)
    told = project.orch("explain", str(log), "--output", "json").json
    assert (told["signature"], told["changes"]) == ("max-len-above-model", {"serve.max_model_len": 512})
    assert "is a log" in project.orch("explain", str(log), "--attempt", "1", code=64).stderr


def test_a_deployment_must_be_explained_without_its_secrets(project: Project, fake_runtime: Path) -> None:
    project.env["KEY"] = "word-of-honour"
    project.sandbox.environment(fake_runtime, secrets={"VLLM_API_KEY": {"env": "KEY"}})
    said = "ERROR 11-24 10:00:00 [core.py:1] RuntimeError: it broke over word-of-honour"
    project.profile(args={"fake_log": [said], "fake_exit_code": 3})
    project.apply("a", code=1)
    assert "word-of-honour" not in project.orch("explain", "a").stdout
    evidence = project.orch("explain", "a", "--output", "json").json["evidence"]
    assert any("it broke over ***" in line["text"] for line in evidence)
    for key in ("", "another-key-since"):  # another terminal, and a key that was changed
        project.env["KEY"] = key
        shown = [project.orch(verb, "a").stdout for verb in ("explain", "logs", "status")]
        assert all("it broke over ***" in text and "word-of-honour" not in text for text in shown)
    assert "there is 1" in project.orch("explain", "a", "--attempt", "7", code=1).stderr


def test_one_that_lives_must_be_told_to_live(project: Project) -> None:
    pid = project.up()
    assert f"a: its engine (pid {pid}) lives" in project.orch("explain", "a").stderr
    project.orch("stop", "a")
