"""An engine tells its own command line, from inside its own runtime."""

import ast
import os
from pathlib import Path
from typing import Any

import pytest
from runtime_kit import ENGINE, WITH_PARSER, installed, wheel

from orchestrator import collect
from orchestrator.engine_data import load, remembered, shipped
from orchestrator.engines.knowledge import Engine, read
from orchestrator.engines.values import check_value
from orchestrator.errors import RuntimeFailure
from orchestrator.files import write_json
from orchestrator.runtimes.flags import ask
from orchestrator.runtimes.inspect import INSIDE


@pytest.fixture(scope="module")
def document(fake_runtime: Path) -> dict[str, Any]:
    return ask(fake_runtime / "bin" / "python", os.environ, {})


@pytest.fixture
def engine(document: dict[str, Any]) -> Engine:
    found = read(document)
    assert found is not None
    return found


def test_it_tells_flags_aliases_types_and_defaults(engine: Engine) -> None:
    tensor = engine.find("-tp")
    assert engine.version == "9.9.9"
    assert tensor is not None
    assert (tensor.name, tensor.type, tensor.default) == ("tensor-parallel-size", "int", 1)
    assert engine.find("max_model_len") is not None
    assert engine.find("model_tag") is None  # a positional is no flag
    assert engine.flags["enforce-eager"].negations == ("--no-enforce-eager",)
    assert engine.flags["fake-late-listen"].negations == ()
    assert engine.flags["served-model-name"].nargs == "+"


def test_it_tells_the_bounds_and_choices_that_only_the_config_classes_know(engine: Engine) -> None:
    assert str(engine.flags["gpu-memory-utilization"].bounds) == "over 0 and at most 1"
    assert check_value(engine.flags["tensor-parallel-size"], 0) == "must be at least 1, not 0"
    assert engine.flags["tensor-parallel-size"].config == "ParallelConfig.tensor_parallel_size"
    assert "bfloat16" in engine.flags["dtype"].choices


def test_it_says_what_it_could_not_read_and_guesses_nothing(engine: Engine) -> None:
    assert "the type of fake-wait-for" in engine.unread  # a Path: none of the types that the real engine uses
    assert "the choices of quantization" in engine.unread
    assert engine.flags["quantization"].choices == ()
    assert engine.quantization == {}


@pytest.mark.parametrize("script", ["snapshot", "config_fields", "registries", "describe", "parse_argv"])
def test_an_older_python_can_run_it(script: str) -> None:
    ast.parse((INSIDE / f"{script}.py").read_text(), feature_version=(3, 9))


def test_the_same_runtime_tells_the_same_twice(document: dict[str, Any], fake_runtime: Path) -> None:
    assert ask(fake_runtime / "bin" / "python", os.environ, {}) == document


def test_what_a_runtime_told_is_read_again_from_where_it_is_kept(document: dict[str, Any], tmp_path: Path) -> None:
    file = remembered(tmp_path, "venv-123")
    assert load(file) is None
    write_json(file, document)
    assert load(file) == read(document)


def test_a_wheel_is_read_beside_the_packages_of_another_runtime(fake_runtime: Path, tmp_path: Path) -> None:
    wheel(tmp_path, "vllm", "1.2.3", WITH_PARSER)
    made = tmp_path / "vllm-1.2.3-py3-none-any.whl"
    python = str(fake_runtime / "bin" / "python")
    assert collect.main(["--python", python, "--out", str(tmp_path), str(made)]) == 0
    files = shipped(tmp_path)
    engine = load(files["1.2.3"])
    assert engine is not None
    assert set(engine.flags) == {"model_tag", "model", "max-model-len", "strict"}
    assert made.name in engine.source
    before = files["1.2.3"].read_bytes()
    assert collect.main(["--python", python, "--out", str(tmp_path), str(made)]) == 0
    assert files["1.2.3"].read_bytes() == before


def test_an_engine_whose_parser_is_nowhere_is_an_error_and_not_an_empty_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    python = installed(tmp_path / "rt", "vllm", ENGINE) / "bin" / "python"
    with pytest.raises(RuntimeFailure, match=r"cannot ask the engine of .* for its flags"):
        ask(python, os.environ, {})
    assert collect.main(["--python", str(python), "--out", str(tmp_path)]) == 1
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{}", b"\x1f\x8b\x08\x00", b"[" * 100_000, b'{"schema": 1, "flags": []}'])
@pytest.mark.parametrize("name", ["a.json", "vllm-1.json.gz"])
def test_a_damaged_file_is_no_knowledge_and_no_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert load(tmp_path / name) is None
