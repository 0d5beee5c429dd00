"""Looks at engines that hang in all ways, and at one that is merely busy; and what is written down of a hung one."""

import json
import os
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from deploy_kit import fields, in_session, kill
from fakes.sandbox import Background, Sandbox, wait_until

from orchestrator import dump as dumping
from orchestrator import proc
from orchestrator.dump import ABSENT, RIGHTS, dump
from orchestrator.liveness import Canary, Sample, assess
from orchestrator.model import Endpoint, Instance, Marker, Phase, Process
from orchestrator.pulse import HttpPulse

PACE = 25.0  # seconds between two looks, as the watcher takes them; here they follow each other at once
KEY = "sk-never-shown"
CLIENT = """
import sys, urllib.request as u
u.urlopen(u.Request(sys.argv[1], sys.argv[2].encode(), {"Authorization": f"Bearer {sys.argv[3]}"}))
"""


class Engine:
    """A fake engine with one EngineCore, ready, and looks at it."""

    def __init__(self, sandbox: Sandbox, runtime: Path, port: int) -> None:
        self.sandbox, self.endpoint = sandbox, Endpoint("127.0.0.1", port)
        self.hang = sandbox.home / "hang"
        serve = [str(runtime / "bin" / "vllm"), "serve", "m", "--served-model-name", "a", "--port", str(port)]
        flags = ["--fake-children", "1", "--fake-hang-file", str(self.hang), "--api-key", KEY]
        self.run = sandbox.start_command([*serve, "--host", "127.0.0.1", *flags])
        wait_until(lambda: "startup complete" in self.run.output)
        wait_until(lambda: len(self.rows()) == 2 and any(row.command == "VLLM::EngineCore" for row in self.rows()))
        leader, *children = sorted(self.rows(), key=lambda row: row.pid != self.run.process.pid)
        marker = Marker("p", "a", "00001-aaaaaaaa")
        self.instance = Instance(marker, Phase.READY, leader, tuple(children))
        self.pulse = HttpPulse(timeout=5.0, canary_timeout=0.2)

    def rows(self) -> list[Process]:
        return [row for pid in in_session(self.run.process.pid) if (row := proc.read(pid))]

    @property
    def core(self) -> int:
        return self.instance.children[0].pid

    def look(self) -> Sample:
        return self.pulse.sample(self.instance, self.endpoint)

    def looks(self, count: int) -> list[Sample]:
        return [self.look() for _ in range(count)]

    def canary(self) -> Canary:
        return self.pulse.canary(self.endpoint, "a", KEY)

    def request(self) -> Background:
        """One that is worked on, token by token, until the sandbox ends."""
        never = str(self.sandbox.home / "never")
        chat = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "fake_wait_for": never}
        url = f"{self.endpoint.url}/v1/chat/completions"
        client = self.sandbox.start_command([sys.executable, "-c", CLIENT, url, json.dumps(chat), KEY])
        wait_until(lambda: self.look().running == 1)
        return client


@pytest.fixture
def engine(sandbox: Sandbox, fake_runtime: Path, free_port: Callable[[], int]) -> Engine:
    sandbox.allow_leftovers()
    return Engine(sandbox, fake_runtime, free_port())


def judged(looks: Sequence[Sample], *canaries: Canary) -> tuple[str, str]:
    """As if they had been taken by the watcher."""
    paced = [replace(one, at=1000.0 + number * PACE) for number, one in enumerate(looks)]
    asked = [replace(one, at=paced[-1].at + number, ended=paced[-1].at + number) for number, one in enumerate(canaries)]
    found = assess([*paced, *asked], paced[-1].at)
    return found.state, found.why


def test_an_idle_engine_must_be_idle_and_answer_a_canary(engine: Engine) -> None:
    assert judged(engine.looks(3)) == ("idle", "")
    before = engine.look().progress
    assert engine.canary().answered
    assert engine.look().progress > before
    assert engine.pulse.canary(engine.endpoint, "no such model", KEY).why == "answers 404"
    assert engine.pulse.canary(engine.endpoint, "a", None).answered  # a 401 is an answer


def test_a_busy_engine_must_be_left_alone(engine: Engine) -> None:
    engine.request()
    looks = engine.looks(1)
    for _ in range(12):
        last = looks[-1].progress
        looks.append(wait_until(lambda last=last: (one := engine.look()).progress != last and one))
    assert judged(looks) == ("busy", "1 running")


def test_an_engine_that_hangs_at_work_must_be_found_though_health_answers(engine: Engine) -> None:
    engine.request()
    busy = engine.looks(2)
    engine.hang.touch()
    stands = wait_until(lambda: (two := engine.looks(2))[0].lanes == two[1].lanes and two)
    hung = [*busy, *stands, *engine.looks(7)]
    assert all(one.answers for one in hung)
    state, why = judged(hung)
    assert state == "hung"
    assert why.startswith("1 running, no counter moved for")


def test_an_engine_that_hangs_while_idle_must_be_found_by_the_canary(engine: Engine) -> None:
    engine.hang.touch()
    looks, failed = engine.looks(14), engine.canary()
    assert judged(looks)[0] == "idle"
    assert judged(looks, failed)[0] == "suspect"
    assert judged(looks, failed, engine.canary()) == (
        "hung",
        "2 times in a row, a request of one token had no answer: no answer within 0.2 s",
    )


@pytest.mark.parametrize(("which", "name"), [(0, "API server"), (1, "EngineCore")])
def test_a_stopped_process_must_be_named(engine: Engine, which: int, name: str) -> None:
    process = engine.instance.processes[which]
    before = engine.looks(2)
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: fields(process.pid)[0] == "T")
    stopped = engine.looks(3)
    why = f"its {name} (pid {process.pid}) is stopped (SIGSTOP)"
    assert judged([*before, stopped[0]]) == ("suspect", why)
    assert judged([*before, *stopped]) == ("hung", why)
    os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: fields(process.pid)[0] == "S")
    assert judged([*before, *stopped, engine.look()])[0] == "idle"


def test_an_api_server_without_its_engine_must_be_found_at_once(engine: Engine) -> None:
    before = engine.looks(2)
    kill(engine.core)
    after = engine.look()
    assert after.answers
    assert judged([*before, after]) == ("hung", f"its EngineCore (pid {engine.core}) is gone")


def test_a_look_at_an_engine_that_is_gone_must_not_fail(engine: Engine) -> None:
    engine.run.process.kill()
    engine.run.process.wait()
    look = engine.look()
    assert (look.answers, look.why) == (False, "nothing listens on its port")
    assert not engine.canary().answered
    kill(engine.core)
    assert dump(engine.instance, engine.sandbox.home / "a.dump").saw == "nothing of it is left"


# -------------------------------------------------------------------------------------------------------- the dump


def test_a_dump_must_name_the_stopped_one_and_show_no_secret(engine: Engine, tmp_path: Path) -> None:
    os.kill(engine.core, signal.SIGSTOP)
    wait_until(lambda: fields(engine.core)[0] == "T")
    found = dump(engine.instance, tmp_path / "00001-aaaaaaaa.dump")
    assert found.path == tmp_path / "00001-aaaaaaaa.dump"
    assert found.saw.startswith("EngineCore is stopped (SIGSTOP)")
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600
    text = found.path.read_text()
    assert f"== EngineCore (pid {engine.core})" in text
    assert KEY not in text + found.saw
    assert fields(engine.core)[0] == "T"  # as it was


def test_pythons_own_stack_must_be_shown_where_py_spy_may_look(engine: Engine, tmp_path: Path) -> None:
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if os.geteuid() and scope.exists() and scope.read_text().strip() != "0":
        pytest.skip("py-spy may trace nothing here: that takes root, or kernel.yama.ptrace_scope 0")
    found = dump(engine.instance, tmp_path / "a.dump")
    assert found.path
    assert "run (vllm/fake/life.py" in found.path.read_text()
    assert "EngineCore waits in <module> (<string>:1)" in found.saw


def test_without_py_spy_the_kernels_view_must_be_shown(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    found = dump(engine.instance, tmp_path / "a.dump")
    assert found.path
    assert "EngineCore sleeps" in found.saw
    assert found.saw.endswith(f"({ABSENT})")
    assert "State:\tS (sleeping)" in found.path.read_text()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Permission Denied: Try running again with elevated permissions' >&2; exit 1", RIGHTS),
        ("echo 'Error: Failed to find python version' >&2; exit 1", "py-spy: Error: Failed to find python version"),
        ("exec sleep 60", "no end after 0.2 s"),
    ],
)
def test_what_ails_py_spy_must_be_said(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    spy = tmp_path / "py-spy"
    spy.write_text(f"#!/bin/sh\n{script}\n")
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(dumping, "TIMEOUT", 0.2)
    found = dump(engine.instance, tmp_path / "a.dump")
    assert "EngineCore sleeps" in found.saw
    assert said in found.saw


def test_a_dump_that_cannot_be_written_must_still_say_what_it_saw(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = dump(engine.instance, tmp_path / "file" / "a.dump")
    assert found.path is None
    assert "EngineCore" in found.saw
    assert "could not be written" in found.saw
