"""From what was found of a model's files to its shape and its weights. Pure."""

from collections.abc import Mapping
from typing import Any

from orchestrator.fit.config import architecture
from orchestrator.fit.description import Description
from orchestrator.fit.gguf import gguf_architecture
from orchestrator.fit.model import Architecture, Weights
from orchestrator.fit.weights import computed, measured

_BESIDE: Mapping[str, Mapping[str, Any]] = {
    "hf_quant_config.json": {},
    "quantize_config.json": {"quant_method": "gptq"},
    "quant_config.json": {"quant_method": "awq"},
}
"""Files beside config.json that say how a model is quantized, where it does not say so itself; and what they leave
out."""


def model_of(found: Description) -> tuple[Architecture, Weights]:
    """The weights as the headers measure them, if all of them could be read; else computed from the shape."""
    if found.kind == "gguf" and found.headers:
        shape = gguf_architecture(found.headers)
    else:
        shape = architecture(config_of(found))
    return shape, measured(found.headers, shape) if found.complete else computed(shape)


def config_of(found: Description) -> Mapping[str, Any]:
    """config.json, with what lies beside it; empty when there is none."""
    config = found.config or {}
    if config.get("quantization_config") or config.get("compression_config"):
        return config
    for name, left_out in _BESIDE.items():
        if told := found.texts.get(name):
            return {**config, "quantization_config": {**left_out, **told}}
    return config
