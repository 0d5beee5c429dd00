"""The arithmetic beside that of hf-mem from PyPI, on the same headers of a Hub on loopback. hf-mem knows one Hub by
name, so its requests are turned to this one. It prints both: `pytest -m real_more -s -k hf_mem`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.hub import Hub
from fit_kit import awq, plain, tiny
from known_models import QWEN3_32B, QWEN3_32B_AWQ

from orchestrator.fit.config import architecture
from orchestrator.fit.kv import cache
from orchestrator.fit.model import Cards, Header, Use
from orchestrator.fit.weights import measured

PINNED = "hf-mem==0.5.6"
DRIVER = """
import sys, warnings
import httpx2
from hf_mem.cli import main
built, here = httpx2.AsyncClient.build_request, sys.argv.pop(1)
def turned(self, method, url, *args, **more):
    return built(self, method, str(url).replace("https://huggingface.co", here), *args, **more)
httpx2.AsyncClient.build_request = turned
warnings.simplefilter("ignore")
main()
"""
TOKENS = 16384
CARDS = Cards(48 << 30)


@pytest.fixture(scope="module")
def hf_mem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with hf-mem in it."""
    venv = tmp_path_factory.mktemp("hf-mem") / "venv"
    uv = Path(sys.executable).with_name("uv")
    python = venv / "bin/python"
    for command in (["venv", "-q", "-p", sys.executable, venv], ["pip", "install", "-q", "-p", python, PINNED]):
        done = subprocess.run([uv, *command], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            why = f"hf-mem comes from PyPI: {done.stderr.strip()[-300:]}"
            (pytest.fail if os.environ.get("ORCH_REQUIRE_ALL") == "1" else pytest.skip)(why)
    return python


def _theirs(python: Path, hub: Hub, *more: str) -> Any:
    command = [python, "-c", DRIVER, hub.endpoint, "--model-id", "org/m", "--json-output", "--details", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _publish(hub: Hub, config: dict[str, Any], tensors: list[Any]) -> None:
    at, header = 0, {}
    for one in tensors:
        header[one.name] = {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": [at, at + one.bytes]}
        at += one.bytes
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": data + bytes(max(0, 200_000 - len(data)))}
    hub.add("org/m", files, sizes={"model.safetensors": max(len(data) + at, 200_000)})


@pytest.mark.real_more
@pytest.mark.parametrize(
    ("name", "config", "kept"),
    [
        ("Qwen3-32B", QWEN3_32B, "all"),
        ("tiny, a KV head for each head", tiny(num_key_value_heads=4), "all"),
        ("tiny, tied, its head written out all the same", tiny(tie_word_embeddings=True), "all"),
        ("Mistral-like, with a window", tiny(model_type="mistral", sliding_window=1024), "some"),
        ("Qwen3-MoE-like", tiny(model_type="qwen3_moe", num_experts=8, moe_intermediate_size=64), "all"),
        ("Qwen3-32B-AWQ", QWEN3_32B_AWQ, "unknown to it"),
    ],
)
def test_beside_hf_mem(hf_mem: Path, hub: Hub, name: str, config: dict[str, Any], kept: str) -> None:
    tensors = list(awq(config) if name.endswith("AWQ") else plain(config))
    _publish(hub, config, tensors)
    found = architecture(config)
    weights = measured([Header(tuple(tensors))], found)
    held = cache(found, Use(), CARDS, range(found.layers))
    assert held is not None
    ours = held.blocks(TOKENS) * held.block_bytes
    asked = () if kept == "unknown to it" else ("--experimental", "--max-model-len", str(TOKENS))
    theirs = _theirs(hf_mem, hub, *asked)
    cached = (theirs["kv_cache"] or {}).get("bytes")
    print(f"\n{name}: weights {weights.bytes:,} B here, {theirs['memory']['bytes']:,} B there;", end=" ")  # noqa: T201
    print(f"KV cache of {TOKENS:,} tokens {ours:,} B here, {cached} there")  # noqa: T201
    unused = config["vocab_size"] * config["hidden_size"] * 2 if config["tie_word_embeddings"] else 0
    assert weights.bytes == theirs["memory"]["bytes"] - unused  # it counts what the engine does not load
    if kept == "all":
        assert ours == cached
    elif kept == "some":  # it counts every token; the engine keeps a window and what is in flight
        assert ours < cached
