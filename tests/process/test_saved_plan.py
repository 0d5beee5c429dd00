"""`orch plan --out FILE` and `orch apply --plan FILE`: what was shown is carried out, or nothing is."""

import json
import shutil
import stat
from pathlib import Path

import pytest
from deploy_kit import Project, ended, kill, serves
from fakes.hub import Hub
from fakes.nvml import Nvml
from fakes.sandbox import wait_until

from orchestrator import saved

WEIGHTS = {"config.json": b'{"model_type": "qwen3"}', "model.safetensors": b"w" * 3_000_000}


def keep(project: Project, *args: str, code: int = 0) -> Path:
    """Plans into a file of the project, and answers it."""
    project.orch("plan", *(args or ["profiles"]), "--out", "p.json", code=code)
    return project.sandbox.project / "p.json"


def carry_out(project: Project, code: int = 0) -> str:
    done = project.orch("apply", "--plan", "p.json", "--yes", code=code)
    return done.stderr if code else done.stdout


def stale(project: Project) -> str:
    """It is refused, and says what changed."""
    text = carry_out(project, code=1)
    assert "cannot carry out the plan in p.json: what it was made from, at " in text
    return text


def test_a_saved_plan_must_be_carried_out_and_then_be_stale(project: Project) -> None:
    project.profile()
    shown = project.plan()
    file = keep(project)
    assert not project.state.exists()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = carry_out(project)
    assert text.startswith(shown.rstrip())
    assert serves(project.port, "a")
    assert "Nothing to change" in project.plan()
    pid = project.engine()
    assert f"a (start {project.record()['attempt']['id']}): is new, ready with pid {pid}" in stale(project)
    assert project.engine() == pid


def test_what_is_fetched_on_the_way_must_not_make_it_stale(project: Project, hub: Hub, nvml: Nvml) -> None:
    """On a host with cards the plan is made once more, when all is prepared."""
    project.env |= nvml.env | {"HF_ENDPOINT": hub.endpoint}
    commit = hub.add("org/model", WEIGHTS)
    project.profile(model={"repo": "org/model"}, gpus=1)
    keep(project)
    hub.add("org/model", WEIGHTS | {"config.json": b'{"model_type": "qwen2"}'})
    assert f"fetch org/model@{commit[:8]}" in carry_out(project)
    assert serves(project.port, "a")
    assert project.record()["attempt"]["deployment"]["spec"]["commits"] == {"model": commit}


def test_what_was_fetched_meanwhile_must_not_make_it_stale(project: Project, hub: Hub) -> None:
    project.env["HF_ENDPOINT"] = hub.endpoint
    hub.add("org/model", WEIGHTS)
    project.profile(model={"repo": "org/model"})
    keep(project)
    project.orch("pull", "a")
    assert "fetch " not in carry_out(project)
    assert serves(project.port, "a")


def test_a_plan_of_a_change_must_restart_what_it_said(project: Project) -> None:
    before = project.up()
    project.profile(serve={"max_model_len": 512})
    assert project.orch("plan", "profiles", "--out", "p.json", "--detailed-exitcode", code=2)
    carry_out(project)
    assert project.engine() not in {0, before}
    assert project.record()["revision"]["deployment"]["spec"]["serve"]["max_model_len"] == 512


def test_what_was_given_and_chosen_must_be_kept(project: Project) -> None:
    port = project.free_port()
    project.up("a")
    project.up("b", project.free_port())
    project.profile("c")
    keep(project, "c", "--set", f"serve.port={port}", "--replace", "a", "--prune")
    carry_out(project)
    assert serves(port, "c")
    assert project.engine("a") == project.engine("b") == 0


def test_a_plan_without_a_path_must_keep_what_is_deployed(project: Project) -> None:
    pid = project.up("a")
    project.profile("b", project.free_port())
    kill(pid)
    keep(project)
    project.orch("plan", "--out", "p.json")
    carry_out(project)
    assert serves(project.port, "a")
    assert project.engine("b") == 0


def test_a_plan_of_nothing_must_change_nothing(project: Project) -> None:
    project.orch("plan", "--out", "p.json")
    assert "Nothing is deployed" in project.orch("apply", "--plan", "p.json", "--yes").stderr
    pid = project.up()
    keep(project)
    assert "Nothing to change" in carry_out(project)
    assert project.engine() == pid


# ------------------------------------------------------------------------------------------------------ what is stale


def test_a_field_that_changed_in_a_file_must_be_named(project: Project) -> None:
    project.profile()
    keep(project)
    project.profile(serve={"max_model_len": 512})
    assert "  | a: serve.max_model_len: (default) -> 512" in stale(project)
    shutil.move(project.sandbox.project / "profiles" / "a.yaml", project.sandbox.project / "gone.yaml")
    assert "a: its profile profiles/a.yaml is gone" in stale(project)
    assert project.sandbox.living() == {}


def test_a_broken_profile_must_be_named_by_its_place(project: Project) -> None:
    file = project.profile()
    keep(project)
    file.write_text(file.read_text().replace('"serve"', '"serves"'))
    assert "profiles/a.yaml:" in carry_out(project, code=1)


def test_an_engine_that_died_must_make_it_stale(project: Project) -> None:
    pid = project.up()
    project.profile(serve={"max_model_len": 512})
    keep(project)
    kill(pid)
    assert f"is gone, was ready with pid {pid}" in stale(project)
    assert project.engine() == 0


def test_a_deployment_that_was_stopped_must_make_it_stale(project: Project) -> None:
    project.up()
    project.profile(serve={"max_model_len": 512})
    keep(project)
    project.orch("stop", "a")
    assert "the record of a: was meant to be running" in stale(project)
    assert project.engine() == 0


def test_a_secret_that_was_rotated_must_make_it_stale_without_a_word_of_it(
    project: Project, fake_runtime: Path
) -> None:
    project.env["TOKEN"] = "the-first-value"
    project.sandbox.environment(fake_runtime, secrets={"HF_TOKEN": {"env": "TOKEN"}})
    project.up()
    project.profile(serve={"max_model_len": 512})
    file = keep(project)
    project.env["TOKEN"] = "the-second-value"
    text = stale(project)
    assert "a: secrets.HF_TOKEN: another value" in text
    assert "-value" not in (text + file.read_text()).replace("another value", "")


def test_a_first_plan_with_a_secret_must_be_carried_out(project: Project, fake_runtime: Path) -> None:
    """There is no key yet when it is made; the first start makes it."""
    project.env["TOKEN"] = "do-not-tell"
    project.sandbox.environment(fake_runtime, secrets={"HF_TOKEN": {"env": "TOKEN"}})
    project.profile()
    assert "do-not-tell" not in keep(project).read_text()
    carry_out(project)
    assert serves(project.port, "a")


def test_a_world_that_changes_while_it_waits_for_another_orch_must_make_it_stale(project: Project) -> None:
    go = project.sandbox.home / "go"
    project.profile(args={"fake_wait_for": str(go)})
    keep(project)
    first = project.sandbox.start("apply", "a", "--yes")
    wait_until(lambda: "check a" in first.output)
    second = project.sandbox.start("apply", "--plan", "p.json", "--yes")
    wait_until(lambda: "waiting: another orch is working on a" in second.output or second.process.poll() is not None)
    project.asleep()
    go.touch()
    assert ended(first) == 0
    assert ended(second) == 1
    assert "what it was made from" in second.output
    assert "Traceback" not in second.output


def test_another_card_than_the_one_that_was_shown_must_make_it_stale(project: Project, nvml: Nvml) -> None:
    project.env |= nvml.env
    project.profile(gpus=1)
    document = json.loads(keep(project).read_text())["content"]["plan"]
    (shown,) = next(step["gpus"]["indexes"] for step in document["steps"] if step["id"] == "start/a")
    nvml.process(shown, 1, 40_000)
    text = stale(project)
    assert f" and GPU {shown}\n" in next(part for part in text.split("  | ") if part.startswith("no longer: start a "))
    assert "  | now: start a " in text
    assert project.engine() == 0


# --------------------------------------------------------------------------------------------------- what is refused


def test_a_plan_for_a_declared_host_must_not_be_carried_out(project: Project, fake_runtime: Path) -> None:
    project.sandbox.environment(fake_runtime, host={"gpus": {"model": "Ada", "count": 1, "memory": "48GiB"}})
    project.profile()
    keep(project, "a", "--host", "fake")
    assert "it was made with `--host fake`" in carry_out(project, code=1)
    assert not project.state.exists()


def test_a_plan_of_another_project_must_be_refused(project: Project) -> None:
    project.profile()
    file = keep(project)
    other = project.sandbox.home / "other"
    shutil.copytree(project.sandbox.project, other)
    done = project.orch("apply", "--root", str(other), "--plan", str(file), "--yes", code=1)
    assert f"it is of the project in {project.sandbox.project}, and this one is in {other}" in done.stderr


@pytest.mark.parametrize(
    ("key", "says"), [("orch", "orch 0.0.1 made it, and this is orch"), ("host", "it was made on 0.0.1, and this is")]
)
def test_a_plan_of_another_orch_or_another_host_must_be_refused(project: Project, key: str, says: str) -> None:
    project.profile()
    file = keep(project)
    whole = json.loads(file.read_text())
    whole["content"]["origin"][key] = "0.0.1"
    whole["sha256"] = saved._checksum(whole["content"])
    file.write_text(json.dumps(whole))
    assert says in carry_out(project, code=1)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"name: a\n", b'{"kind": "orch plan"', b"[[[["], ids=range(5))
def test_what_is_no_plan_must_be_refused(project: Project, data: bytes) -> None:
    project.profile()
    (project.sandbox.project / "p.json").write_bytes(data)
    assert "orch: cannot carry out the plan in p.json: it is " in carry_out(project, code=1)


def test_a_plan_that_was_changed_by_hand_must_be_refused(project: Project) -> None:
    project.profile()
    file = keep(project)
    file.write_text(file.read_text().replace(str(project.port), str(project.free_port())))
    assert "it is damaged, or was changed by hand" in carry_out(project, code=1)


def test_a_file_that_cannot_be_read_must_be_named(project: Project) -> None:
    assert "cannot read the plan in p.json: no such file" in carry_out(project, code=1)
    (project.sandbox.project / "p.json").mkdir()
    assert "cannot read the plan in p.json: it is not a regular file" in carry_out(project, code=1)


def test_a_place_that_cannot_hold_a_plan_must_be_named_first(project: Project) -> None:
    project.profile()
    for place, why in {
        "no/such/p.json": "there is no folder no/such",
        "profiles": "it is a folder",
        "/dev/null": "it is not a regular file",
    }.items():
        done = project.orch("plan", "a", "--out", place, code=1)
        assert f"cannot write the plan to {place}: {why}; name another file" in done.stderr
        assert done.stdout == ""
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    "more", [["a"], ["--set", "drain=1s"], ["--prune"], ["--replace", "a"], ["--unpin"], ["--refresh"]], ids=" ".join
)
def test_what_a_plan_says_already_must_not_be_said_again(project: Project, more: list[str]) -> None:
    project.profile()
    keep(project)
    done = project.orch("apply", *more, "--plan", "p.json", "--yes", code=64)
    assert "cannot use --plan with a PATH or an option of planning" in done.stderr
    assert project.sandbox.living() == {}


def test_without_a_terminal_it_must_have_yes(project: Project) -> None:
    project.profile()
    keep(project)
    done = project.orch("apply", "--plan", "p.json", code=64)
    assert "add --yes" in done.stderr
    assert "Plan for" in done.stdout
    assert project.engine() == 0


def test_a_dry_run_must_show_it_and_tell_when_it_is_stale(project: Project) -> None:
    project.profile()
    keep(project)
    shown = project.orch("apply", "--plan", "p.json", "--dry-run").stdout
    assert shown == project.plan()
    project.profile(serve={"max_model_len": 512})
    project.orch("apply", "--plan", "p.json", "--dry-run", code=1)
    assert not project.state.exists()


# --------------------------------------------------------------------------------------------------------- markdown


def test_a_plan_must_be_had_as_a_comment(project: Project) -> None:
    assert project.orch("plan", "--output", "markdown").stdout.startswith("<!-- orch plan -->\n\n### Plan of `project`")
    project.profile()
    done = project.orch("plan", "a", "--output", "markdown", "--detailed-exitcode", code=2)
    assert "**1 to start, 0 to restart, 0 unchanged, 0 held**" in done.stdout
    assert "<details><summary>start <code>a</code></summary>" in done.stdout
    project.apply()
    assert "**0 to start, 0 to restart, 1 unchanged, 0 held**" in project.plan("a", "--output", "markdown")
