"""The fake behaves as the real vLLM does; what the real one printed is in tests/recorded."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.sandbox import Background, Sandbox, all_pids, ask, command_line, wait_until

RECORDED = Path(__file__).resolve().parents[1] / "recorded"


class Engine:
    """One fake server, started as ``vllm serve``."""

    def __init__(self, sandbox: Sandbox, runtime: Path, port: int) -> None:
        self.sandbox, self.runtime, self.port = sandbox, runtime, port
        self.run: Background

    def start(self, *flags: str, **env: str) -> "Engine":
        serve = [str(self.runtime / "bin" / "vllm"), "serve", "some/model", "--served-model-name", "a", "b"]
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        self.run = self.sandbox.start_command([*serve, *address, *flags], env)
        return self

    def ask(self, path: str, body: Any = None, key: str = "") -> tuple[int, str]:
        return ask(self.port, path, body, key)

    def health(self) -> int:
        return self.ask("/health")[0]

    def ready(self) -> "Engine":
        wait_until(lambda: self.health() == 200)
        return self

    def exit(self) -> int:
        return wait_until(lambda: self.run.process.poll() is not None) and self.run.process.returncode

    def children(self) -> list[int]:
        session = str(self.run.process.pid)
        return [pid for pid in all_pids() if session_of(pid) == session and "VLLM::EngineCore" in command_line(pid)]


def session_of(pid: int) -> str:
    """Empty for one that is gone or a zombie."""
    try:
        state, _, _, session, *_ = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else session


@pytest.fixture
def engine(sandbox: Sandbox, fake_runtime: Path, free_port: Callable[[], int]) -> Engine:
    return Engine(sandbox, fake_runtime, free_port())


def metric(engine: Engine, name: str) -> float:
    return values(engine.ask("/metrics")[1])[f"vllm:{name}"]


def values(page: str) -> dict[str, float]:
    """By name, each without its labels."""
    rows = (line.rpartition(" ") for line in page.splitlines() if line.startswith(("vllm:", "http_")))
    return {row[0].partition("{")[0]: float(row[2]) for row in rows}


def labels(page: str, name: str) -> list[str]:
    return re.findall(r'([a-z_]+)="', next(line for line in page.splitlines() if line.startswith(name + "{")))


def answers(engine: Engine) -> bool:
    """Within 0.2 s, to a request of one token."""
    body = json.dumps({"model": "a", "prompt": "x", "max_tokens": 1}).encode()
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{engine.port}/v1/completions", body, timeout=0.2).read()
    except TimeoutError:
        return False
    return True


CHAT = {"model": "a", "messages": [{"role": "user", "content": "hello"}]}


def test_it_answers_as_vllm_does_and_ends_cleanly_on_term(engine: Engine) -> None:
    engine.start().ready()
    models = json.loads(engine.ask("/v1/models")[1])
    assert [model["id"] for model in models["data"]] == ["a", "b"]
    assert json.loads(engine.ask("/v1/chat/completions", CHAT)[1])["choices"][0]["message"]["content"] == "hello"
    assert engine.ask("/v1/chat/completions", CHAT | {"model": "other"})[0] == 404
    assert 'vllm:num_requests_running{engine="0",model_name="a"} 0.0' in engine.ask("/metrics")[1]
    engine.run.process.terminate()
    assert engine.exit() == 0
    assert "Shutting down" in engine.run.output


def test_not_ready_is_503_until_the_file_exists(engine: Engine, tmp_path: Path) -> None:
    go = tmp_path / "go"
    engine.start("--fake-wait-for", str(go))
    wait_until(lambda: engine.health() == 503)
    go.touch()
    engine.ready().run.process.terminate()
    assert engine.exit() == 0


def test_late_listening_refuses_until_ready_and_still_ends_on_term(engine: Engine, tmp_path: Path) -> None:
    go = tmp_path / "go"
    engine.start("--fake-late-listen", "--fake-wait-for", str(go))
    wait_until(lambda: "version" in engine.run.output)
    assert engine.health() == 0
    go.touch()
    engine.ready().run.process.terminate()
    assert engine.exit() == 0


def test_a_key_guards_v1_and_not_health(engine: Engine) -> None:
    engine.start(VLLM_API_KEY="secret").ready()
    assert engine.ask("/v1/models")[0] == 401
    assert engine.ask("/v1/models", key="secret")[0] == 200
    engine.run.process.terminate()
    assert engine.exit() == 0


def test_too_long_a_context_fails_at_once_with_the_real_message(engine: Engine) -> None:
    engine.start("--max-model-len", "40961")
    assert engine.exit() == 1
    message = (
        r"User-specified max_model_len \(\d+\) is greater than the derived max_model_len \(max_position_embeddings="
    )
    assert re.search(message, engine.run.output)
    assert re.search(message, (RECORDED / "vllm-0.32-cpu-too-long.log").read_text())


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--fake-exit-code", "7"], 7),
        (["--fake-exit-after", "0.01"], 1),
        (["--fake-exit-code", "3", "--fake-exit-after", "0.01"], 3),
        (["--no-such-flag"], 2),
    ],
)
def test_it_exits_early_when_told(engine: Engine, flags: list[str], code: int) -> None:
    assert engine.start("--fake-log", "CUDA out of memory", *flags).exit() == code
    assert ("CUDA out of memory" in engine.run.output) == (code != 2)


def test_it_crashes_when_the_file_appears_and_leaves_its_children(engine: Engine, tmp_path: Path) -> None:
    engine.start("--fake-exit-when", str(tmp_path / "die"), "--fake-exit-code", "9", "--fake-children", "2").ready()
    (tmp_path / "die").touch()
    assert engine.exit() == 9
    assert len(engine.children()) == 2
    engine.sandbox.allow_leftovers()


def test_a_killed_server_leaves_its_children_in_its_session(engine: Engine) -> None:
    flags = ("--fake-children", "2", "--fake-stubborn", "--fake-blank-environ")
    engine.start(*flags).ready()
    children = wait_until(lambda: len(engine.children()) == 2 and engine.children())
    engine.run.process.kill()
    assert engine.exit() == -9
    assert engine.children() == children
    assert all(Path("/proc", str(pid), "environ").read_bytes() == b"" for pid in children)
    engine.sandbox.allow_leftovers()


@pytest.mark.parametrize("stubborn", [False, True])
def test_term_ends_its_children_unless_they_are_stubborn(engine: Engine, stubborn: bool) -> None:
    engine.start("--fake-children", "1", *(["--fake-stubborn"] if stubborn else [])).ready()
    engine.run.process.terminate()
    assert engine.exit() == 0
    assert len(engine.children()) == stubborn
    engine.sandbox.allow_leftovers()


@pytest.mark.parametrize(("seconds", "finished"), [("30", True), ("0", False)])
def test_term_drains_what_runs_for_as_long_as_it_may(
    engine: Engine, tmp_path: Path, seconds: str, finished: bool
) -> None:
    engine.start("--shutdown-timeout", seconds).ready()
    script = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], sys.argv[2].encode()).status)"
    url = f"http://127.0.0.1:{engine.port}/v1/chat/completions"
    body = json.dumps(CHAT | {"fake_wait_for": str(tmp_path / "answer")})
    client = engine.sandbox.start_command([str(engine.runtime / "bin" / "python"), "-c", script, url, body])
    wait_until(lambda: metric(engine, "num_requests_running") == 1)
    engine.run.process.terminate()
    wait_until(lambda: "Shutting down" in engine.run.output)
    if finished:
        wait_until(lambda: engine.health() == 0)
        (tmp_path / "answer").touch()
    assert engine.exit() == 0
    wait_until(lambda: client.process.poll() is not None)
    assert ("200" in client.output) == finished


def test_a_deaf_server_ignores_term(engine: Engine) -> None:
    engine.start("--fake-ignore-term").ready()
    engine.run.process.terminate()
    assert engine.ready().run.process.poll() is None
    engine.run.process.kill()
    assert engine.exit() == -9


def test_a_hung_engine_is_healthy_and_does_not_list_its_models(engine: Engine) -> None:
    engine.start("--fake-hang-health").ready()
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"http://127.0.0.1:{engine.port}/v1/models", timeout=0.2)
    engine.run.process.kill()
    assert engine.exit() == -9


def test_its_counters_move_while_it_works_and_stand_still_while_it_hangs(engine: Engine, tmp_path: Path) -> None:
    hang, answer = tmp_path / "hang", tmp_path / "answer"
    engine.start("--fake-hang-file", str(hang), "--fake-children", "1").ready()
    assert json.loads(engine.ask("/v1/completions", {"model": "a", "prompt": "x"})[1])["choices"][0]["text"] == "x"
    script = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], sys.argv[2].encode()).status)"
    python, url = str(engine.runtime / "bin" / "python"), f"http://127.0.0.1:{engine.port}/v1/chat/completions"
    body = json.dumps(CHAT | {"fake_wait_for": str(answer)})
    client = engine.sandbox.start_command([python, "-c", script, url, body])
    wait_until(lambda: metric(engine, "num_requests_running") == 1)
    before = metric(engine, "generation_tokens_total")
    wait_until(lambda: metric(engine, "generation_tokens_total") > before)
    hang.touch()
    answer.touch()
    assert engine.health() == 200
    assert not answers(engine)
    still = engine.ask("/metrics")[1]
    assert not answers(engine)
    assert engine.ask("/metrics")[1] == still
    hang.unlink()
    wait_until(lambda: client.process.poll() is not None)
    assert "200" in client.output
    engine.run.process.terminate()
    assert engine.exit() == 0


def test_its_metrics_are_some_of_the_real_ones_with_the_same_labels(engine: Engine) -> None:
    fake, real = engine.start().ready().ask("/metrics")[1], (RECORDED / "vllm-0.32-cpu-metrics-idle.txt").read_text()
    names = values(fake)
    assert len(names) > 5
    for name in names:
        assert labels(fake, name) == labels(real, name), name
    engine.run.process.terminate()
    assert engine.exit() == 0


def test_its_log_reads_like_the_real_one(engine: Engine) -> None:
    engine.start().ready().run.process.terminate()
    engine.exit()
    recorded = (RECORDED / "vllm-0.32-cpu-ready.log").read_bytes().decode()
    fake = engine.run.log.read_bytes().decode()
    for pattern in (
        r"^\(APIServer pid=\d+\) INFO \d\d-\d\d \d\d:\d\d:\d\d \[[a-z_]+\.py:\d+\] Starting vLLM server on http://",
        r"^\(APIServer pid=\d+\) INFO .* non-default args: \{",
        r"\rLoading safetensors checkpoint shards: 100% Completed \|",
        r"^INFO:     Application startup complete\.$",
        r"^\(APIServer pid=\d+\) INFO .* \[shutdown\] API server: shutdown triggered$",
        r"^INFO:     Shutting down$",
    ):
        assert re.search(pattern, recorded, re.MULTILINE), pattern
        assert re.search(pattern, fake, re.MULTILINE), pattern


@pytest.mark.parametrize("module", ["vllm.entrypoints.openai.cli_args", "vllm.entrypoints.launchers.cli_args"])
def test_its_parser_is_found_where_vllm_has_it(sandbox: Sandbox, fake_runtime: Path, module: str) -> None:
    script = (
        f"from {module} import make_arg_parser; from vllm.utils.argparse_utils import FlexibleArgumentParser as P;"
        "print(make_arg_parser(P()).parse_args(['m', '--max_model_len=256', '--no-use-tqdm-on-load']))"
    )
    done = sandbox.start_command([str(fake_runtime / "bin" / "python"), "-c", script])
    wait_until(lambda: done.process.poll() is not None)
    assert "max_model_len=256" in done.output
    assert "use_tqdm_on_load=False" in done.output


def test_the_sandbox_tells_what_a_test_left_alive(tmp_path: Path, fake_runtime: Path) -> None:
    sandbox = Sandbox.create(tmp_path / "other")
    left = sandbox.start_command(["sleep", "600"])
    wait_until(sandbox.living)  # for a moment after its exec a process shows neither arguments nor environment
    with pytest.raises(AssertionError, match=r"left alive by this test.*sleep 600"):
        sandbox.close()
    assert left.process.returncode == -9
    assert sandbox.living() == {}
