"""What is reckoned of small models of several shapes, beside what a real engine on this processor holds once it has
loaded them: the bytes of its weights, and the tokens of KV cache that it reports. One process loads them all.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.sandbox import REPOSITORY
from fit_kit import awq, plain, tensor, tiny
from weight_files import with_length

from orchestrator import headers
from orchestrator.fit.known import model_of
from orchestrator.fit.layout import layout
from orchestrator.fit.model import Cards, Tensor, Use
from orchestrator.load import load_environment
from orchestrator.runtimes.catalogue import Runtimes

pytestmark = pytest.mark.real_more

GIB = 1 << 30


def _named(architecture: str, kind: str, **more: Any) -> dict[str, Any]:
    return tiny(architectures=[architecture], model_type=kind, hidden_act="silu", rms_norm_eps=1e-6, **more)


def _gemma(config: dict[str, Any]) -> Iterator[Tensor]:
    """Two more norms a layer, norms of queries and keys, and no head of its own."""
    for one in plain({**config, "model_type": "qwen3"}):
        if one.name != "lm_head.weight":
            yield one
    for layer in range(config["num_hidden_layers"]):
        for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
            yield tensor(f"model.layers.{layer}.{name}.weight", "BF16", config["hidden_size"])


def _mixtral(config: dict[str, Any]) -> Iterator[Tensor]:
    names = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
    shape = {**config, "num_experts": config["num_local_experts"], "moe_intermediate_size": config["intermediate_size"]}
    for one in plain(shape):
        name = one.name.replace("mlp", "block_sparse_moe")
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        yield Tensor(name, one.dtype, one.shape, one.bytes)


def _tied(config: dict[str, Any]) -> Iterator[Tensor]:
    return (one for one in plain(config) if one.name != "lm_head.weight")


WIDE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
FOUR_BITS = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
MIXED = ["sliding_attention", "sliding_attention", "full_attention"]
GEMMA: dict[str, Any] = {"num_hidden_layers": 6, "layer_types": MIXED * 2, "sliding_window": 64, "head_dim": 64,
                         "query_pre_attn_scalar": 64, "hidden_activation": "gelu_pytorch_tanh",
                         "tie_word_embeddings": True, "max_position_embeddings": 512,
                         "rope_theta": 1e4, "rope_local_base_freq": 1e4}  # fmt: skip
MODELS: dict[str, tuple[dict[str, Any], Any]] = {
    "grouped heads": (_named("Qwen3ForCausalLM", "qwen3"), plain),
    "a KV head for each head, tied": (
        _named("LlamaForCausalLM", "llama", num_key_value_heads=4, tie_word_embeddings=True), _tied
    ),
    "a window": (_named("MistralForCausalLM", "mistral", sliding_window=64, max_position_embeddings=4096), plain),
    "windows in two layers of three, tied": (_named("Gemma3ForCausalLM", "gemma3_text", **GEMMA), _gemma),
    "experts": (
        _named("Qwen3MoeForCausalLM", "qwen3_moe", num_experts=8, num_experts_per_tok=2, moe_intermediate_size=64,
               decoder_sparse_step=1, norm_topk_prob=True, mlp_only_layers=[]), plain
    ),
    "Mixtral's experts": (
        _named("MixtralForCausalLM", "mixtral", num_local_experts=4, num_experts_per_tok=2), _mixtral
    ),
    "AWQ": (
        _named("LlamaForCausalLM", "llama", **WIDE, quantization_config=FOUR_BITS), awq
    ),
}  # fmt: skip


def _write(folder: Path, config: dict[str, Any], tensors: list[Tensor]) -> None:
    """Its weights are all nought: what they take is what counts."""
    at, header = 0, {}
    for one in tensors:
        header[one.name] = {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": [at, at + one.bytes]}
        at += one.bytes
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(with_length(json.dumps(header)) + bytes(at))


@pytest.fixture(scope="module")
def weighed(
    real_runtime: dict[str, str], data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Any]]]:
    top = tmp_path_factory.mktemp("models")
    folders = {name: top / f"m{index}" for index, name in enumerate(MODELS)}
    for name, (config, made) in MODELS.items():
        _write(folders[name], config, list(made(config)))
    spec = load_environment(REPOSITORY / "environments" / "cpu.yaml", {}).runtime
    info = Runtimes(data_dir, top, {**os.environ, **real_runtime}).ensure(spec, lambda line: None)
    command = [info.python, str(Path(__file__).with_name("weigh.py")), *map(str, folders.values())]
    env = {"PATH": os.environ["PATH"], "HOME": str(top), **info.env}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=570, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    assert len(lines) == len(MODELS), done.stderr[-3000:]
    return {name: (folders[name], line) for name, line in zip(MODELS, lines, strict=True)}


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_tokens_of_cache(weighed: dict[str, tuple[Path, dict[str, Any]]], name: str) -> None:
    folder, told = weighed[name]
    assert "error" not in told, told["error"]
    found = layout(*model_of(headers.folder(folder)), Cards(GIB, cpu=True), Use(dtype="bfloat16"))
    assert found.weights is not None
    assert found.kv_tokens is not None
    print(f"\n{name}: weights {found.weights.value:,.0f} of {told['bytes']:,} B,", end=" ")  # noqa: T201
    print(f"KV cache {found.kv_tokens.value:,.0f} of {told['tokens']:,} tokens")  # noqa: T201
    assert found.weights.value == pytest.approx(told["bytes"], rel=0.01)
    assert found.kv_tokens.value == pytest.approx(told["tokens"], rel=0.01)
