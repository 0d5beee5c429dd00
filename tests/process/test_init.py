"""`orch init`: files that the other verbs take, and nothing written that was not asked for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from deploy_kit import Project
from fakes.sandbox import MODEL, Background, Sandbox, ask, wait_until

from orchestrator.engines.vllm import flags
from orchestrator.load import load_environment, load_profile
from orchestrator.resolve import resolve

SECRETS = ("hf_NotARealTokenButItLooksLikeOne", "sk-this-is-what-nobody-may-see")


@pytest.fixture
def empty(sandbox: Sandbox) -> Sandbox:
    """A project without any file."""
    (sandbox.project / "environments" / "fake.yaml").unlink()
    return sandbox


def files(sandbox: Sandbox) -> dict[str, str]:
    found = sorted(path for path in sandbox.project.rglob("*") if path.is_file())
    return {str(path.relative_to(sandbox.project)): path.read_text() for path in found}


def flags_of(sandbox: Sandbox, name: str, environment: str) -> list[str]:
    profile = load_profile(sandbox.project / "profiles" / f"{name}.yaml", sandbox.env)
    where = load_environment(sandbox.project / "environments" / f"{environment}.yaml", sandbox.env)
    return list(flags(resolve(profile, where, {}).spec, "serve"))


def test_a_first_profile_must_come_with_an_environment_and_be_valid(empty: Sandbox) -> None:
    done = empty.orch("init", "Qwen/Qwen3-32B-AWQ")
    assert done.code == 0, done.stderr
    assert sorted(files(empty)) == ["environments/default.yaml", "profiles/qwen3-32b-awq.yaml"]
    assert "environments/default.yaml is written" in done.stdout
    checked = empty.orch("validate")
    assert (checked.code, "warning" in checked.stderr) == (0, False), checked.stderr
    mode = (empty.project / "profiles" / "qwen3-32b-awq.yaml").stat().st_mode & 0o777
    assert mode == 0o666 & ~umask()


def umask() -> int:
    held = os.umask(0)
    os.umask(held)
    return held


def test_the_next_one_must_take_the_only_environment_and_a_free_port(sandbox: Sandbox) -> None:
    sandbox.profile("a", 8000)
    assert sandbox.orch("init", "Qwen/Qwen3-8B").code == 0
    made = load_profile(sandbox.project / "profiles" / "qwen3-8b.yaml", {})
    assert (made.environment, made.serve.port) == ("fake", 8001)
    assert sandbox.orch("validate", "--together").code == 0


def test_a_file_that_is_there_must_stay_without_force(sandbox: Sandbox) -> None:
    assert sandbox.orch("init", "Qwen/Qwen3-8B").code == 0
    before = files(sandbox)
    again = sandbox.orch("init", "Qwen/Qwen3-8B", "--variant", "bf16")
    assert (again.code, files(sandbox)) == (1, before)
    assert "is there already; --force replaces it, --name gives another" in again.stderr
    assert sandbox.orch("init", "Qwen/Qwen3-8B", "--variant", "bf16", "--force").code == 0
    assert "dtype: bfloat16" in files(sandbox)["profiles/qwen3-8b.yaml"]
    taken = sandbox.orch("init", "Qwen/Qwen3-8B", "-f", "other.yaml")
    assert "profiles/qwen3-8b.yaml has it; give another with --name" in taken.stderr


def test_stdout_must_get_the_profile_and_the_disk_nothing(empty: Sandbox) -> None:
    done = empty.orch("init", "Qwen/Qwen3-8B", "-f", "-", "--name", "mine")
    assert done.code == 0
    assert "name: mine\n" in done.stdout
    command = empty.orch("init", "--from-command", "A=1 vllm serve X/Y", "-f", "-")
    assert "environments/default.yaml is not written; for what the command sets it needs" in command.stderr
    assert '      A: "1"' in command.stderr
    assert files(empty) == {}


def test_a_config_on_this_disk_must_be_read(sandbox: Sandbox) -> None:
    assert sandbox.orch("init", str(MODEL), "--name", "tiny").code == 0
    made = load_profile(sandbox.project / "profiles" / "tiny.yaml", {})
    assert made.serve.max_model_len is not None
    assert made.model.path == str(MODEL)
    snapshot = sandbox.home / "hf/hub/models--Org--Model/snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"max_position_embeddings": 1234}')
    sandbox.env["HF_HOME"] = str(sandbox.home / "hf")
    assert sandbox.orch("init", "Org/Model").code == 0
    assert load_profile(sandbox.project / "profiles" / "model.yaml", {}).serve.max_model_len == 1234


def test_the_schema_must_be_named_only_where_it_is(sandbox: Sandbox) -> None:
    first = sandbox.orch("init", "Org/A", "-f", "profiles/a.yaml")
    assert first.code == 0
    assert "yaml-language-server" not in files(sandbox)["profiles/a.yaml"]
    sandbox.write("schemas/profile.schema.json", "{}")
    assert sandbox.orch("init", "Org/B").code == 0
    line = "# yaml-language-server: $schema=../schemas/profile.schema.json\n"
    assert files(sandbox)["profiles/b.yaml"].startswith(line)


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ((), 64, "it takes one thing to start from"),
        (("A/B", "--from-command", "vllm serve X/Y"), 64, "it takes one thing to start from"),
        (("--from-pid", "1", "--variant", "awq"), 64, "cannot use --variant"),
        (("A/B", "--variant", "awk"), 64, "did you mean awq?"),
        (("A/B", "--name", "../x"), 64, "cannot use --name ../x"),
        (("A/B", "--environment", "fke"), 1, "did you mean fake?"),
        (("/nowhere/at/all",), 1, "there is no such folder"),
        (("a b",), 1, "it is no repository's name"),
        (("--from-command", "gone.sh"), 1, "there is no such file"),
        (("--from-command", "echo x"), 1, "no command in it is `vllm serve`"),
        (("--from-pid", "999999999"), 1, "there is no such process"),
        (("--from-pid", str(os.getpid())), 1, "is a vLLM server"),
    ],
)
def test_what_cannot_be_done_must_be_said_and_write_nothing(
    sandbox: Sandbox, args: tuple[str, ...], code: int, says: str
) -> None:
    before = files(sandbox)
    done = sandbox.orch("init", *args)
    assert (done.code, files(sandbox)) == (code, before), done.stderr
    assert says in done.stderr


def test_several_environments_must_be_chosen_from(sandbox: Sandbox, fake_runtime: Path) -> None:
    sandbox.environment(fake_runtime, "other")
    done = sandbox.orch("init", "A/B")
    assert done.code == 64
    assert "there is fake and other; name one with --environment" in done.stderr
    assert sandbox.orch("init", "A/B", "-e", "other").code == 0


SCRIPT = """\
#!/bin/bash
export HF_TOKEN={}
VLLM_LOGGING_LEVEL=DEBUG nohup vllm serve Qwen/Qwen3-8B -tp 2 --api-key {} \\
    --max-num-seqs 8 > log 2>&1 &
""".format(*SECRETS)


@pytest.mark.parametrize("way", ["file", "stdin", "text"])
def test_a_script_must_become_files_without_its_secrets(empty: Sandbox, way: str) -> None:
    script = empty.write("serve_vllm.sh", SCRIPT)
    given = {"file": "serve_vllm.sh", "stdin": "-", "text": SCRIPT}[way]
    done = empty.orch("init", "--from-command", given, input=SCRIPT if way == "stdin" else None)
    assert done.code == 0, done.stderr
    script.unlink()
    made = files(empty)
    assert sorted(made) == ["environments/default.yaml", "profiles/qwen3-8b.yaml"]
    assert not any(secret in text for secret in SECRETS for text in (*made.values(), done.stdout, done.stderr))
    assert "export HF_TOKEN before `orch apply`" in done.stderr
    assert "--api-key (as VLLM_API_KEY) is a secret" in done.stderr
    environment = load_environment(empty.project / "environments" / "default.yaml", {})
    assert environment.env == {"VLLM_LOGGING_LEVEL": "DEBUG"}
    assert sorted(environment.secrets) == ["HF_TOKEN", "VLLM_API_KEY"]
    assert empty.orch("validate").code == 0


def test_an_environment_that_is_there_must_stay_and_what_it_lacks_be_shown(sandbox: Sandbox) -> None:
    before = files(sandbox)["environments/fake.yaml"]
    done = sandbox.orch("init", "--from-command", SCRIPT)
    assert done.code == 0
    assert files(sandbox)["environments/fake.yaml"] == before
    assert "    env: #" in done.stderr
    assert "      VLLM_LOGGING_LEVEL: DEBUG" in done.stderr
    assert "      VLLM_API_KEY: {env: VLLM_API_KEY}" in done.stderr


def test_what_a_profile_cannot_say_must_be_said(sandbox: Sandbox) -> None:
    done = sandbox.orch("init", "--from-command", "numactl -N 0 vllm serve A/B --seed $X")
    assert done.code == 0
    for left in ("its NUMA placement (numactl)", "--seed $X, which only the shell that runs it knows"):
        assert f"orch: not taken over: {left}" in done.stderr
        assert f"#   {left}" in files(sandbox)["profiles/b.yaml"]


# ------------------------------------------------------------------------------------------------------ a process


def serving(sandbox: Sandbox, runtime: Path, port: int, *more: str) -> Background:
    """An engine that someone started without orch."""
    command = [str(runtime / "bin/vllm"), "serve", str(MODEL), "--port", str(port), "--host=127.0.0.1", "-tp", "1"]
    command += ["--max_model_len", "128", "--enforce-eager", "--served-model-name", "a", "b"]
    env = {"CUDA_VISIBLE_DEVICES": "1,0", "VLLM_LOGGING_LEVEL": "INFO", "HF_TOKEN": SECRETS[0], "EDITOR": "vi"}
    found = sandbox.start_command([*command, *more], env)
    wait_until(lambda: ask(port)[0] == 200)
    return found


def test_a_running_server_must_become_a_profile_with_its_flags(
    empty: Sandbox, fake_runtime: Path, free_port: Callable[[], int]
) -> None:
    empty.allow_leftovers()
    port = free_port()
    engine = serving(empty, fake_runtime, port)
    done = empty.orch("init", "--from-pid", str(engine.process.pid), "--name", "taken")
    assert done.code == 0, done.stderr
    assert sorted(flags_of(empty, "taken", "default")) == sorted(
        f"{MODEL} --port {port} --host 127.0.0.1 --max-model-len 128 --enforce-eager --served-model-name a b".split()
    )
    environment = load_environment(empty.project / "environments" / "default.yaml", {})
    assert (environment.runtime.kind, environment.runtime.where) == ("venv", str(fake_runtime))
    assert environment.env == {"VLLM_LOGGING_LEVEL": "INFO"}
    assert load_profile(empty.project / "profiles" / "taken.yaml", {}).gpus == ("1", "0")
    assert not any(SECRETS[0] in text for text in (*files(empty).values(), done.stdout, done.stderr))
    assert f"process {engine.process.pid} goes on as it is" in done.stderr
    assert ask(port)[0] == 200


def test_a_process_that_an_engine_started_must_lead_to_it(
    empty: Sandbox, fake_runtime: Path, free_port: Callable[[], int]
) -> None:
    empty.allow_leftovers()
    engine = serving(empty, fake_runtime, free_port(), "--fake-children", "1")
    child = next(pid for pid in empty.living() if pid != engine.process.pid)
    done = empty.orch("init", "--from-pid", str(child), "-f", "-")
    assert done.code == 0, done.stderr
    assert f"What process {engine.process.pid} starts" in done.stdout
    assert files(empty) == {}


def test_an_engine_of_orchs_must_be_refused(project: Project) -> None:
    project.profile()
    project.apply()
    done = project.orch("init", "--from-pid", str(project.engine()), code=1)
    assert "orch started it, as a" in done.stderr
