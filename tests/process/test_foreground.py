"""`orch run`: the engine's parent, in the foreground."""

import signal

import pytest
from deploy_kit import Project, ended, kill, serves
from fakes.sandbox import Background, wait_until


def running(project: Project, **args: object) -> Background:
    project.profile(args=args)
    found = project.sandbox.start("run", "a")
    wait_until(lambda: serves(project.port, "a"))
    return found


def test_a_foreground_engine_must_be_seen_and_left_alone(project: Project) -> None:
    run = running(project)
    pid = project.engine()
    assert project.row()["supervised_by"] == "orch run"
    assert "orch run" in project.orch("status").stdout
    done = project.apply(code=1)
    assert f"under `orch run` (pid {run.process.pid})" in done.stdout
    stop = project.orch("stop", "a", code=1)
    assert f"under `orch run` (pid {run.process.pid})" in stop.stdout + stop.stderr
    assert "runs already" in project.orch("run", "a", code=1).stderr
    assert project.engine() == pid
    run.process.terminate()
    assert ended(run) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_must_be_handed_on_and_leave_nothing(project: Project, number: signal.Signals) -> None:
    run = running(project, fake_children=2, fake_stubborn=True)
    run.process.send_signal(number)
    assert ended(run) == 0
    assert "Shutting down" in run.output
    assert project.sandbox.living() == {}


@pytest.mark.parametrize("blank", [{}, {"fake_blank_environ": True}])
def test_a_killed_engine_must_give_137_and_leave_nothing(project: Project, blank: dict[str, bool]) -> None:
    run = running(project, fake_children=2, fake_stubborn=True, **blank)
    wait_until(lambda: len(project.family()) == 3)
    kill(project.engine())
    assert ended(run) == 137
    assert project.sandbox.living() == {}


def test_the_engines_own_status_must_be_the_commands(project: Project) -> None:
    project.profile(args={"fake_exit_code": 3})
    project.orch("run", "a", code=3)
    assert not (project.state / "record.json").exists()


def test_nothing_but_the_wait_must_reap_the_engine(project: Project) -> None:
    """subprocess warns when it takes over a child whose object is gone; with the child it takes the exit status."""
    project.env["PYTHONWARNINGS"] = "always::ResourceWarning"
    project.profile(args={"fake_exit_code": 3})
    assert "is still running" not in project.orch("run", "a", code=3).stderr


def test_run_must_prepare_like_apply(project: Project) -> None:
    project.profile(args={"no_such_flag": 1})
    assert "unrecognized arguments" in project.orch("run", "a", code=1).stderr
    project.profile(model={"path": "/no/such/model"})
    assert "/no/such/model does not exist" in project.orch("run", "a", code=1).stderr
    project.profile("b", project.free_port())
    project.orch("run", "profiles", code=64)
    assert project.sandbox.living() == {}


def test_an_applied_engine_must_not_be_run_over(project: Project) -> None:
    pid = project.up()
    assert f"it runs already (pids {pid})" in project.orch("run", "a", code=1).stderr
    assert project.engine() == pid
