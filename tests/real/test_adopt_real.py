"""A real vLLM that was started by hand is taken over, and answers all the while. In `make test-real`."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes.sandbox import MODEL, REPOSITORY, Sandbox, all_pids, ask, command_line, wait_until

from orchestrator.load import load_environment
from orchestrator.runtimes.catalogue import Runtimes

pytestmark = pytest.mark.real_more

FLAGS = "--served-model-name tiny --max-model-len 256 --enforce-eager --dtype bfloat16 --shutdown-timeout 5"
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_API_KEY": "sk-by-hand"}


@pytest.fixture
def project(tmp_path: Path, real_runtime: dict[str, str]) -> Iterator[Sandbox]:
    sandbox = Sandbox.create(tmp_path / "home", real_runtime | {"VLLM_API_KEY": SETTINGS["VLLM_API_KEY"]})
    yield sandbox
    sandbox.close()


@contextmanager
def asked(port: int) -> Iterator[list[int]]:
    """The statuses of one completion after another, while the block runs."""
    statuses: list[int] = []
    over = threading.Event()

    def ask_on() -> None:
        while not over.is_set():
            body = {"model": "tiny", "prompt": "Hello", "max_tokens": 4}
            statuses.append(ask(port, "/v1/completions", body, SETTINGS["VLLM_API_KEY"], timeout=60)[0])

    thread = threading.Thread(target=ask_on)
    thread.start()
    try:
        yield statuses
        wait_until(lambda: len(statuses) > 3, 60)
    finally:
        over.set()
        thread.join()


def test_a_real_engine_started_by_hand_must_be_taken_over_as_it_runs(
    project: Sandbox, real_runtime: dict[str, str], data_dir: Path, free_port: Callable[[], int]
) -> None:
    cpu = load_environment(REPOSITORY / "environments/cpu.yaml", {})
    runtimes = Runtimes(data_dir, data_dir / "cache", {**os.environ, **real_runtime})
    info = runtimes.ensure(cpu.runtime, lambda _: None)
    port = free_port()
    server = f"{' '.join(info.program)} --model {MODEL} --host 127.0.0.1 --port {port} {FLAGS}"
    shell = project.start_command(["bash", "-c", f"sleep 900 & {server} & wait"], {**info.env, **SETTINGS})

    def ready() -> bool:
        """the engine answers"""
        assert "Traceback" not in shell.output, shell.output
        return ask(port, "/health")[0] == 200

    wait_until(ready, 400)
    session = {pid: command_line(pid) for pid in all_pids() if session_of(pid) == shell.process.pid}
    sibling = next(pid for pid, line in session.items() if line == "sleep 900")
    engine = {pid for pid in session if pid not in (sibling, shell.process.pid)}

    with asked(port) as statuses:
        done = project.orch("adopt", "--port", str(port), "hand", "--yes", timeout=120)
        assert done.code == 0, done.stderr
        plan = project.orch("plan", "hand", "--detailed-exitcode")
        assert (plan.code, plan.stdout[:17]) == (0, "Nothing to change"), plan.stdout
    assert set(statuses) == {200}
    row = project.orch("status", "--output", "json").json["deployments"][0]
    assert row["phase"] == "ready"
    assert set(row["processes"]) == engine
    assert len(engine) > 1, "its EngineCore and its Worker are of it"
    assert "sk-by-hand" not in "".join(file.read_text() for file in project.project.rglob("*.yaml"))

    stopped = project.orch("stop", "hand", timeout=120)
    assert stopped.code == 0, stopped.stderr
    assert not [pid for pid in engine if command_line(pid)]
    assert command_line(sibling) == "sleep 900"
    os.kill(sibling, 9)
    wait_until(lambda: shell.process.poll() is not None)


def session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
