"""What is shipped of 0.32.0 is what a real 0.32.0 tells. In `make test-real`."""

import os
from pathlib import Path

import pytest
from fakes.sandbox import REPOSITORY

from orchestrator.engine_data import load, shipped
from orchestrator.engines.knowledge import read
from orchestrator.load import load_environment
from orchestrator.runtimes.catalogue import Runtimes
from orchestrator.runtimes.flags import ask

pytestmark = pytest.mark.real_more


def test_a_real_engine_must_tell_what_is_shipped_of_its_version(
    real_runtime: dict[str, str], data_dir: Path, tmp_path: Path
) -> None:
    spec = load_environment(REPOSITORY / "environments" / "cpu.yaml", {}).runtime
    variables = {**os.environ, **real_runtime}
    info = Runtimes(data_dir, tmp_path, variables).ensure(spec, lambda line: None)
    told, known = read(ask(Path(info.python), variables, info.env)), load(shipped()["0.32.0"])
    assert told is not None
    assert known is not None
    assert told.flags == known.flags
    assert told.quantization == known.quantization
    assert told.architectures == known.architectures
    assert told.unread == known.unread
