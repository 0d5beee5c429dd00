"""From files to a shape and weights: what headers measure, what else is computed, how old files say quantization."""

import json
from pathlib import Path
from typing import Any

import pytest
from weight_files import Gguf, safetensors

from orchestrator import headers
from orchestrator.fit.known import config_of, model_of

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "vocab_size": 512,
    "tie_word_embeddings": True,
    "max_position_embeddings": 1024,
    "torch_dtype": "bfloat16",
}
FP8 = {"quant_method": "fp8"}
SHAPES = {
    "model.embed_tokens.weight": [512, 64],
    "model.layers.0.self_attn.q_proj.weight": [64, 64],
    "model.layers.0.self_attn.k_proj.weight": [32, 64],
    "model.layers.0.self_attn.v_proj.weight": [32, 64],
    "model.layers.0.self_attn.o_proj.weight": [64, 64],
    "model.layers.0.self_attn.q_norm.weight": [16],
    "model.layers.0.self_attn.k_norm.weight": [16],
    "model.layers.0.mlp.gate_proj.weight": [128, 64],
    "model.layers.0.mlp.up_proj.weight": [128, 64],
    "model.layers.0.mlp.down_proj.weight": [64, 128],
    "model.layers.0.input_layernorm.weight": [64],
    "model.layers.0.post_attention_layernorm.weight": [64],
    "model.norm.weight": [64],
}
# 512*64 + (64*64 + 32*64 + 32*64 + 64*64) + 2*16 + 3*64*128 + 3*64
PARAMETERS = 32768 + 12288 + 32 + 24576 + 192


def weights() -> bytes:
    sizes = {name: 2 * shape[0] * (shape[1] if len(shape) > 1 else 1) for name, shape in SHAPES.items()}
    return safetensors({name: ("BF16", shape, sizes[name]) for name, shape in SHAPES.items()})


def laid(top: Path, **texts: Any) -> Path:
    for name, value in texts.items():
        (top / f"{name}.json").write_text(json.dumps(value))
    return top


def test_weights_are_measured_where_all_headers_are_read(tmp_path: Path) -> None:
    (laid(tmp_path, config=CONFIG) / "model.safetensors").write_bytes(weights())
    shape, found = model_of(headers.folder(tmp_path))
    assert (shape.layers, shape.kv_heads, shape.head_size, shape.tied) == (1, 2, 16, True)
    assert (found.how, found.parameters, found.bytes) == ("measured", PARAMETERS, 2 * PARAMETERS)


def test_weights_are_computed_where_they_are_not_here(tmp_path: Path) -> None:
    _, found = model_of(headers.folder(laid(tmp_path, config=CONFIG)))
    assert (found.how, found.parameters, found.bytes) == ("computed", PARAMETERS, 2 * PARAMETERS)


def test_a_part_of_the_headers_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    (laid(tmp_path, config=CONFIG) / "model-00001-of-00002.safetensors").write_bytes(weights())
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"\xff" * 99)
    assert model_of(headers.folder(tmp_path))[1].how == "computed"


def test_gguf_tells_its_shape_itself(tmp_path: Path) -> None:
    pairs = {
        "general.architecture": ("text", "llama"),
        "llama.block_count": ("u32", 2),
        "llama.embedding_length": ("u32", 256),
        "llama.attention.head_count": ("u32", 8),
        "llama.attention.head_count_kv": ("u32", 2),
        "llama.context_length": ("u32", 4096),
        "tokenizer.ggml.tokens": ("[text]", ["t"] * 2000),
    }
    tensors = [("token_embd.weight", (256, 2000), 12, 2000 * 144), ("output_norm.weight", (256,), 0, 1024)]
    (tmp_path / "m.gguf").write_bytes(Gguf(pairs, tensors).file())
    shape, found = model_of(headers.at(tmp_path / "m.gguf"))
    assert (shape.layers, shape.hidden, shape.vocabulary, shape.max_positions) == (2, 256, 2000, 4096)
    assert [layer.kv_heads for layer in shape.attention] == [2, 2]
    assert (found.how, found.bytes) == ("measured", 2000 * 144 + 1024)


@pytest.mark.parametrize(
    ("texts", "method", "bits"),
    [
        ({"quantize_config": {"bits": 8, "group_size": 128}}, "gptq", 8),
        ({"quant_config": {"w_bit": 4, "q_group_size": 128, "zero_point": True}}, "awq", 4),
        ({"hf_quant_config": {"quantization": {"quant_algo": "NVFP4"}}}, "modelopt_fp4", 4),
        (
            {"quantize_config": {"bits": 8}, "config": CONFIG | {"quantization_config": {"quant_method": "fp8"}}},
            "fp8",
            8,
        ),
    ],
)
def test_how_a_model_is_quantized_may_stand_beside_its_config(
    tmp_path: Path, texts: dict[str, Any], method: str, bits: int
) -> None:
    shape, _ = model_of(headers.folder(laid(tmp_path, **{"config": CONFIG} | texts)))
    assert shape.quantization
    assert (shape.quantization.method, shape.quantization.bits) == (method, bits)


def test_nothing_known_is_nothing_said(tmp_path: Path) -> None:
    found = headers.folder(tmp_path)
    assert config_of(found) == {}
    shape, weights = model_of(found)
    assert shape.layers == weights.bytes == 0
    assert shape.unknown
