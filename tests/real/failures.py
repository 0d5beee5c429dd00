"""Ways to break a start, each for real: what is changed about the shipped demo, how the engine then ends, and what
`orch explain` has to make of it."""

import json
import os
import signal
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.hub import Hub

Changes = Mapping[str, Any]
"""Dotted path -> value; None removes. ``{folder}`` stands for a folder of its own, ``{hub}`` for a Hub's address."""


@dataclass(frozen=True, slots=True)
class Failure:
    """``profile`` and ``environment`` change the YAML, ``files`` what is in its folder and in its copy of the model
    (called with both), ``hub`` what a Hub holds. ``under``: what orch runs under (a limit); ``mounts``: a script that
    mounts first. ``alone``: orch refuses such a start before it makes one, so the engine is started without it, with
    the command that `orch export` gives. ``meddle`` is what happens to it from outside. ``also``: another signature
    that is as good, where it is up to chance. ``ending`` is how the engine ends, as in `Ending`. ``cured``: its cure is
    a change of YAML, and what is to be served becomes ready by it. ``seldom``: only when logs are recorded, for all of
    them take long."""

    id: str
    stage: str
    also: str = ""
    profile: Changes = field(default_factory=dict)
    environment: Changes = field(default_factory=dict)
    files: Callable[[Path, Path], None] | None = None
    hub: Callable[[Hub], None] | None = None
    under: tuple[str, ...] = ()
    mounts: str = ""
    alone: bool = False
    meddle: "Meddle | None" = None
    ending: Mapping[str, Any] = field(default_factory=lambda: {"code": 1})
    cured: bool = False
    seldom: bool = False


@dataclass(frozen=True, slots=True)
class Meddle:
    """Sends a signal to the API server at once, ``late``: when its EngineCore is there; or to that (``core``)."""

    signal: int
    core: bool = False
    late: bool = False


# ------------------------------------------------------------------------------------------------- what breaks a model


def config(**changes: Any) -> Callable[[Path, Path], None]:
    """Other values in config.json; None takes one away."""

    def change(_: Path, model: Path) -> None:
        file = model / "config.json"
        old = json.loads(file.read_text())
        file.write_text(json.dumps({name: value for name, value in (old | changes).items() if value is not None}))

    return change


def without(*names: str) -> Callable[[Path, Path], None]:
    def remove(_: Path, model: Path) -> None:
        for name in names:
            (model / name).unlink()

    return remove


def with_text(name: str, text: str) -> Callable[[Path, Path], None]:
    """In its folder; with "model/" in front, in the model's."""

    def write(folder: Path, model: Path) -> None:
        (folder / name if not name.startswith("model/") else model / name.removeprefix("model/")).write_text(text)

    return write


def cut_short(folder: Path, model: Path) -> None:
    os.truncate(model / "model.safetensors", 100_000)


def own_code(text: str) -> Callable[[Path, Path], None]:
    """A model that comes with code of its own."""

    def write(folder: Path, model: Path) -> None:
        config(model_type="tiny_own", auto_map={"AutoConfig": "own.TinyConfig"})(folder, model)
        (model / "own.py").write_text(text)

    return write


def folder(name: str) -> Callable[[Path, Path], None]:
    return lambda folder, _: (folder / name).mkdir()


def adapter(folder: Path, model: Path) -> None:
    """A LoRA adapter of rank 48 that changes nothing."""
    rank, hidden, queries, layers = 48, 64, 128, 2
    made = folder / "adapter"
    made.mkdir()
    made.joinpath("adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"], "bias": "none"})
    )
    header: dict[str, Any] = {}
    size = 0
    for layer in range(layers):
        for part, shape in (("A", (rank, hidden)), ("B", (queries, rank))):
            end = size + 2 * shape[0] * shape[1]
            name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{part}.weight"
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (size, end)}
            size = end
    text = json.dumps(header).encode()
    made.joinpath("adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))


def empty(hub: Hub) -> None:
    """It knows no model."""


def holding(hub: Hub) -> None:
    hub.add("some-lab/tiny", {"config.json": b"{}"})


def gated(hub: Hub) -> None:
    hub.add("some-lab/tiny", {"config.json": b"{}"}, gated=True, token="of-a-friend")


OWN_CODE = """
from transformers import Qwen3Config


class TinyConfig(Qwen3Config):
    model_type = "tiny_own"
"""
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
LARGE = {
    "num_hidden_layers": 16,
    "layer_types": ["full_attention"] * 16,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "max_position_embeddings": 65536,
}
"""A model whose tokens take 32 KiB of KV cache each; its weights are made up (load_format: dummy)."""

# ----------------------------------------------------------------------------------------------------------- the table

COMPILED: Changes = {"serve.args.enforce_eager": None}
FROM_HUB: Changes = {"model.path": None, "model.repo": "some-lab/tiny"}
ONLINE: Changes = {"env.HF_ENDPOINT": "{hub}", "env.HF_HUB_OFFLINE": "0"}

FAILURES = (
    # ---- what is asked for
    Failure("max-len-above-model", "config", profile={"serve.max_model_len": 4096}, cured=True),
    Failure(
        "flag-unknown", "imports", profile={"serve.args.swap_space": 4}, alone=True, ending={"code": 2}, cured=True
    ),
    Failure(
        "flag-value", "imports", profile={"serve.args.dtype": "bfloat17"}, alone=True, ending={"code": 2}, seldom=True
    ),
    Failure(
        "settings-refused",
        "config",
        profile={"serve.args.max_num_batched_tokens": 100, "serve.args.no_enable_chunked_prefill": True},
        seldom=True,
    ),
    Failure(
        "heads-not-divisible",
        "config",
        profile={"serve.tensor_parallel_size": 2, "serve.args.load_format": "dummy"},
        files=config(num_attention_heads=3, num_key_value_heads=3),
        cured=True,
    ),
    Failure(
        "quantization-mismatch",
        "config",
        profile={"model.quantization": "awq"},
        files=config(quantization_config={"quant_method": "compressed-tensors", "config_groups": {}, "ignore": []}),
    ),
    Failure(
        "lora-rank",
        "warmup",
        profile={"serve.args.enable_lora": True, "serve.args.lora_modules": ["mine={folder}/adapter"]},
        files=adapter,
        cured=True,
    ),
    Failure(
        "chat-template-path",
        "imports",
        profile={"serve.args.chat_template": "templates/mine.jinja"},
        alone=True,
        cured=True,
    ),
    Failure(
        "chat-template-broken",
        "warmup",
        profile={"serve.args.chat_template": "{folder}/mine.jinja"},
        files=with_text("mine.jinja", "{% for message in messages %}{{ message content }}{% endfor %}"),
        seldom=True,
    ),
    # ---- the model
    Failure("architecture-unknown", "config", files=config(architectures=["FutureForCausalLM"])),
    Failure("model-type-unknown", "config", files=config(model_type="future_moe"), seldom=True),
    Failure("trust-remote-code", "config", files=own_code(OWN_CODE), cured=True),
    Failure(
        "package-missing",
        "config",
        files=own_code(f"import package_of_the_future\n{OWN_CODE}"),
        profile={"serve.args.trust_remote_code": True},
        seldom=True,
    ),
    Failure("tokenizer-empty", "warmup", files=without("tokenizer.json", "tokenizer_config.json"), seldom=True),
    Failure("tokenizer-missing", "config", files=without("tokenizer.json")),
    Failure(
        "tokenizer-broken", "config", files=with_text("model/tokenizer.json", '{"version": "1.0", "model": {"type')
    ),
    Failure("config-missing", "config", files=without("config.json"), alone=True),
    Failure("weights-missing", "load", files=without("model.safetensors")),
    Failure("weights-truncated", "load", files=cut_short),
    Failure("weights-corrupt", "load", files=with_text("model/model.safetensors", POINTER), seldom=True),
    Failure("offline-not-cached", "config", profile={"serve.args.tokenizer": "some-lab/tokenizer"}, alone=True),
    Failure("repo-missing", "config", profile=FROM_HUB, environment=ONLINE, hub=empty, alone=True),
    Failure(
        "repo-gated",
        "config",
        profile=FROM_HUB,
        environment=ONLINE,
        hub=gated,
        alone=True,
    ),
    Failure(
        "revision-missing",
        "config",
        profile={**FROM_HUB, "model.revision": "v9"},
        environment=ONLINE,
        hub=holding,
        alone=True,
    ),
    # ---- the computer
    Failure(
        "kv-cache-too-small-cpu",
        "load",
        profile={"serve.max_model_len": 40960, "serve.args.load_format": "dummy"},
        files=config(**LARGE),
        cured=True,
    ),
    Failure("cpu-kv-space-too-large", "load", environment={"env.VLLM_CPU_KVCACHE_SPACE": "4000"}, cured=True),
    Failure(
        "cpu-memory-not-free",
        "config",
        environment={"env.VLLM_CPU_KVCACHE_SPACE": None},
        profile={"serve.gpu_memory_utilization": 1.0},
        seldom=True,
    ),
    Failure("port-taken", "config", alone=True),
    Failure("too-many-open-files", "config", under=("prlimit", "--nofile=40:40")),
    Failure("memory-refused", "warmup", under=("prlimit", f"--as={3 << 30}"), seldom=True),
    Failure("shared-memory-too-small", "config", mounts="mount -t tmpfs -o size=4k none /dev/shm"),
    Failure(
        "disk-full",
        "compile",
        profile=COMPILED,
        environment={"env.VLLM_CACHE_ROOT": "{folder}/cache"},
        files=folder("cache"),
        mounts="mount -t tmpfs -o size=8k none {folder}/cache",
    ),
    Failure(
        "cache-permission",
        "compile",
        profile=COMPILED,
        environment={"env.VLLM_CACHE_ROOT": "{folder}/cache"},
        files=folder("cache"),
        mounts="mount -t tmpfs -o ro none {folder}/cache",
        seldom=True,
    ),
    Failure("cxx-compiler-missing", "compile", profile=COMPILED, environment={"env.CXX": "/nowhere/g++"}, cured=True),
    Failure("python-headers-missing", "compile", profile=COMPILED, mounts="mount -t tmpfs none {headers}", seldom=True),
    # ---- from outside
    Failure("killed", "config", meddle=Meddle(signal.SIGKILL, late=True), ending={"signal": 9, "oom_killed": False}),
    Failure("killed-by-sigill", "environment", meddle=Meddle(signal.SIGILL), ending={"signal": 4}),
    Failure("killed-by-sigsegv", "environment", meddle=Meddle(signal.SIGSEGV), ending={"signal": 11}, seldom=True),
    Failure("part-gone", "config", also="part-killed", meddle=Meddle(signal.SIGKILL, core=True)),
    Failure(
        "segfault",
        "config",
        environment={"env.PYTHONFAULTHANDLER": "1"},
        meddle=Meddle(signal.SIGSEGV, core=True),
    ),
    Failure(
        "silent",
        "environment",
        profile={"readiness.timeout": "6s"},
        meddle=Meddle(signal.SIGSTOP),
        ending={"timed_out": True},
    ),
    Failure(
        "not-ready-in-time",
        "config",
        profile={"readiness.timeout": "90s", "drain": "1s"},  # else it goes on while it is ended
        meddle=Meddle(signal.SIGSTOP, core=True),
        ending={"timed_out": True},
        cured=True,
    ),
)
SOONEST = frozenset(("flag-unknown", "port-taken", "silent"))
