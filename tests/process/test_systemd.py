"""Engines as units, and the watcher as one, under a real systemd."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backend_kit import Driven
from deploy_kit import Project, alive, ended, environ, kill, serves
from fakes.sandbox import wait_until
from fakes.systemd import Inside, Systemd

from orchestrator.store import project_id

HIDDEN = "hunter2-hunter2"


@pytest.fixture
def inside(
    systemd: Systemd, tmp_path: Path, fake_runtime: Path, free_port: Callable[[], int], known_runtimes: Path
) -> Iterator[Project]:
    """A project whose commands run under that systemd. Its environment ``fake`` makes units."""
    sandbox = Inside.create(tmp_path / "home")
    sandbox.system = systemd
    sandbox.allow_leftovers()
    sandbox.env |= {"ORCH_CACHE_DIR": str(known_runtimes), "XDG_RUNTIME_DIR": systemd.runtime_dir}
    sandbox.environment(fake_runtime, backend="systemd")
    yield Project(sandbox, free_port)
    ending = ("kill --signal=KILL 'orch-*'", "stop 'orch-*'", "reset-failed 'orch-*'")
    systemd.run("sh", "-c", "; ".join(f"systemctl --user {one}" for one in ending), check=False)
    systemd.run("sh", "-c", f"rm -rf {systemd.home}/.config; systemctl --user daemon-reload", check=False)
    sandbox.close()


def units(project: Project, systemd: Systemd) -> list[str]:
    """Of this project that are loaded, whatever became of them."""
    pattern = f"orch-*{project_id(project.sandbox.project)}*"
    listed = systemd.run("systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", pattern)
    return [line.split()[0] for line in listed.splitlines()]


def test_a_deployment_must_be_a_unit_of_its_own(inside: Project, systemd: Systemd, fake_runtime: Path) -> None:
    inside.env["MY_KEY"] = HIDDEN
    inside.sandbox.environment(fake_runtime, backend="systemd", secrets={"VLLM_API_KEY": {"env": "MY_KEY"}})
    first = inside.up()
    (unit,) = units(inside, systemd)
    assert unit == f"orch-engine-{project_id(inside.sandbox.project)}-a-{inside.record()['attempt']['id']}.service"
    assert environ(first)["VLLM_API_KEY"] == HIDDEN
    assert HIDDEN not in systemd.run("systemctl", "--user", "show", unit)
    assert HIDDEN not in systemd.run("ps", "-ww", "-e", "-o", "args")
    assert "Nothing to change" in inside.plan()
    assert "startup complete" in inside.orch("logs", "a").stdout
    following = inside.sandbox.start("logs", "a", "-f")
    wait_until(lambda: "startup complete" in following.output)
    inside.profile(serve={"max_model_len": 128})
    assert "max_model_len" in inside.plan()
    inside.apply()
    assert inside.engine() not in (0, first)
    assert not alive(first)
    wait_until(lambda: "shutdown complete" in following.output)
    assert "shutdown complete" in inside.orch("logs", "a", "--previous").stdout
    assert "shutdown" not in inside.orch("logs", "a").stdout
    assert len(units(inside, systemd)) == 1
    inside.orch("stop", "a")
    assert units(inside, systemd) == []


def test_an_engine_that_was_killed_must_be_known_to_be_so(inside: Project, systemd: Systemd) -> None:
    pid = inside.up(args={"fake_children": 2})
    family = inside.family()
    assert len(family) == 3
    kill(pid)
    wait_until(lambda: not any(alive(one) for one in family))
    assert "its API server" in inside.orch("status").stdout
    assert "ended by signal 9" in inside.orch("status").stdout
    assert len(units(inside, systemd)) == 1
    inside.apply()
    assert serves(inside.port, "a")
    kill(inside.engine())
    inside.orch("delete", "a", "--yes")
    assert units(inside, systemd) == []


def test_a_start_that_fails_must_say_so_in_the_engines_words(inside: Project, systemd: Systemd) -> None:
    inside.profile(args={"fake_exit_code": 7})
    told = inside.apply("a", code=1).stderr
    assert "exit status 7" in told
    assert "Engine core initialization failed" in told


def test_a_unit_must_outlive_a_systemd_that_is_executed_anew(inside: Project, systemd: Systemd) -> None:
    pid = inside.up(args={"fake_children": 1})
    systemd.run("systemctl", "--user", "daemon-reexec")
    assert len(units(inside, systemd)) == 1
    assert inside.row()["phase"] == "ready"
    assert inside.engine() == pid
    inside.orch("stop", "a")
    assert inside.engine() == 0


def test_a_stop_must_take_what_left_its_session_and_has_no_marker(systemd: Systemd, tmp_path: Path) -> None:
    target = Driven("systemd", tmp_path, systemd)
    try:
        begun = target.engine(children=["escapes, blank", "escapes, deaf, blank"])
        wait_until(lambda: len(target("tail", log=begun["log"])) == 3)
        (found,) = target("list")
        assert len(found["children"]) == 2
        target("stop", name="a", drain=1)
        assert target("alive", pids=[found["leader"], *found["children"]]) == []
    finally:
        target.close()


def test_without_a_manager_nothing_must_be_stopped(project: Project, fake_runtime: Path) -> None:
    pid = project.up()
    project.env["PATH"] = "/nowhere"
    project.sandbox.environment(fake_runtime, backend="systemd")
    told = project.apply(code=1).stderr
    assert "cannot use `backend: systemd`: " in told
    assert "write `backend: local` in the environment" in told
    assert project.engine() == pid
    assert "install a service" in project.orch("service", "install", code=1).stderr


def test_in_the_foreground_an_engine_must_be_a_child_whatever_the_environment_says(
    project: Project, fake_runtime: Path
) -> None:
    project.sandbox.environment(fake_runtime, backend="systemd")
    project.profile()
    run = project.sandbox.start("run", "a")
    wait_until(lambda: serves(project.port, "a"))
    run.process.send_signal(signal.SIGTERM)
    assert ended(run) == 0


def test_the_watcher_must_come_and_go_and_what_it_keeps_up_must_stay(
    inside: Project, systemd: Systemd, fake_runtime: Path
) -> None:
    inside.sandbox.environment(fake_runtime, name="plain")
    ports = {"a": inside.port, "b": inside.free_port()}
    inside.profile("a", ports["a"])
    inside.profile("b", ports["b"], environment="plain")
    inside.apply()
    assert "orch service install" in inside.orch("service", "status").stdout
    inside.orch("service", "install")
    unit = inside.orch("service", "status", "--output", "json").json
    assert (unit["active"], unit["enabled"], unit["lingering"]) == (True, True, True)
    assert systemd.run("loginctl", "show-user", str(os.getuid()), "--property=Linger") == "Linger=yes"
    # What the watcher itself starts is what its own end could take along.
    for name, port in ports.items():
        first = inside.engine(name)
        kill(first)
        wait_until(lambda name=name, port=port, first=first: inside.engine(name) != first and serves(port, name), 20)
    engines = {name: inside.engine(name) for name in ports}
    systemd.run("systemctl", "--user", "restart", unit["unit"])
    wait_until(lambda: inside.watcher() not in (0, unit["pid"]))
    again = inside.orch("service", "install").stdout
    assert f"(pid {inside.watcher()})" in again
    systemd.run("systemctl", "--user", "stop", unit["unit"])
    assert "runs     no" in inside.orch("service", "status", code=3).stdout
    inside.orch("service", "uninstall")
    assert "is not installed" in inside.orch("service", "uninstall").stdout
    assert not Path(unit["file"]).exists()
    assert {name: inside.engine(name) for name in ports} == engines
    assert all(serves(port, name) for name, port in ports.items())


def test_what_the_unit_does_not_see_must_be_said(inside: Project, fake_runtime: Path) -> None:
    inside.env |= {"MY_TOKEN": HIDDEN, "HTTPS_PROXY": f"http://me:{HIDDEN}@proxy:1"}
    inside.sandbox.environment(fake_runtime, secrets={"HF_TOKEN": {"env": "MY_TOKEN"}})
    shown = inside.orch("service", "install", "--dry-run")
    assert HIDDEN not in shown.stdout + shown.stderr
    assert "the secret HF_TOKEN, which fake.yaml takes from the variable MY_TOKEN" in shown.stderr
    assert "the variable HTTPS_PROXY, whose value holds a password" in shown.stderr
    place = next(line for line in shown.stdout.splitlines() if line.startswith("EnvironmentFile="))
    file = Path(place.partition("=-")[2])
    file.parent.mkdir(parents=True)
    file.write_text("MY_TOKEN=x\nHTTPS_PROXY=http://me:y@proxy:1\n")
    assert "does not see" not in inside.orch("service", "install", "--dry-run").stderr


def test_a_project_that_somebody_watches_must_not_get_a_second_watcher(inside: Project, systemd: Systemd) -> None:
    inside.up()
    watcher = inside.sandbox.start("watch")
    wait_until(inside.watcher)
    told = inside.orch("service", "install", code=1).stderr
    assert f"`orch watch` (pid {inside.watcher()}) watches this project already" in told
    systemd.run("kill", str(inside.watcher()))
    assert ended(watcher) == 0
    assert json.loads(inside.orch("service", "status", "-o", "json").stdout)["installed"] is False
