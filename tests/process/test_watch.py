"""`orch watch`: what crashes comes back, what is edited is applied once it is valid, and the rest is left alone."""

import json
import os
import signal
import sys
from typing import Any

import pytest
from deploy_kit import Project, alive, ended, fields, kill, left_starting, serves
from fakes.sandbox import Background, wait_until


@pytest.fixture
def watch(project: Project) -> Any:
    """Starts a watcher over what is deployed, or PATHs, and waits until it has looked around."""

    def start(*paths: str) -> Background:
        watcher = project.sandbox.start("watch", *paths)
        wait_until(lambda: project.watcher() == watcher.process.pid)
        return watcher

    return start


def stop(watcher: Background) -> None:
    watcher.process.send_signal(signal.SIGTERM)
    assert ended(watcher) == 0, watcher.output


def comes_back(project: Project, *before: int, name: str = "a") -> int:
    """Waits for another engine that serves and is on record as ready; answers its pid."""
    wait_until(lambda: project.engine(name) not in (0, *before) and is_recorded(project, name))
    return project.engine(name)


def is_recorded(project: Project, name: str = "a") -> bool:
    """Its engine, as one that became ready."""
    found = list(project.state.glob(f"*/*/{name}/record.json"))
    attempt = json.loads(found[0].read_text())["record"].get("attempt", {}) if found else {}
    return "ready_at" in attempt and attempt["pid"] == project.engine(name)


def test_what_crashes_must_come_back_by_itself(project: Project, watch: Any) -> None:
    first = project.up()
    watcher = watch()
    kill(first)
    second = comes_back(project, first)
    assert project.record()["attempt"]["by"] == "watch"
    kill(second)
    comes_back(project, first, second)
    assert project.record()["deaths"][1]["why"] == "its API server ended by signal 9"
    row = project.row()
    assert (row["restarts"], row["supervised_by"]) == (2, f"orch watch (pid {watcher.process.pid})")
    stop(watcher)
    assert serves(project.port, "a")
    assert "Nothing watches this project" in project.orch("status").stdout


def test_an_edit_must_be_applied_once_it_is_valid(project: Project, watch: Any) -> None:
    first = project.up()
    watcher = watch()
    good = project.profile(serve={"max_model_len": 128}).read_text()
    second = comes_back(project, first)
    file = project.sandbox.project / "profiles/a.yaml"
    file.write_text(good.replace("128", '"many"'))
    wait_until(lambda: "max_model_len" in watcher.output)
    wait_until(lambda: "not applied" in project.orch("status").stdout)
    kill(second)  # while the file is broken: it comes back as it was
    third = comes_back(project, second)
    file.write_text(good.replace("128", "64"))
    comes_back(project, third)
    wait_until(lambda: "not applied" not in project.orch("status").stdout)
    stop(watcher)
    assert "Nothing to change" in project.plan("a")


def test_what_a_person_stops_must_stay_stopped(project: Project, watch: Any) -> None:
    go = project.sandbox.home / "go"
    project.profile(args={"fake_wait_for": str(go)})
    watcher = watch("profiles")  # nothing is deployed: it begins by starting it
    project.asleep()
    project.orch("stop", "a")  # and does not keep a person waiting until that is ready
    assert project.engine() == 0
    project.profile(serve={"max_model_len": 64})
    wait_until(lambda: "another orch takes over" in watcher.output)
    other = project.free_port()
    project.profile("b", other)  # a new one in the folder shows that it has looked at the files since
    comes_back(project, name="b")
    assert project.engine() == 0
    go.touch()
    project.orch("start", "a", code=1)  # it never was ready
    project.apply("a")
    pid = project.engine()
    kill(pid)
    comes_back(project, pid)
    stop(watcher)


def test_a_crash_loop_must_end_and_a_person_may_begin_anew(project: Project, watch: Any) -> None:
    crash = project.sandbox.home / "crash"
    first = project.up(args={"fake_exit_when": str(crash)}, restart={"attempts": 1})
    watcher = watch()
    crash.touch()
    wait_until(lambda: project.record().get("given_up"))
    assert project.engine() == 0
    assert not alive(first)
    row = project.row()
    assert row["phase"] == "failed"
    assert any("ended 2 times within 1h" in note and "orch start a" in note for note in row["notes"])
    crash.unlink()
    project.orch("start", "a")
    assert "given_up" not in project.record()
    assert "deaths" not in project.record()
    stop(watcher)


def test_what_cannot_cure_itself_must_not_be_tried_again(project: Project, watch: Any) -> None:
    said = "ValidationError: 1 validation error for ModelConfig"
    project.profile(args={"fake_log": [said], "fake_exit_code": 1})
    watcher = watch("profiles")
    wait_until(lambda: "not tried again" in watcher.output)
    assert len(list((project.folder() / "logs").glob("*.log"))) == 1
    assert "refuses its settings (ModelConfig)" in project.record()["given_up"]
    project.profile()
    comes_back(project)
    stop(watcher)


def test_never_means_never(project: Project, watch: Any) -> None:
    pid = project.up(restart={"policy": "never"})
    watcher = watch()
    kill(pid)
    wait_until(lambda: "restart policy leaves it so" in watcher.output)
    assert project.engine() == 0
    stop(watcher)


def test_only_one_must_watch_and_its_end_must_change_nothing(project: Project, watch: Any) -> None:
    first = project.up()
    watcher = watch()
    assert f"pid {watcher.process.pid} does already" in project.orch("watch", code=1).stderr
    kill(watcher.process.pid)
    ended(watcher)
    assert serves(project.port, "a")
    kill(first)  # unwatched
    assert project.row()["supervised_by"] == ""
    again = watch()
    comes_back(project, first)
    stop(again)


def test_plan_only_must_report_and_change_nothing(project: Project) -> None:
    pid = project.up()
    watcher = project.sandbox.start("watch", "--plan-only")
    wait_until(project.watcher)
    project.profile(serve={"max_model_len": 64})
    wait_until(lambda: "serve.max_model_len" in watcher.output)
    kill(pid)
    wait_until(lambda: "died" in watcher.output)
    assert project.engine() == 0
    stop(watcher)


def test_a_start_that_was_left_alone_must_be_recorded(project: Project, watch: Any) -> None:
    go = left_starting(project)
    watcher = watch()
    go.touch()
    wait_until(lambda: is_recorded(project))
    stop(watcher)


def test_after_a_reboot_all_that_is_meant_to_run_must_start(project: Project, watch: Any) -> None:
    pid = project.up()
    project.up("b", project.free_port())
    project.orch("stop", "b")
    kill(pid)
    file = project.folder() / "record.json"
    record = json.loads(file.read_text())
    record["record"]["attempt"]["boot"] = "another"
    file.write_text(json.dumps(record))
    watcher = watch()
    comes_back(project, pid)
    assert project.engine("b") == 0
    assert "deaths" not in project.record()
    stop(watcher)


IMPATIENT = """
from dataclasses import replace
from orchestrator.cli.watching import charge
from orchestrator.liveness import Limits
from orchestrator.watch import Watch
limits = Limits(stopped=0.2)
Watch(replace(charge([], False, None, None), every=0.3, limits=limits)).run()
"""


def test_a_hung_one_must_be_dumped_and_started_anew(project: Project) -> None:
    pid = project.up(args={"fake_children": 1})
    family = project.family()
    watcher = project.sandbox.start_command([sys.executable, "-c", IMPATIENT])
    wait_until(project.watcher)
    for member in family:
        os.kill(member, signal.SIGSTOP)
    comes_back(project, pid)
    assert not any(fields(member) for member in family)
    dump = next((project.folder() / "logs").glob("*.dump"))
    assert "API server" in dump.read_text()
    assert str(dump) in watcher.output
    assert dump.stat().st_mode & 0o077 == 0
    assert serves(project.port, "a")
    assert project.record()["deaths"][0]["why"] == f"its API server (pid {pid}) is stopped (SIGSTOP)"
    stop(watcher)


def test_a_hung_one_that_nobody_may_start_again_must_be_left_and_told(project: Project) -> None:
    pid = project.up(restart={"policy": "never"})
    watcher = project.sandbox.start_command([sys.executable, "-c", IMPATIENT])
    wait_until(project.watcher)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: "restart policy leaves it so" in watcher.output)
    assert any("it hangs" in note and "orch restart a" in note for note in project.row()["notes"])
    assert len(project.record()["deaths"]) == 1
    assert alive(pid)
    stop(watcher)
    project.orch("restart", "a")
    assert project.engine() not in (0, pid)


TIDY = """
from dataclasses import replace
from orchestrator import log_parts, log_rotation
from orchestrator.cli.watching import charge
from orchestrator.watch import Watch
log_parts.LIMIT = 20_000
room = log_rotation.free
def free(folder):
    with (folder / "asked").open("a") as asked:
        asked.write("x")
    return room(folder) if (folder / "go").exists() else 0
log_rotation.free = free
Watch(replace(charge([], False, None, None), every=0.1)).run()
"""


def test_a_log_that_becomes_too_long_must_be_rotated_and_what_hinders_that_be_said_once(project: Project) -> None:
    pid = project.up()
    log = next((project.folder() / "logs").glob("*.log"))
    watcher = project.sandbox.start_command([sys.executable, "-c", TIDY])
    wait_until(project.watcher)
    with log.open("a") as stream:
        stream.write("line\n" * 5000)
    said = "it goes on growing; free some space"
    wait_until(lambda: said in watcher.output)
    wait_until(lambda: (log.parent / "asked").stat().st_size >= 3)
    whole = log.read_bytes()
    (log.parent / "go").touch()
    wait_until(lambda: log.stat().st_size <= 4096)
    stop(watcher)
    assert watcher.output.count(said) == 1
    assert log.with_name(f"{log.name}.1").read_bytes() + log.read_bytes() == whole
    assert project.engine() == pid
