"""A secret reaches the engine, and nothing else: no file, no output, no command line."""

from pathlib import Path

import pytest
from deploy_kit import Project, ask, environ
from fakes.sandbox import all_pids, wait_until

KEY, TOKEN = "sk-very-secret-1", "hf_also_secret_2"


@pytest.fixture
def secret_file(project: Project, fake_runtime: Path) -> Path:
    file = project.sandbox.home / "token"
    file.write_text(f"{TOKEN}\n")
    project.env["MY_KEY"] = KEY
    secrets = {"VLLM_API_KEY": {"env": "MY_KEY"}, "HF_TOKEN": {"file": str(file)}}
    project.sandbox.environment(fake_runtime, secrets=secrets)
    return file


def leaks(folder: Path, *values: str) -> list[str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [str(file) for file in files for value in values if value.encode() in file.read_bytes()]


def command_lines() -> bytes:
    found = b""
    for pid in all_pids():
        try:
            found += Path("/proc", str(pid), "cmdline").read_bytes()
        except OSError:
            continue
    return found


def test_a_secret_must_reach_the_engine_and_be_written_nowhere(project: Project, secret_file: Path) -> None:
    project.profile()
    outputs = [project.orch(*verb, "a") for verb in (["plan"], ["apply", "--yes"], ["status"], ["plan"], ["logs"])]
    outputs += [project.orch(verb, "--output", "json") for verb in ("plan", "status", "validate")]
    variables = environ(project.engine())
    assert (variables["VLLM_API_KEY"], variables["HF_TOKEN"]) == (KEY, TOKEN)
    assert ask(project.port)[0] == 401
    assert ask(project.port, key=KEY)[0] == 200
    for text in (KEY, TOKEN):
        assert not any(text in done.stdout + done.stderr for done in outputs)
        assert text.encode() not in command_lines()
    assert leaks(project.state, KEY, TOKEN) == []
    assert leaks(Path(project.env["ORCH_CACHE_DIR"]), KEY, TOKEN) == []
    assert "Authorization: Bearer $VLLM_API_KEY" in outputs[1].stdout
    kept = [project.state, *project.state.rglob("*")]
    assert [place for place in kept if not place.is_symlink() and place.stat().st_mode & 0o077] == []


def test_a_rotated_secret_must_be_seen_and_restart(project: Project, secret_file: Path) -> None:
    old = project.up()
    project.env["MY_KEY"] = "sk-another-3"
    assert project.row()["phase"] == "ready"
    assert project.row()["drift"] == "secrets.VLLM_API_KEY"
    plan = project.plan()
    assert "secrets.VLLM_API_KEY: another value" in plan
    assert "secrets.HF_TOKEN" not in plan
    project.apply()
    assert project.engine() not in {0, old}
    assert ask(project.port, key="sk-another-3")[0] == 200
    assert "Nothing to change" in project.plan()
    secret_file.write_text("hf_other_4")
    assert "secrets.HF_TOKEN: another value" in project.plan()
    assert leaks(project.state, KEY, TOKEN, "sk-another-3", "hf_other_4") == []


def test_a_restart_must_record_the_secret_it_was_started_with(project: Project, secret_file: Path) -> None:
    project.up()
    project.env["MY_KEY"] = "sk-another-5"
    assert project.orch("restart", "a").code == 0
    assert ask(project.port, key="sk-another-5")[0] == 200
    assert "Nothing to change" in project.plan()


def test_a_secret_that_is_not_there_must_be_named(project: Project, secret_file: Path) -> None:
    project.profile()
    del project.env["MY_KEY"]
    done = project.apply(code=1)
    assert "the variable MY_KEY is not set" in done.stderr
    project.env["MY_KEY"] = KEY
    secret_file.unlink()
    assert f"{secret_file}: No such file" in project.apply(code=1).stderr
    assert project.sandbox.living() == {}


def test_status_and_stop_must_work_without_the_secret_at_hand(project: Project, secret_file: Path) -> None:
    pid = project.up()
    del project.env["MY_KEY"]
    assert project.row()["phase"] == "ready"
    project.orch("stop", "a")
    wait_until(lambda: not environ(pid))


def test_secrets_must_survive_the_loss_of_the_key_without_a_restart(project: Project, secret_file: Path) -> None:
    pid = project.up()
    (project.state / "key").unlink()
    assert "secrets" not in project.plan()
    project.apply()
    assert project.engine() == pid
