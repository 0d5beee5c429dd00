"""The script that `orch export` prints starts the engine that orch would have started."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from deploy_kit import Project, environ, serves
from fakes.sandbox import wait_until

OWN = {"ORCH_MARK", "ORCH_SPEC", "SPT_NOENV"}
"""By which orch finds its engines again: no business of a person who runs one alone."""
HARD = {"TITLE": 'it\'s a "test" of $(echo 1)', "LINES_OF": "one\ntwo\n", "SPACED": "  a  b  "}


def cmdline(pid: int) -> list[str]:
    return Path("/proc", str(pid), "cmdline").read_text().split("\0")


def configure(project: Project, fake_runtime: Path, **keys: Any) -> None:
    key = project.sandbox.home / "a key"
    key.write_text("s3cret\n")
    project.env["TEAM_TOKEN"] = "hf_abc"
    secrets = {"HF_TOKEN": {"env": "TEAM_TOKEN"}, "VLLM_API_KEY": {"file": str(key)}}
    project.sandbox.environment(fake_runtime, env=HARD, secrets=secrets, **keys)


def test_the_script_must_start_the_very_engine_that_orch_starts(project: Project, fake_runtime: Path) -> None:
    configure(project, fake_runtime)
    pid = project.up(serve={"names": ["a", "it's $(a) name"]})
    started, command = environ(pid), cmdline(pid)
    script = project.sandbox.project / "serve.sh"
    script.write_text(project.orch("export", "a").stdout)
    project.orch("stop", "a")
    by_hand = project.sandbox.start_command(["bash", str(script)], {"RUBBISH": "1", "LD_LIBRARY_PATH": "/nowhere"})
    wait_until(lambda: "startup complete" in by_hand.output)
    found = environ(by_hand.process.pid)
    assert OWN & found.keys() == set()
    assert found == {name: value for name, value in started.items() if name not in OWN}
    assert {name: found[name] for name in HARD} == HARD
    assert cmdline(by_hand.process.pid) == command
    assert found["VLLM_API_KEY"] == "s3cret"
    assert "s3cret" not in script.read_text() and "hf_abc" not in script.read_text()


def test_a_profile_must_be_exported_before_it_was_ever_deployed(project: Project) -> None:
    file = project.profile("a")
    script = project.orch("export", "a").stdout
    assert project.orch("export", str(file)).stdout == script
    assert not project.state.exists()
    by_hand = project.sandbox.start_command(["bash", "-c", script])
    wait_until(lambda: by_hand.process.poll() is not None or serves(project.port, "a"))
    assert by_hand.process.poll() is None


def test_what_runs_must_be_exported_and_not_what_the_file_says_now(project: Project) -> None:
    project.up()
    project.profile("a", args={"seed": 7})
    assert "--seed" not in project.orch("export", "a").stdout
    assert "--seed 7" in project.orch("export", "profiles/a.yaml").stdout


def test_lines_to_be_sourced_must_give_the_same_values(project: Project, fake_runtime: Path) -> None:
    configure(project, fake_runtime)
    project.profile("a")
    file = project.sandbox.project / "engine.env"
    file.write_text(project.orch("export", "a", "--format", "env").stdout)
    command = ["bash", "-c", 'set -e; source "$1"; exec env -0', "bash", str(file)]
    listed = subprocess.run(command, env=project.env, capture_output=True, text=True, check=True).stdout
    found = dict(item.split("=", 1) for item in listed.split("\0") if item)
    assert {name: found[name] for name in HARD} == HARD
    assert found["HF_TOKEN"] == "hf_abc"
    assert found["VLLM_API_KEY"] == "s3cret"
    assert found["PATH"].startswith(f"{fake_runtime}/bin:")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nothing"], 1, 'cannot find "nothing"'),
        (["profiles"], 64, "it names several profiles (a, b); give one"),
        (["built"], 1, "is not built yet; `orch apply built` builds it"),
        (["a", "--format", "yaml"], 64, "'yaml' is not one of 'env', 'script'"),
    ],
    ids=["unknown", "several", "unbuilt", "format"],
)
def test_what_cannot_be_exported_must_be_said(project: Project, args: list[str], code: int, said: str) -> None:
    project.profile("a")
    project.profile("b", project.free_port())
    if args == ["built"]:
        project.profile("built", environment="new")
        project.sandbox.write("environments/new.yaml", "name: new\nruntime: {requirements: [vllm==0.32.0]}\n")
    done = project.orch("export", *args, code=code)
    assert said in done.stderr
    assert done.stdout == ""
