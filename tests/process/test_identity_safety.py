"""Nothing is signalled that is not proven ours; all that is ours goes, however deaf."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deploy_kit import Project, alive, environ, fields, in_session, kill
from fakes.sandbox import Background, Sandbox, wait_until

from orchestrator import proc
from orchestrator.backends.local import Local
from orchestrator.model import Instance, Launch, Marker

SLEEP = "import time; time.sleep(600)"
SHELL = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], env={{"ORCH_MARK": sys.argv[1]}})
print(child.pid, flush=True)
child.wait()
time.sleep(600)
"""


def foreign(project: Project) -> Background:
    """Somebody's process, in a session of its own, without a marker."""
    return project.sandbox.start_command([sys.executable, "-c", SLEEP])


def shell_with(project: Project, mark: str) -> tuple[Background, int]:
    """A login shell, as it were, and in its session a process that carries a copied marker."""
    shell = project.sandbox.start_command([sys.executable, "-c", SHELL, mark])
    wait_until(lambda: "\n" in shell.output)
    return shell, int(shell.output)


def test_a_foreign_process_must_never_be_touched(project: Project) -> None:
    other = foreign(project)
    project.up(args={"fake_children": 1})
    project.orch("restart", "a")
    kill(project.engine())
    project.apply()
    project.orch("delete", "--all", "--yes")
    assert other.process.poll() is None


def test_bytes_that_are_no_text_must_be_kept_as_arguments_and_can_be_shown() -> None:
    odd = os.fsdecode(b"\xff")
    words = [f"title {odd}", "-c", "input()", odd]
    with subprocess.Popen(words, executable=sys.executable, stdin=subprocess.PIPE) as one:
        wait_until(lambda: proc.arguments(one.pid) == words)
        row = proc.read(one.pid)
        assert row is not None
        assert row.command == "title \ufffd"
        one.communicate(b"\n")
    assert proc.arguments(one.pid) == []


def test_a_copied_marker_must_not_condemn_the_shell_it_sits_in(project: Project) -> None:
    pid = project.up()
    shell, marked = shell_with(project, environ(pid)["ORCH_MARK"])
    kill(pid)
    assert project.row()["processes"] == [marked]
    project.apply()
    assert not alive(marked)
    assert shell.process.poll() is None


def test_a_recorded_pid_that_was_reused_must_never_be_signalled(project: Project) -> None:
    pid = project.up()
    other = foreign(project)
    kill(pid)
    file = project.folder() / "record.json"
    document = json.loads(file.read_text())
    document["record"]["attempt"]["pid"] = other.process.pid
    file.write_text(json.dumps(document))
    assert project.row()["processes"] == []
    project.apply()
    project.orch("stop", "a")
    assert other.process.poll() is None


def test_a_process_that_writes_the_log_from_elsewhere_must_never_be_signalled(project: Project) -> None:
    pid = project.up()
    log = Path(project.record()["attempt"]["log"])
    with log.open("ab") as stream:
        other = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", SLEEP],
            project.env,
            file_actions=[(os.POSIX_SPAWN_DUP2, stream.fileno(), 1)],
            setsid=False,
        )
    try:
        kill(pid)
        assert project.row()["processes"] == []
        project.orch("stop", "a")
        assert alive(other)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


# ------------------------------------------------------------------------------------------- the target by itself


class Started:
    """One fake engine, started by the target itself, whose patience is short."""

    def __init__(self, sandbox: Sandbox, runtime: Path, port: int) -> None:
        self.sandbox, self.runtime, self.port = sandbox, runtime, port
        self.instance: Instance
        self.target = Local(leader_grace=0.2, child_grace=0.2)

    def start(self, *flags: str) -> Instance:
        marker = Marker("elsewhere-00000000", "a", "00001-aaaaaaaa")
        argv = (str(self.runtime / "bin" / "vllm"), "serve", "m", "--host", "127.0.0.1", "--port", str(self.port))
        env = self.sandbox.env | {"ORCH_MARK": "elsewhere-00000000/a/00001-aaaaaaaa/"}
        log = self.sandbox.home / "engine.log"
        instance = self.target.start(marker, Launch((*argv, *flags), env), {}, log)
        self.instance = instance
        wait_until(lambda: "startup complete" in log.read_text())
        return instance


@pytest.fixture
def started(sandbox: Sandbox, fake_runtime: Path, free_port: Callable[[], int]) -> Iterator[Started]:
    made = Started(sandbox, fake_runtime, free_port())
    yield made
    made.target.wait(made.instance, 5)  # reaps it


@pytest.mark.parametrize(
    "flags", [["--fake-ignore-term"], ["--fake-stubborn"], ["--fake-ignore-term", "--fake-stubborn"]]
)
@pytest.mark.parametrize("blank", [[], ["--fake-blank-environ"]])
def test_the_deaf_must_be_killed_when_their_time_is_over(started: Started, flags: list[str], blank: list[str]) -> None:
    instance = started.start("--fake-children", "2", *flags, *blank)
    assert instance.leader is not None
    session = instance.leader.pid
    assert len(in_session(session)) == 3
    started.target.stop(instance, 0.1)
    assert in_session(session) == []
    assert fields(session) == []


def test_stopping_twice_must_be_the_same_as_once(started: Started) -> None:
    instance = started.start()
    started.target.stop(instance, 1)
    started.target.stop(instance, 1)
    assert started.sandbox.living() == {}
