"""What is shipped of 0.32.0 is what a real 0.32.0 tells. In `make test-real`."""

import os
from pathlib import Path

import pytest
from fakes.sandbox import REPOSITORY

from orchestrator.engine_data import load, shipped
from orchestrator.engines.knowledge import read
from orchestrator.engines.values import check_value
from orchestrator.engines.vllm import argv
from orchestrator.load import load_environment
from orchestrator.model import Json, ModelRef, RuntimeInfo, RuntimeSpec, Serve, Spec
from orchestrator.runtimes.catalogue import Runtimes
from orchestrator.runtimes.flags import ask

pytestmark = pytest.mark.real_more

ODD: dict[str, Json] = {
    "quantization": "AWQ_MARLIN",
    "max_model_len": "40k",
    "max_num_batched_tokens": "8k",
    "gpu_memory_utilization": 1,
    "attention_backend": "flash_attn",
    "moe_backend": "flashinfer-trtllm",
    "distributed_executor_backend": "my.package.Executor",
    "optimization_level": 3,
    "headless": True,
    "no_enable_prefix_caching": True,
    "allowed_origins": '["*"]',
    "compilation_config": {"mode": None, "cudagraph_mode": "FULL"},
    "kv_transfer_config": '{"kv_connector_extra_config": {"bytes": 80m}}',
    "lora_modules": [{"name": "a", "path": "/b"}],
    "hf_overrides": {"rope_scaling": {"type": "yarn"}},
    "hf_token": True,
    "seed": -1,
}
"""Values that are right in ways that are easily taken for wrong."""


@pytest.fixture(scope="module")
def runtimes(
    real_runtime: dict[str, str], data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Runtimes, RuntimeInfo]:
    spec = load_environment(REPOSITORY / "environments" / "cpu.yaml", {}).runtime
    made = Runtimes(data_dir, tmp_path_factory.mktemp("cache"), {**os.environ, **real_runtime})
    return made, made.ensure(spec, lambda line: None)


def test_a_real_engine_must_tell_what_is_shipped_of_its_version(runtimes: tuple[Runtimes, RuntimeInfo]) -> None:
    made, info = runtimes
    told, known = read(ask(Path(info.python), made.variables, info.env)), load(shipped()["0.32.0"])
    assert told is not None
    assert known is not None
    assert {name for name in {*told.flags, *known.flags} if told.flags.get(name) != known.flags.get(name)} == set()
    assert told.quantization == known.quantization
    assert told.architectures == known.architectures
    assert told.unread == known.unread


def test_what_counts_as_right_must_be_right_for_the_real_parser(runtimes: tuple[Runtimes, RuntimeInfo]) -> None:
    made, info = runtimes
    known = load(shipped()["0.32.0"])
    assert known is not None
    found = {name: known.find(name) for name in ODD}
    assert {name: check_value(flag, ODD[name]) for name, flag in found.items() if flag} == dict.fromkeys(ODD)
    spec = Spec(ModelRef(repo="m"), Serve(port=8000, args=ODD), RuntimeSpec("self"))
    said: list[str] = []
    assert made.check_argv(info, argv(spec, info), said.append) is None
    assert said == []
