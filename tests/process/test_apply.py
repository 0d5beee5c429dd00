"""What `apply` makes of a profile, of an edit, and of an edit that cannot start."""

import json
import shlex
import signal

import pytest
from deploy_kit import Project, alive, ask, ended, fields, in_session, kill, serves
from fakes.sandbox import wait_until


def test_apply_must_end_with_an_engine_that_answers(project: Project) -> None:
    project.profile()
    done = project.apply()
    assert serves(project.port, "a")
    assert f"http://127.0.0.1:{project.port}/v1" in done.stdout
    assert project.row()["pid"] == project.engine()


def test_apply_twice_must_change_nothing(project: Project) -> None:
    pid = project.up()
    done = project.apply()
    assert "Nothing to change" in done.stdout
    assert project.engine() == pid
    project.orch("plan", "a", "--detailed-exitcode", code=0)


def test_an_edit_must_be_named_in_the_plan_and_restart_the_whole_tree(project: Project) -> None:
    old = project.up(args={"fake_children": 2}, serve={"max_model_len": 256})
    project.profile(args={"fake_children": 2}, serve={"max_model_len": 512})
    plan = project.orch("plan", "a", "--detailed-exitcode", code=2).stdout
    assert "serve.max_model_len: 256 -> 512" in plan
    assert project.row()["drift"] == "serve.max_model_len"
    assert project.engine() == old
    project.apply()
    assert project.engine() not in {0, old}
    assert in_session(old) == []
    assert json.loads(ask(project.port)[1])["data"][0]["max_model_len"] == 512
    assert "Nothing to change" in project.plan()


def test_an_edit_of_policy_alone_must_not_restart(project: Project) -> None:
    pid = project.up()
    project.profile(readiness={"timeout": "33s"})
    assert "policy changed" in project.plan()
    project.apply()
    assert project.engine() == pid
    assert project.record()["revision"]["deployment"]["policy"]["ready_timeout"] == 33
    assert "Nothing to change" in project.plan()


def test_an_edit_that_cannot_start_must_bring_the_old_revision_back(project: Project) -> None:
    old = project.up()
    project.profile(serve={"max_model_len": 99999})
    done = project.apply(code=1)
    assert "User-specified max_model_len (99999) is greater" in done.stderr
    assert project.engine() not in {0, old}
    assert serves(project.port, "a")
    restored = project.engine()

    held = project.apply(code=1)
    assert "left as it is: it failed before" in held.stdout
    assert project.engine() == restored

    project.orch("apply", "a", "--unpin", "--yes", code=1)
    assert project.engine() not in {0, restored}

    project.profile(serve={"max_model_len": 512})
    project.apply()
    assert serves(project.port, "a")
    assert project.record()["revision"]["number"] == 2


def test_a_digest_that_failed_and_works_now_must_be_cleared(project: Project) -> None:
    project.up()
    flag = project.sandbox.home / "go"
    project.profile(args={"fake_wait_for": str(flag)})
    project.orch("apply", "a", "--yes", "--timeout", "1s", code=1)
    assert project.record()["rejected"]
    flag.touch()
    project.orch("apply", "a", "--yes", "--unpin")
    assert "rejected" not in project.record()
    assert "Nothing to change" in project.plan()


def test_a_first_start_that_fails_must_leave_nothing_and_say_why(project: Project) -> None:
    said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    project.profile(args={"fake_exit_code": 3, "fake_children": 2, "fake_log": [said]})
    done = project.apply(code=1)
    assert "cannot start a: " in done.stderr
    assert "CUDA out of memory" in done.stderr
    assert project.sandbox.living() == {}
    row = project.row()
    assert row["phase"] == "failed"
    assert any("exit status 3" in note for note in row["notes"])


@pytest.mark.parametrize("late", [{}, {"fake_late_listen": True}])
def test_an_engine_that_is_never_ready_must_be_ended_at_the_deadline(project: Project, late: dict[str, bool]) -> None:
    project.profile(args={"fake_never_ready": True, "fake_children": 1} | late)
    done = project.orch("apply", "a", "--yes", "--timeout", "1s", code=1)
    assert "it was not ready within 1s" in done.stderr
    assert project.sandbox.living() == {}
    assert ask(project.port, "/health")[0] == 0


def test_an_edit_that_is_never_ready_must_bring_the_old_revision_back(project: Project) -> None:
    project.up()
    project.profile(args={"fake_never_ready": True})
    project.orch("apply", "a", "--yes", "--timeout", "1s", code=1)
    assert serves(project.port, "a")
    assert len(project.sandbox.living()) == 1


def test_a_flag_the_engine_refuses_must_be_found_before_anything_stops(project: Project) -> None:
    pid = project.up()
    file = project.profile(args={"max_num_sequences": 8})
    done = project.apply(code=1)
    assert "unrecognized arguments: --max-num-sequences" in done.stderr
    assert str(file.relative_to(project.sandbox.project)) in done.stderr
    assert project.engine() == pid
    assert "rejected" not in project.record()


def test_an_engine_that_died_must_be_started_again(project: Project) -> None:
    old = project.up()
    kill(old)
    row = project.row()
    assert row["phase"] == "failed"
    assert any("gone without a word" in note for note in row["notes"])
    assert "a: died" in project.plan()
    project.apply()
    assert serves(project.port, "a")


@pytest.mark.parametrize("blank", [{}, {"fake_blank_environ": True}])
def test_children_of_a_killed_leader_must_be_shown_and_cleared(project: Project, blank: dict[str, bool]) -> None:
    old = project.up(args={"fake_children": 2, "fake_stubborn": True} | blank)
    left = [pid for pid in project.family() if pid != old]
    assert len(left) == 2
    kill(old)
    row = project.row()
    assert row["phase"] == "failed"
    assert sorted(row["processes"]) == sorted(left)
    project.apply()
    assert not any(alive(pid) for pid in left)
    assert serves(project.port, "a")


def test_stop_must_end_what_a_killed_leader_left(project: Project) -> None:
    old = project.up(args={"fake_children": 2, "fake_stubborn": True})
    kill(old)
    project.orch("stop", "a")
    assert project.sandbox.living() == {}
    assert project.row()["phase"] == "stopped"


@pytest.mark.parametrize("streams", ["2>&1", "2>&1 >/dev/null"])
def test_a_reader_that_goes_away_must_not_leave_the_engine_dead(project: Project, streams: str) -> None:
    """With both streams it leaves at the plan, with stderr alone at the stop itself."""
    project.up()
    project.profile(serve={"max_model_len": 512})
    command = shlex.join(project.sandbox.command("apply", "a", "--yes"))
    shell = project.sandbox.start_command(["bash", "-c", f"{command} {streams} | grep -q 'stop a'"])
    assert ended(shell) == 0
    assert serves(project.port, "a")


def test_a_hung_up_terminal_must_be_taken_like_ctrl_c(project: Project) -> None:
    project.profile(args={"fake_never_ready": True})
    apply = project.sandbox.start("apply", "a", "--yes")
    pid = project.asleep()
    apply.process.send_signal(signal.SIGHUP)
    assert ended(apply) == 130
    assert "a goes on starting" in apply.output
    assert alive(pid)


def test_deleted_state_must_lose_no_engine(project: Project) -> None:
    pid = project.up(args={"fake_children": 1})
    wait_until(lambda: len(project.family()) == 2)
    for file in sorted(project.state.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    assert project.row()["pid"] == pid
    assert project.row()["phase"] == "ready"
    plan = project.plan()
    assert "record a" in plan
    assert "stop a" not in plan
    project.apply()
    assert project.engine() == pid
    assert project.record()["attempt"]["pid"] == pid
    assert project.record()["attempt"]["start"] == int(fields(pid)[19])
    assert "Nothing to change" in project.plan()
