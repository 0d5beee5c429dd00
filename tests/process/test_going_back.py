"""What is down must come up again, and what serves must not be stopped for a reason that is orch's own."""

import shutil
import signal
from pathlib import Path

import pytest
from deploy_kit import Project, alive, ask, ended, left_starting, request_in_flight, serves
from fakes.sandbox import wait_until


def test_a_record_that_cannot_be_written_must_not_end_what_serves(project: Project) -> None:
    pid = project.up()
    revisions = project.folder() / "revisions"
    shutil.rmtree(revisions)
    revisions.write_text("in the way of the folder")
    project.profile(readiness={"timeout": "21s"})
    assert "orch's state" in project.apply(code=1).stderr
    assert alive(pid)
    project.profile(serve={"max_model_len": 128})
    assert "orch's state" in project.apply(code=1).stderr
    assert serves(project.port, "a")
    project.sandbox.allow_leftovers()


def test_a_start_left_alone_that_fails_later_must_bring_the_old_revision_back(project: Project) -> None:
    project.up()
    project.profile(args={"fake_never_ready": True})
    apply = project.sandbox.start("apply", "a", "--yes")
    project.asleep()
    wait_until(lambda: "await a" in apply.output)
    apply.process.send_signal(signal.SIGINT)
    assert ended(apply) == 130
    done = project.orch("apply", "a", "--yes", "--timeout", "1s", code=1)
    assert "brought back a" in done.stderr
    assert serves(project.port, "a")
    project.orch("stop", "a")


def test_what_comes_back_must_keep_its_key(project: Project, fake_runtime: Path) -> None:
    """Applied, left alone by Ctrl-C, ready without a witness: there is an attempt and no revision."""
    project.env["KEY"] = "sk-secret-1"
    project.sandbox.environment(fake_runtime, secrets={"VLLM_API_KEY": {"env": "KEY"}})
    go = left_starting(project)
    go.touch()
    wait_until(lambda: ask(project.port, key="sk-secret-1")[0] == 200)
    project.profile(args={"fake_exit_code": 3})
    assert "brought back a" in project.apply(code=1).stderr
    assert ask(project.port)[0] == 401
    assert ask(project.port, key="sk-secret-1")[0] == 200
    project.orch("stop", "a")


def test_two_names_must_not_race_for_one_port(project: Project) -> None:
    go = project.sandbox.home / "go"
    project.profile("a", args={"fake_wait_for": str(go)})
    project.profile("b")
    first = project.sandbox.start("apply", "a", "--yes")
    project.asleep("a")
    second = project.sandbox.start("apply", "b", "--yes")
    wait_until(lambda: ended(second) == 1 if second.process.poll() is not None else "waiting" in second.output)
    go.touch()
    assert ended(first) == 0
    assert ended(second) == 1
    assert "a" in second.output
    assert project.engine("b") == 0
    project.orch("stop", "a")


def test_a_bare_apply_must_keep_what_was_set_on_the_command_line(project: Project) -> None:
    other = project.free_port()
    project.profile()
    project.orch("apply", "a", "--yes", "--set", f"serve.port={other}")
    pid = project.engine()
    assert "Nothing to change" in project.orch("plan").stdout
    assert "Nothing to change" in project.orch("apply", "--yes").stdout
    assert project.engine() == pid
    project.orch("stop", "a")


@pytest.mark.parametrize("asked", ["stop", "delete"])
def test_an_interrupted_stop_must_end_where_it_says(project: Project, asked: str) -> None:
    """Ctrl-C while the first one drains: it is finished, the second is left alone, and the exit says so."""
    project.up("a")
    other = project.free_port()
    project.profile("b", other)
    project.apply("b")
    go = project.sandbox.home / "answer"
    client = request_in_flight(project, go)
    words = ["stop", "a", "b"] if asked == "stop" else ["delete", "a", "b", "--yes"]
    command = project.sandbox.start(*words)
    wait_until(lambda: "stop a" in command.output)
    wait_until(lambda: ask(project.port, "/health")[0] == 0)
    command.process.send_signal(signal.SIGINT)
    go.touch()
    assert ended(client) == 0
    assert ended(command) == 130
    assert project.engine("a") == 0
    assert serves(other, "b")
    project.orch("stop", "b")
