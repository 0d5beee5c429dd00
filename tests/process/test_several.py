"""More than one deployment: one plan, one port, one after the other; and more than one orch at a time."""

import signal
import sys
from pathlib import Path

from deploy_kit import Project, ended, serves
from fakes.sandbox import Background, wait_until

LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('up', flush=True)"
HOLD = f"{LISTEN}; time.sleep(600)"


def holder(project: Project, port: int) -> Background:
    """A listener that orch did not start."""
    found = project.sandbox.start_command([sys.executable, "-c", HOLD, str(port)])
    wait_until(lambda: "up" in found.output)
    return found


def test_a_port_of_somebody_else_must_be_named_and_left_alone(project: Project) -> None:
    pid = project.up()
    other = project.free_port()
    listener = holder(project, other)
    project.profile(port=other)
    done = project.apply(code=1)
    assert f"port {other} is in use by pid {listener.process.pid}" in done.stderr
    assert "profiles/a.yaml:" in done.stderr
    assert listener.process.poll() is None
    assert project.engine() == pid
    project.orch("apply", "a", "--yes", "--set", f"serve.port={project.free_port()}")
    assert project.engine() not in {0, pid}


def test_two_profiles_on_one_port_must_be_refused_together(project: Project) -> None:
    project.profile("a")
    project.profile("b")
    done = project.apply(code=1)
    assert f"{project.port}" in done.stderr
    assert "profiles/b.yaml:" in done.stderr
    project.orch("validate", "--together", code=1)
    project.orch("validate")
    assert project.sandbox.living() == {}


def test_a_held_port_must_be_refused_until_its_holder_is_replaced(project: Project) -> None:
    project.up("a")
    project.profile("b")
    assert "--replace a" in project.apply("b", code=1).stderr
    assert serves(project.port, "a")
    project.orch("apply", "b", "--replace", "a", "--yes")
    assert serves(project.port, "b")
    assert project.engine("a") == 0
    row = project.row("a")
    assert row["phase"] == "stopped"
    assert row["notes"] == ["replaced by b"]
    assert "Nothing to change" in project.orch("plan").stdout


def test_a_replaced_deployment_must_serve_again_when_its_successor_fails(project: Project) -> None:
    project.up("a")
    project.profile("b", args={"fake_exit_code": 1})
    done = project.orch("apply", "b", "--replace", "a", "--yes", code=1)
    assert "brought back a" in done.stderr
    assert serves(project.port, "a")
    assert project.engine("b") == 0
    assert project.row("a")["phase"] == "ready"


def test_a_replaced_deployment_must_serve_again_when_its_successor_hangs(project: Project) -> None:
    project.up("a")
    project.profile("b", args={"fake_never_ready": True})
    project.orch("apply", "b", "--replace", "a", "--yes", "--timeout", "0.5s", code=1)
    assert serves(project.port, "a")
    assert project.engine("b") == 0


def test_a_failing_second_must_leave_the_first_up_and_the_third_untouched(project: Project) -> None:
    ports = {name: project.free_port() for name in "abc"}
    project.profile("a", ports["a"])
    project.profile("b", ports["b"], args={"fake_exit_code": 1})
    project.profile("c", ports["c"])
    done = project.apply(code=1)
    assert "cannot start b" in done.stderr
    assert "a is ready" in done.stdout
    assert serves(ports["a"], "a")
    assert project.engine("b") == project.engine("c") == 0


def test_prune_must_remove_what_is_outside_the_set(project: Project) -> None:
    a = project.up("a")
    project.up("b", project.free_port())
    assert "not in the set" in project.orch("plan", "a", "--prune").stdout
    project.orch("apply", "a", "--prune", "--yes")
    assert project.engine("a") == a
    assert project.engine("b") == 0
    assert [row["name"] for row in project.orch("status", "--output", "json").json["deployments"]] == ["a"]


def test_two_deployments_must_be_able_to_swap_their_ports(project: Project) -> None:
    one, two = project.port, project.free_port()
    project.profile("a", one)
    project.profile("b", two)
    project.apply()
    project.profile("a", two)
    project.profile("b", one)
    project.apply()
    assert serves(one, "b")
    assert serves(two, "a")
    assert "Nothing to change" in project.plan()


# ---------------------------------------------------------------------------------------------------- at one time


def held(project: Project, **keys: object) -> tuple[Background, Path]:
    """An apply of ``a`` that waits for its engine, and the file that lets the engine be ready."""
    go = project.sandbox.home / "go"
    project.profile(args={"fake_wait_for": str(go)}, **keys)
    first = project.sandbox.start("apply", "a", "--yes")
    wait_until(lambda: "await a: " in first.output)
    project.asleep()
    return first, go


def test_a_second_apply_must_wait_and_find_nothing_to_do(project: Project) -> None:
    first, go = held(project)
    second = project.sandbox.start("apply", "a", "--yes")
    wait_until(lambda: "waiting: another orch is working on a" in second.output)
    pid = project.engine()
    go.touch()
    assert ended(first) == 0
    assert ended(second) == 0
    assert project.engine() == pid


def test_a_second_apply_of_an_older_world_must_be_refused(project: Project) -> None:
    first, go = held(project)
    project.profile(args={"fake_wait_for": str(go)}, serve={"max_model_len": 512})
    second = project.sandbox.start("apply", "a", "--yes")
    wait_until(lambda: "waiting: another orch is working on a" in second.output)
    pid = project.engine()
    go.touch()
    assert ended(first) == 0
    assert ended(second) == 1
    assert "the world changed" in second.output
    assert "Traceback" not in second.output
    assert project.engine() == pid


def test_ctrl_c_must_leave_the_engine_starting_for_the_next_apply(project: Project) -> None:
    first, go = held(project)
    pid = project.engine()
    first.process.send_signal(signal.SIGINT)
    assert ended(first) == 130
    assert "a goes on starting" in first.output
    assert "Traceback" not in first.output
    assert project.engine() == pid
    assert project.row()["phase"] == "starting"

    second = project.sandbox.start("apply", "a", "--yes")
    wait_until(lambda: "await a: " in second.output)
    second.process.send_signal(signal.SIGTERM)
    assert ended(second) == 130
    assert "a goes on starting" in second.output

    go.touch()
    project.apply("a")
    assert project.engine() == pid
    assert "Nothing to change" in project.plan()


def test_ctrl_c_while_another_orch_works_must_change_nothing(project: Project) -> None:
    first, go = held(project)
    second = project.sandbox.start("apply", "a", "--yes")  # not `stop`, for which the first would make way
    wait_until(lambda: "waiting: another orch" in second.output)
    second.process.send_signal(signal.SIGINT)
    assert ended(second) == 130
    assert "orch: cannot go on: it was interrupted" in second.output
    assert "Traceback" not in second.output
    go.touch()
    assert ended(first) == 0
    assert serves(project.port, "a")
