"""Model folders with real headers and no weights: the files are sparse, so that 65 GB take a few KB of a disk."""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

QWEN3_32B: Mapping[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "num_hidden_layers": 64,
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
"""As it is published: 65,524,246,528 bytes of weights."""


def write_model(folder: Path, config: Mapping[str, Any] = QWEN3_32B, shards: int = 17, here: int | None = None) -> Path:
    """A Qwen3 as transformers writes it. ``here``: only so many of its shards are there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = list(_tensors(config))
    size = -(-len(tensors) // shards)
    names = [f"model-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1)]
    where = {}
    for number, name in enumerate(names):
        mine = tensors[number * size : (number + 1) * size]
        where |= {tensor: name for tensor, _ in mine}
        if here is None or number < here:
            _write(folder / name, mine)
    total = sum(_bytes(shape) for _, shape in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def _write(file: Path, tensors: list[tuple[str, tuple[int, ...]]]) -> None:
    header, at = {}, 0
    for name, shape in tensors:
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + _bytes(shape)]}
        at += _bytes(shape)
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + at)


def _bytes(shape: tuple[int, ...]) -> int:
    size = 2
    for length in shape:
        size *= length
    return size


def _tensors(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, size, width = config["hidden_size"], config["head_dim"], config["intermediate_size"]
    heads, pairs = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        yield f"{at}.input_layernorm.weight", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", (hidden,)
        yield f"{at}.self_attn.q_norm.weight", (size,)
        yield f"{at}.self_attn.k_norm.weight", (size,)
        yield f"{at}.self_attn.q_proj.weight", (heads, hidden)
        yield f"{at}.self_attn.k_proj.weight", (pairs, hidden)
        yield f"{at}.self_attn.v_proj.weight", (pairs, hidden)
        yield f"{at}.self_attn.o_proj.weight", (hidden, heads)
        yield f"{at}.mlp.gate_proj.weight", (width, hidden)
        yield f"{at}.mlp.up_proj.weight", (width, hidden)
        yield f"{at}.mlp.down_proj.weight", (hidden, width)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (config["vocab_size"], hidden)
