"""Tokens counted by a real transformers in the runtime of a real engine, which takes seconds."""

import os
from pathlib import Path

import pytest
from fakes.sandbox import REPOSITORY

from orchestrator.fit.inputs import read_inputs
from orchestrator.load import load_environment
from orchestrator.model import RuntimeState
from orchestrator.runtimes.catalogue import Runtimes
from orchestrator.runtimes.tokens import count


@pytest.mark.real
def test_a_real_tokenizer_must_count_a_text_with_the_models_template(
    real_runtime: dict[str, str], data_dir: Path, tmp_path: Path
) -> None:
    spec = load_environment(REPOSITORY / "environments" / "cpu.yaml", {}).runtime
    runtimes = Runtimes(data_dir, tmp_path, {**os.environ, **real_runtime})
    state = RuntimeState("ready", info=runtimes.ensure(spec, lambda line: None))
    texts = [b"x" * 1000, b"x" * 4000, b'[{"role": "system", "content": "x"}, {"role": "user", "content": "x"}]']
    inputs = [one for text in texts for one in read_inputs("f", text)]
    found = count(spec, state, REPOSITORY / "profiles/models/tiny-qwen3", inputs, os.environ)
    # The tiny vocabulary has no token of several x; what the template puts around a text does not depend on it.
    assert [one.text for one in found.each] == [1000, 4000, 2]
    around = found.each[0].tokens - 1000
    assert found.each[1].tokens - 4000 == around > 0
    assert around < found.each[2].tokens - 2 < 2 * around + 20
    assert found.template
