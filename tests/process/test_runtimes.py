"""Runtimes that orch builds, with the real uv and without a network: the engine is a wheel of a few files made here.
What the real engine does in such a runtime is checked where it is started."""

import json
import os
import shutil
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from runtime_kit import ENGINE, failure, silent, wheel

from orchestrator.model import RuntimeInfo, RuntimeSpec
from orchestrator.runtimes import build, uv
from orchestrator.runtimes.catalogue import RuntimeReader, Runtimes
from orchestrator.shell import CommandFailed, run

SPEC = RuntimeSpec("requirements", requirements=("vllm",))


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    wheel(folder, "vllm", "0.32.0", ENGINE, ("torch",))
    wheel(folder, "torch", "2.0+cpu")
    return folder


@pytest.fixture
def variables(tmp_path: Path, wheels: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_CONFIG": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
    }


@pytest.fixture
def runtimes(tmp_path: Path, variables: dict[str, str]) -> Runtimes:
    return Runtimes(tmp_path / "data", tmp_path / "cache", variables)


def test_a_runtime_is_built_once(runtimes: Runtimes, tmp_path: Path) -> None:
    assert runtimes.state(SPEC).why == "not built yet"
    said: list[str] = []
    info = runtimes.ensure(SPEC, said.append)
    prefix = tmp_path / "data/runtimes" / info.key
    assert info == RuntimeInfo(
        key=info.key,
        prefix=str(prefix),
        python=str(prefix / "bin/python"),
        engine="vllm",
        version="0.32.0",
        program=(str(prefix / "bin/vllm"), "serve"),
        style="serve",
        torch="2.0+cpu",
    )
    assert len(info.key) == 12
    assert any("Installed 2 packages" in line for line in said)
    said.clear()
    assert runtimes.ensure(SPEC, said.append) == info
    assert runtimes.state(SPEC).info == info
    assert not said


def test_the_resolution_is_kept_and_the_key_is_of_what_was_resolved(
    runtimes: Runtimes, wheels: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    first = runtimes.ensure(SPEC, silent)
    same_set = replace(SPEC, requirements=("vllm==0.32.0", "torch"))
    assert runtimes.ensure(same_set, silent) == first
    wheel(wheels, "vllm", "0.33.0", ENGINE)
    assert runtimes.ensure(SPEC, silent) == first
    newer = Runtimes(tmp_path / "data2", tmp_path / "cache2", variables).ensure(SPEC, silent)
    assert (newer.version, newer.key == first.key) == ("0.33.0", False)


def test_constraints_and_overrides_are_taken_and_pips_own_constraints_too(
    runtimes: Runtimes, wheels: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    for version in ("0.33.0", "0.34.0"):
        wheel(wheels, "vllm", version, ENGINE, ("torch", "nowhere-to-be-had"))
    (tmp_path / "limits.txt").write_text("vllm<0.34\n")
    variables["PIP_CONSTRAINT"] = str(tmp_path / "limits.txt")
    spec = replace(SPEC, constraints=("vllm>0.32",), overrides=('nowhere-to-be-had ; sys_platform == "never"',))
    assert runtimes.ensure(spec, silent).version == "0.33.0"


def test_what_nobody_asked_for_is_not_installed(runtimes: Runtimes, variables: dict[str, str]) -> None:
    variables["UV_VENV_SEED"] = "1"
    info = runtimes.ensure(SPEC, silent)
    found = Path(info.prefix).glob("lib/python3*/site-packages/*.dist-info")
    assert sorted(path.name for path in found) == ["torch-2.0+cpu.dist-info", "vllm-0.32.0.dist-info"]


def test_a_killed_build_does_not_count_and_is_built_again(runtimes: Runtimes, variables: dict[str, str]) -> None:
    """Killed after everything is installed and before the mark: the worst moment."""
    code = """
import json, os, signal, sys
from pathlib import Path
from orchestrator.model import RuntimeSpec
from orchestrator.runtimes.catalogue import Runtimes
data, cache, variables = json.load(sys.stdin)
def say(line):
    if line.startswith("Installed"):
        os.kill(os.getpid(), signal.SIGKILL)
Runtimes(Path(data), Path(cache), variables).ensure(RuntimeSpec("requirements", requirements=("vllm",)), say)
"""
    given = json.dumps([str(runtimes.data_dir), str(runtimes.cache_dir), variables])
    with pytest.raises(CommandFailed) as caught:
        run([sys.executable, "-c", code], stdin=given, cwd=Path(__file__).parents[2])
    assert caught.value.status == -signal.SIGKILL
    state = runtimes.state(SPEC)
    assert (state.status, state.why) == ("buildable", "an interrupted build, to be built again")
    said: list[str] = []
    info = runtimes.ensure(SPEC, said.append)
    assert said[0] == f"removing an interrupted build of runtime {info.key}"
    assert runtimes.state(SPEC).status == "ready"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "x"}'])
def test_a_damaged_mark_does_not_count(runtimes: Runtimes, text: str) -> None:
    info = runtimes.ensure(SPEC, silent)
    (Path(info.prefix) / build.MARK).write_text(text)
    assert runtimes.state(SPEC).status == "buildable"
    assert runtimes.ensure(SPEC, silent) == info


def test_a_moved_data_folder_does_not_count(runtimes: Runtimes, tmp_path: Path) -> None:
    runtimes.ensure(SPEC, silent)
    moved = (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert RuntimeReader(moved, tmp_path / "cache", {}).state(SPEC).status == "buildable"


def test_a_second_builder_waits_and_finds_it_done(runtimes: Runtimes) -> None:
    runtimes.ensure(SPEC, silent)  # so that both know the key
    shutil.rmtree(runtimes.data_dir / "runtimes" / (key := runtimes.ensure(SPEC, silent).key))
    building, waiting = threading.Event(), threading.Event()
    first: list[str] = []
    built: list[RuntimeInfo] = []

    def hold(line: str) -> None:
        first.append(line)
        if line.startswith("building"):
            building.set()
            assert waiting.wait(30)

    second: list[str] = []

    def wait(line: str) -> None:
        second.append(line)
        waiting.set()

    builder = threading.Thread(target=lambda: built.append(runtimes.ensure(SPEC, hold)))
    builder.start()
    assert building.wait(30)
    info = runtimes.ensure(SPEC, wait)
    builder.join()
    assert second == [f"waiting: another orch is working on runtime {key}"]
    assert built == [info]


def test_requirements_that_cannot_be_met(runtimes: Runtimes) -> None:
    error = failure(lambda: runtimes.ensure(replace(SPEC, requirements=("vllm==0.99",)), silent))
    assert error.what == "build the runtime (requirements vllm==0.99)"
    assert "there is no version of vllm==0.99" in error.why
    assert error.do.startswith("change the environment's requirements")
    assert runtimes.state(SPEC).status == "buildable"


def test_requirements_without_an_engine(runtimes: Runtimes) -> None:
    error = failure(lambda: runtimes.ensure(replace(SPEC, requirements=("torch",)), silent))
    assert error.why == "no vllm is among what these install"
    assert not list((runtimes.data_dir / "runtimes").glob("*/bin"))


def test_a_pinned_set_that_is_gone_says_how_to_resolve_anew(runtimes: Runtimes, wheels: Path) -> None:
    shutil.rmtree(runtimes.data_dir / "runtimes" / runtimes.ensure(SPEC, silent).key)
    (wheels / "torch-2.0+cpu-py3-none-any.whl").unlink()
    error = failure(lambda: runtimes.ensure(SPEC, silent))
    assert f"delete {build.resolution_file(runtimes.data_dir, SPEC)}" in error.do


def test_a_python_that_is_not_there(runtimes: Runtimes) -> None:
    error = failure(lambda: runtimes.ensure(replace(SPEC, python="/no/python"), silent))
    assert "/no/python" in error.why
    assert "runtime.python" in error.do


def test_pips_configuration_file_is_honoured(runtimes: Runtimes, wheels: Path, variables: dict[str, str]) -> None:
    del variables["PIP_FIND_LINKS"], variables["PIP_NO_INDEX"]
    config = Path(variables["HOME"]) / ".config/pip/pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text(f"[global]\nfind-links = /not/there {wheels}\nno-index = true\n")
    assert runtimes.ensure(SPEC, silent).version == "0.32.0"


def test_a_configured_torch_wheel_goes_before_the_torch_backend(runtimes: Runtimes) -> None:
    said: list[str] = []
    runtimes.ensure(replace(SPEC, torch_backend="cpu"), said.append)
    assert "torch_backend cpu is left out" in said[1]


def test_the_torch_backend_is_kept_for_another_build_of_torch(wheels: Path) -> None:
    assert uv.torch_backend(replace(SPEC, torch_backend="cu130"), [wheels]) == ("cu130", "")
    assert uv.torch_backend(replace(SPEC, torch_backend="auto"), [wheels])[0] == ""


def test_named_indexes_replace_configured_ones_and_stay_out_of_argv(variables: dict[str, str], tmp_path: Path) -> None:
    spec = replace(SPEC, index=("https://u:p@one/simple", "https://two/simple"))
    tool = uv.Uv(spec, {**variables, "PIP_EXTRA_INDEX_URL": "https://other/simple"}, tmp_path)
    assert (tool.env["UV_INDEX"], tool.env["UV_DEFAULT_INDEX"]) == ("https://u:p@one/simple", "https://two/simple")
    assert "UV_INDEX_STRATEGY" not in tool.env
    assert not any("one" in word for word in [*tool.sources(), *tool.limits()])


def test_no_uv(runtimes: Runtimes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "/nowhere")
    assert failure(lambda: runtimes.ensure(SPEC, silent)).why == "uv is not installed"


def test_a_data_folder_that_cannot_be_made(tmp_path: Path, variables: dict[str, str]) -> None:
    (tmp_path / "file").write_text("")
    error = failure(lambda: Runtimes(tmp_path / "file/data", tmp_path, variables).ensure(SPEC, silent))
    assert "Not a directory" in error.why


@pytest.mark.parametrize(
    ("lines", "backend", "why", "do"),
    [
        (
            ["Resolved 3 packages in 2ms", "error: Failed to fetch: `http://u:p@h/simple/`", "  cause: dns error"],
            "",
            "Failed to fetch: `http://***@h/simple/`: dns error",
            "make the index reachable",
        ),
        (["error: Failed to fetch: `http://h/whl/cpu/torch/`"], "cpu", "", "torch_backend cpu needs"),
        (["error: write failed", "  cause: No space left on device (os error 28)"], "", "", "free some space"),
        (
            ["error: Because there is no version of torch{x == 'y'}==2.1+cpu and"],
            "",
            "",
            "set runtime.torch_backend: cpu",
        ),
        (
            ["  \u00d7 No solution found.", "  ╰─▶ Because a and", "      b."],
            "",
            "No solution found. Because a and: b",
            "c",
        ),
    ],
)
def test_uvs_failures_in_words(lines: list[str], backend: str, why: str, do: str) -> None:
    reason = uv.reason(lines)
    assert reason == why or not why
    assert uv.advice(reason, backend).startswith(do)


def test_one_that_an_older_orch_described_is_looked_at_again_and_not_built_again(
    runtimes: Runtimes, tmp_path: Path
) -> None:
    info = runtimes.ensure(SPEC, lambda _: None)
    mark = tmp_path / "data/runtimes" / info.key / "orch-runtime.json"
    older = {name: value for name, value in json.loads(mark.read_text()).items() if name not in ("schema", "torch")}
    mark.write_text(json.dumps(older))
    assert runtimes.state(SPEC).status == "ready"
    assert runtimes.state(SPEC).info is None
    said: list[str] = []
    assert runtimes.ensure(SPEC, said.append) == info
    assert said == []
    assert runtimes.state(SPEC).info == info
