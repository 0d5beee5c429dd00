"""`orch adopt`: an engine that someone started by hand becomes a deployment without a restart, and is then known by its
record alone. Observed from outside: what lives, what answers, which files are there."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from deploy_kit import Project, alive, environ, fields, kill, serves
from fakes.sandbox import MODEL, Background, all_pids, ask, command_line, wait_until

KEY = "sk-this-is-what-nobody-may-see"
SLEEP = "import time; time.sleep(599)"
SERVE = "{bin}/vllm serve {model} --host 127.0.0.1 --port {port}"
MODULE = "python -m vllm.entrypoints.openai.api_server --model {model} --host=127.0.0.1 --port={port}"


@dataclass
class Hand:
    """Somebody's shell with an engine in it and, in the same session and process group, something else."""

    shell: Background
    port: int
    engine: int
    children: list[int]
    sibling: int


Start = Callable[..., Hand]


@pytest.fixture
def start(project: Project, fake_runtime: Path) -> Start:
    """``start(command)`` types it into a shell and answers once the engine does. ``more`` are flags, ``shell`` what the
    shell does with the command."""
    (project.sandbox.project / "environments/fake.yaml").unlink()

    def begin(
        command: str, env: dict[str, str] | None = None, *, more: str = "", key: str = "", shell: str = "{} & wait"
    ) -> Hand:
        port = project.free_port()
        line = command.format(bin=fake_runtime / "bin", model=MODEL, port=port)
        line += f" --served-model-name a --fake-children 1 {more}"
        other = f"{sys.executable} -c '{SLEEP}'"
        started = project.sandbox.start_command(["bash", "-c", f"{other} & {shell.format(line)}"], env)
        wait_until(lambda: ask(port, key=key)[0] == 200)
        session = [pid for pid in all_pids() if fields(pid)[3:4] == [str(started.process.pid)]]
        engine = next(pid for pid in session if "--served-model-name" in command_line(pid) and "python" in program(pid))
        sibling = next(pid for pid in session if SLEEP in command_line(pid))
        assert fields(sibling)[2:4] == fields(engine)[2:4], "one process group, one session"
        return Hand(started, port, engine, below(engine), sibling)

    return begin


def program(pid: int) -> str:
    return command_line(pid).split(" ")[0].rpartition("/")[2]


def below(pid: int) -> list[int]:
    return [one for one in all_pids() if fields(one)[1:2] == [str(pid)]]


def files(project: Project) -> dict[str, str]:
    root = project.sandbox.project
    return {str(one.relative_to(root)): one.read_text() for one in sorted(root.rglob("*.yaml"))}


def all_goes_and_nothing_else(project: Project, hand: Hand) -> None:
    project.orch("stop", "a")
    assert not [pid for pid in (hand.engine, *hand.children) if alive(pid)]
    assert alive(hand.sibling)
    assert project.row()["phase"] == "stopped"


# ----------------------------------------------------------------------------------------------------- the whole life


def test_an_engine_in_a_shell_must_go_on_as_a_deployment_and_end_alone(project: Project, start: Start) -> None:
    hand = start(SERVE, {"VLLM_LOGGING_LEVEL": "INFO", "EDITOR": "vi"}, more="--shutdown-timeout 7")
    done = project.orch("adopt", str(hand.engine), "a", "--yes")
    assert f"http://127.0.0.1:{hand.port}/v1" in done.stdout
    assert sorted(files(project)) == ["environments/a.yaml", "profiles/a.yaml"]
    assert "VLLM_LOGGING_LEVEL: INFO" in files(project)["environments/a.yaml"]
    assert "EDITOR" not in files(project)["environments/a.yaml"]
    assert "drain: 7s" in files(project)["profiles/a.yaml"]
    record = project.record()
    assert record["attempt"]["adopted"] is True
    assert [one[0] for one in record["attempt"]["family"]] == hand.children
    assert record["revision"]["number"] == 1

    assert project.plan("a").startswith("Nothing to change")
    assert project.apply().stdout.startswith("Nothing to change")
    shutil.rmtree(project.env["ORCH_CACHE_DIR"])
    assert project.plan().startswith("Nothing to change")
    row = project.row()
    assert (row["phase"], row["pid"], row["drift"]) == ("ready", hand.engine, "")
    assert sorted(row["processes"]) == sorted([hand.engine, *hand.children])
    assert any(note.startswith("adopted: ") for note in row["notes"])
    assert row["log"] == str(hand.shell.log)
    assert "startup complete" in project.orch("logs", "a").stdout
    assert serves(hand.port, "a")
    all_goes_and_nothing_else(project, hand)


@pytest.mark.parametrize(
    ("command", "shell"),
    [
        (MODULE, "{} & wait"),
        (f"bash -c 'echo begun; {SERVE} $0 $@; true'", "{} & wait"),
        (f"env VLLM_LOGGING_LEVEL=INFO nohup {SERVE}", "{} & wait"),
        (SERVE, "exec {}"),
    ],
    ids=["module", "wrapped", "nohup", "shell-replaced"],
)
def test_every_way_to_start_one_must_be_taken_over_by_its_port(
    project: Project, start: Start, fake_runtime: Path, command: str, shell: str
) -> None:
    """Its Python is called by its name alone, as an activated environment has it."""
    hand = start(command, {"PATH": f"{fake_runtime}/bin:{project.env['PATH']}"}, shell=shell)
    project.orch("adopt", "--port", str(hand.port), "a", "--yes")
    assert f"venv: {fake_runtime}" in files(project)["environments/a.yaml"]
    assert project.record()["attempt"]["pid"] == hand.engine
    if shell.startswith("exec"):  # what the shell had started before became the engine's own
        return
    all_goes_and_nothing_else(project, hand)


def test_a_changed_profile_must_end_it_and_start_one_of_orchs(project: Project, start: Start) -> None:
    hand = start(SERVE)
    project.orch("adopt", "--port", str(hand.port), "a", "--yes")
    profile = project.sandbox.project / "profiles/a.yaml"
    profile.write_text(profile.read_text().replace("port:", "max_model_len: 128\n  port:"))
    assert "serve.max_model_len: (default) -> 128" in project.plan("a")
    project.apply("a")
    assert not [pid for pid in (hand.engine, *hand.children) if alive(pid)]
    assert alive(hand.sibling)
    assert environ(project.engine())["ORCH_MARK"]
    assert serves(hand.port, "a")
    assert "adopted" not in project.record()["attempt"]
    assert project.record()["revision"]["number"] == 2


def test_what_an_api_server_leaves_behind_must_be_known_and_cleared(project: Project, start: Start) -> None:
    hand = start(SERVE, more="--fake-blank-environ --fake-stubborn")
    project.orch("adopt", str(hand.engine), "a", "--yes")
    kill(hand.engine)
    assert all(alive(pid) for pid in hand.children)
    row = project.row()
    assert (row["phase"], row["processes"]) == ("failed", hand.children)
    project.apply("a")
    assert not [pid for pid in hand.children if alive(pid)]
    assert alive(hand.sibling)
    assert serves(hand.port, "a")


def test_a_forged_record_must_get_nobody_signalled(project: Project, start: Start) -> None:
    """A pid that became another's, and a boot that is over."""
    hand = start(SERVE)
    project.orch("adopt", str(hand.engine), "a", "--yes")
    file = project.folder() / "record.json"
    whole = file.read_text()

    def forged(change: dict[str, object]) -> None:
        document = json.loads(whole)
        document["record"]["attempt"] |= change
        file.write_text(json.dumps(document))
        assert project.row()["processes"] == []
        project.orch("stop", "a")
        assert all(alive(pid) for pid in (hand.sibling, hand.engine, *hand.children))

    later = int(fields(hand.engine)[19]) + 1000
    forged({"pid": hand.sibling, "start": later, "family": []})
    forged({"start": later, "family": [[hand.sibling, later]]})
    forged({"boot": "another"})


# ---------------------------------------------------------------------------------------------- which, and as what


def test_a_process_around_it_must_lead_to_its_api_server(project: Project, start: Start) -> None:
    hand = start(SERVE)
    for pid in (hand.children[0], hand.shell.process.pid):
        shown = project.orch("adopt", str(pid), "a", "--dry-run")
        assert f"its API server is pid {hand.engine}" in shown.stderr
        assert shown.stdout.startswith("# profiles/a.yaml\n")
        assert "\n# environments/a.yaml\n" in shown.stdout
    assert files(project) == {}
    assert not project.state.exists()


def test_its_name_must_be_the_models_and_an_environment_that_is_there_be_used(
    project: Project, start: Start, fake_runtime: Path
) -> None:
    hand = start(SERVE)
    project.sandbox.environment(fake_runtime, "mine")
    kept = files(project)["environments/mine.yaml"]
    project.orch("adopt", str(hand.engine), "--environment", "mine", "--yes")
    assert sorted(files(project)) == ["environments/mine.yaml", "profiles/tiny-qwen3.yaml"]
    assert files(project)["environments/mine.yaml"] == kept
    assert project.plan().startswith("Nothing to change")


def test_its_key_must_be_a_reference_that_can_be_read(project: Project, start: Start) -> None:
    hand = start(SERVE, more=f"--api-key {KEY}", key=KEY)
    refused = project.orch("adopt", str(hand.engine), "a", "--yes", code=1)
    assert "the variable VLLM_API_KEY is not set; export VLLM_API_KEY" in refused.stderr
    project.env["VLLM_API_KEY"] = "sk-another"
    other = project.orch("adopt", str(hand.engine), "a", "--yes", code=1)
    assert "holds another value than the engine was started with" in other.stderr
    assert files(project) == {}
    project.env["VLLM_API_KEY"] = KEY
    done = project.orch("adopt", str(hand.engine), "a", "--yes")
    texts = [*files(project).values(), (project.folder() / "record.json").read_text()]
    assert not any(KEY in text for text in (*texts, refused.stderr, other.stderr, done.stdout, done.stderr))
    assert project.plan("a").startswith("Nothing to change")
    assert project.row()["phase"] == "ready"


def test_one_without_a_log_must_say_where_that_is(project: Project, start: Start) -> None:
    hand = start(SERVE, more="> /dev/null 2>&1")
    done = project.orch("adopt", str(hand.engine), "a", "--yes")
    assert "its log goes on where it was started" in done.stderr
    refused = project.orch("logs", "a", code=1)
    assert "it writes where it was started, to no file; `orch restart a`" in refused.stderr


# ------------------------------------------------------------------------------------------------------- refusals


def test_what_is_there_already_must_stay(project: Project, start: Start) -> None:
    hand = start(SERVE)
    file = project.sandbox.write("environments/a.yaml", "mine\n")
    refused = project.orch("adopt", str(hand.engine), "a", "--yes", code=1)
    assert "environments/a.yaml is there already; use it with --environment, or give another name" in refused.stderr
    assert files(project) == {"environments/a.yaml": "mine\n"}
    file.unlink()
    project.orch("adopt", str(hand.engine), "a", code=64)  # nobody can be asked
    assert files(project) == {}
    project.orch("adopt", str(hand.engine), "a", "--yes")
    again = project.orch("adopt", str(hand.children[0]), "b", "--yes", code=1)
    assert "orch has it already, as a of " in again.stderr
    other = start(SERVE)
    assert "a is deployed already" in project.orch("adopt", str(other.engine), "a", "--yes", code=1).stderr
    assert sorted(files(project)) == ["environments/a.yaml", "profiles/a.yaml"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["another-name", "another-project"])
def test_one_that_waited_at_its_prompt_must_not_take_what_another_took_meanwhile(
    project: Project, start: Start, elsewhere: bool
) -> None:
    hand = start(SERVE)
    root = project.sandbox.home / "elsewhere" if elsewhere else project.sandbox.project
    root.mkdir(exist_ok=True)
    here, there = pty.openpty()
    command = project.sandbox.command("adopt", str(hand.engine), "b", "--root", str(root))
    with (project.sandbox.home / "waiting.log").open("w+") as log:
        waiting = subprocess.Popen(
            command, env=project.env, cwd=project.sandbox.project, stdin=there, stdout=log, stderr=log
        )
        wait_until(lambda: "Adopt it?" in Path(log.name).read_text())
        project.orch("adopt", str(hand.engine), "a", "--yes")
        os.write(here, b"y\n")
        assert waiting.wait(30) == 1
        assert f"cannot adopt process {hand.engine}: orch has it already, as a of " in Path(log.name).read_text()
    os.close(here)
    os.close(there)
    assert sorted(files(project)) == ["environments/a.yaml", "profiles/a.yaml"]
    assert not list(root.glob("*/b.yaml"))
    assert [path.parent.name for path in project.state.glob("*/*/*/record.json")] == ["a"]


def test_an_engine_of_orchs_must_be_refused(project: Project) -> None:
    pid = project.up()
    assert "orch started it, as a" in project.orch("adopt", str(pid), "b", "--yes", code=1).stderr
    assert "orch started it, as a" in project.orch("adopt", "--port", str(project.port), "b", code=1).stderr


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--fake-late-listen --fake-never-ready", "it does not listen on port {} yet; adopt it once it answers"),
        ("--fake-hang-health", "it does not answer as it should: no answer within 3 s"),
    ],
)
def test_one_that_does_not_answer_must_be_refused(project: Project, fake_runtime: Path, flags: str, says: str) -> None:
    port = project.free_port()
    line = [str(fake_runtime / "bin/vllm"), "serve", str(MODEL), "--host", "127.0.0.1", "--port", str(port)]
    engine = project.sandbox.start_command([*line, *flags.split()])
    wait_until(lambda: "non-default args" in engine.output and ("late" in flags or ask(port, "/health")[0] == 200))
    before = files(project)
    refused = project.orch("adopt", str(engine.process.pid), "a", "--yes", code=1)
    assert says.format(port) in refused.stderr
    assert files(project) == before


def test_what_is_no_engine_must_be_refused(project: Project) -> None:
    for words, code, says in (
        (("x", "a"), 64, "'x' is no PID"),
        (("1", "a", "b"), 64, "give a PID or --port P"),
        (("1", "../a"), 64, "cannot use NAME ../a"),
        (("--port", str(project.free_port())), 1, "nothing does"),
        ((str(os.getpid()), "a"), 1, "is a vLLM server"),
    ):
        assert says in project.orch("adopt", *words, code=code).stderr
