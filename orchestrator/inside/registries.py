"""Where the engine keeps what it knows by name: parsers, loaders, methods. Places change between versions."""

from __future__ import annotations

import enum
import importlib
import typing
from typing import Any

REGISTRIES: dict[str, tuple[tuple[str, str], ...]] = {
    "quantization": (("vllm.model_executor.layers.quantization", "QUANTIZATION_METHODS"),),
    "load_format": (
        ("vllm.model_executor.model_loader", "_LOAD_FORMAT_TO_MODEL_LOADER"),
        ("vllm.config.load", "LoadFormat"),
        ("vllm.config", "LoadFormat"),
    ),
    "config_format": (
        ("vllm.transformers_utils.config", "_CONFIG_FORMAT_TO_CONFIG_PARSER"),
        ("vllm.config.model", "ConfigFormat"),
        ("vllm.config", "ConfigFormat"),
    ),
    "tool_call_parser": (
        ("vllm.tool_parsers", "ToolParserManager.list_registered"),
        ("vllm.entrypoints.openai.tool_parsers", "ToolParserManager.list_registered"),
        ("vllm.entrypoints.openai.tool_parsers", "ToolParserManager.tool_parsers"),
    ),
    "reasoning_parser": (
        ("vllm.reasoning", "ReasoningParserManager.list_registered"),
        ("vllm.reasoning", "ReasoningParserManager.reasoning_parsers"),
    ),
    "tokenizer_mode": (
        ("vllm.tokenizers.registry", "_VLLM_TOKENIZERS"),
        ("vllm.tokenizers.registry", "TokenizerRegistry.tokenizers"),
    ),
    "kv_connector": (
        ("vllm.distributed.kv_transfer.kv_connector.factory", "KVConnectorFactory._registry"),
        ("vllm.distributed.kv_transfer.kv_connector.v1.factory", "KVConnectorFactory._registry"),
    ),
}
"""Names that a dictionary of the engine knows, by the flag or field that takes them; the first place that has them."""
ALSO = {"config_format": ("auto",)}
"""Words that the engine treats before it looks into the registry."""


def attribute(module: str, path: str) -> Any:
    """None where this version keeps it somewhere else."""
    try:
        found: Any = importlib.import_module(module)
    except Exception:  # noqa: BLE001 (importing the engine runs anything)
        return None
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def registry(name: str) -> list[str]:
    for module, path in REGISTRIES[name]:
        found = attribute(module, path)
        if found is None:
            continue
        if isinstance(found, type) and issubclass(found, enum.Enum):
            return [member.value for member in found]
        if typing.get_origin(found) is typing.Literal:
            return list(typing.get_args(found))
        return [str(one) for one in (found() if callable(found) else found)]
    return []
