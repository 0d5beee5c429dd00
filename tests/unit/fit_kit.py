"""Models for the tests of fit: weight files' headers as published checkpoints have them, and cards."""

from collections.abc import Iterator
from typing import Any

from hypothesis import settings

from orchestrator.fit.config import architecture
from orchestrator.fit.model import Architecture, Cards, Header, Tensor, Weights
from orchestrator.fit.weights import computed

SOME = settings(max_examples=60, deadline=None)
"""Enough for functions of a few numbers; no example is timed, for the machine may be busy."""
GIB = 1 << 30
ADA = Cards(49140 << 20, count=4, name="RTX 6000 Ada Generation", capability="8.9")
"""The card of many a workstation: 48 GB by name, 49,140 MiB by its driver."""
H100 = Cards(80 * GIB, count=8, name="H100", capability="9.0")
WIDTH = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "U8": 1, "F8_E4M3": 1, "I64": 8}

LINEAR = {
    "model_type": "qwen3_5_text", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 16,
    "num_key_value_heads": 4, "head_dim": 256, "full_attention_interval": 4, "vocab_size": 248320,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "mamba_ssm_dtype": "float32",
    "torch_dtype": "bfloat16", "max_position_embeddings": 262144, "intermediate_size": 12288,
}  # fmt: skip
"""A Qwen3.5 of 9 billion: one layer in four looks at everything, the others keep a state."""


def tiny(**more: Any) -> dict[str, Any]:
    """A Qwen3 that fits in a test: two layers of width 64, 4 heads and 2 KV heads of 32, 512 tokens known."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_hidden_layers": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": 512,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        **more,
    }


def both(config: dict[str, Any]) -> tuple[Architecture, Weights]:
    found = architecture(config)
    return found, computed(found)


def tensor(name: str, dtype: str, *shape: int) -> Tensor:
    count = 1
    for size in shape:
        count *= size
    return Tensor(name, dtype, shape, count * WIDTH[dtype])


def header(tensors: Iterator[Tensor] | list[Tensor], file: str = "model.safetensors") -> Header:
    return Header(tuple(tensors), {"format": "pt"}, file)


def plain(config: dict[str, Any]) -> Iterator[Tensor]:
    """A Llama-like model's tensors, as transformers writes them."""
    yield from _outside(config)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        yield from _norms(config, at)
        for name, rows, columns in _linears(config):
            yield tensor(f"{at}.{name}.weight", "BF16", rows, columns)


def awq(config: dict[str, Any]) -> Iterator[Tensor]:
    """The same quantized by AutoAWQ to 4 bits in groups of 128: eight weights a word, inputs first."""
    yield from _outside(config)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        yield from _norms(config, at)
        for name, rows, columns in _linears(config):
            yield tensor(f"{at}.{name}.qweight", "I32", columns, rows // 8)
            yield tensor(f"{at}.{name}.qzeros", "I32", columns // 128, rows // 8)
            yield tensor(f"{at}.{name}.scales", "F16", columns // 128, rows)


def _outside(config: dict[str, Any]) -> Iterator[Tensor]:
    rows, hidden = config["vocab_size"], config["hidden_size"]
    yield tensor("model.embed_tokens.weight", "BF16", rows, hidden)
    yield tensor("model.norm.weight", "BF16", hidden)
    yield tensor("lm_head.weight", "BF16", rows, hidden)


def _norms(config: dict[str, Any], at: str) -> Iterator[Tensor]:
    for name in ("input_layernorm", "post_attention_layernorm"):
        yield tensor(f"{at}.{name}.weight", "BF16", config["hidden_size"])
    if config["model_type"].startswith("qwen3"):
        for name in ("q_norm", "k_norm"):
            yield tensor(f"{at}.self_attn.{name}.weight", "BF16", config["head_dim"])


def _linears(config: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    hidden, size = config["hidden_size"], config["head_dim"]
    heads, pairs = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    yield "self_attn.q_proj", heads, hidden
    yield "self_attn.k_proj", pairs, hidden
    yield "self_attn.v_proj", pairs, hidden
    yield "self_attn.o_proj", hidden, heads
    if config.get("num_experts"):
        width = config["moe_intermediate_size"]
        yield "mlp.gate", config["num_experts"], hidden
        for expert in range(config["num_experts"]):
            yield f"mlp.experts.{expert}.gate_proj", width, hidden
            yield f"mlp.experts.{expert}.up_proj", width, hidden
            yield f"mlp.experts.{expert}.down_proj", hidden, width
        return
    width = config["intermediate_size"]
    yield "mlp.gate_proj", width, hidden
    yield "mlp.up_proj", width, hidden
    yield "mlp.down_proj", hidden, width
