"""What a checkpoint's quantization_config says, and what a matrix takes under it. Pure.

Sizes are those of the layouts that the tools write (AutoAWQ, GPTQModel, llm-compressor, ModelOpt, bitsandbytes): the
packed weights with their scales and zero points.
"""

import re
from collections.abc import Mapping
from fnmatch import fnmatch

from orchestrator.fit.fields import Config, flag, number, numbers, part, word, words
from orchestrator.fit.model import Quantization

TENSOR, CHANNEL = -1, 0
_FORMATS = {"mxfp4": (4.0, 32), "nvfp4": (4.0, 16), "modelopt_fp4": (4.0, 16), "fp8": (8.0, TENSOR)}
_ALGORITHMS = {"NVFP4": "modelopt_fp4", "FP8": "modelopt"}


def quantization(config: Config) -> Quantization | None:
    """Of a whole config.json; None when the weights are plain."""
    held = part(config, "quantization_config", "compression_config") or _inside(config)
    if not held:
        return None
    modelopt = part(held, "quantization")
    method = word(held, "quant_method").lower().replace("_", "-") or ("modelopt" if modelopt else "unknown")
    method = "modelopt_fp4" if method == "modelopt-fp4" else method.replace("gptq-", "gptq")
    method = _ALGORITHMS.get(word(held, "quant_algo") or word(modelopt, "quant_algo"), method)
    kept = words(held, "modules_to_not_convert", "ignored_layers", "ignore", "llm_int8_skip_modules", "exclude_modules")
    kept += words(modelopt, "exclude_modules")
    if method == "bitsandbytes":
        four = flag(held, "load_in_4bit")
        return Quantization(method, 4 if four else 8, 64 if four else CHANNEL, kept=kept,
                            zero_points=not flag(held, "bnb_4bit_use_double_quant"))  # fmt: skip
    groups = part(held, "config_groups")
    weights = next((part(group, "weights") for group in groups.values() if isinstance(group, Mapping)), {})
    cache = _cache(
        part(held, "kv_cache_scheme"), word(held, "kv_cache_quant_algo") or word(modelopt, "kv_cache_quant_algo")
    )
    if weights:
        return _grouped(method, weights, kept, cache)
    bits, group = _FORMATS.get(method, (8.0 if method == "modelopt" else 0.0, TENSOR))
    block = numbers(held, "weight_block_size")
    return Quantization(
        method,
        float(number(held, "bits", "w_bit") or bits),
        _group(held, group if method not in ("awq", "gptq") else CHANNEL),
        (block[0], block[1]) if len(block) == 2 else (0, 0),
        zero_points=method == "gptq" or flag(held, "zero_point"),
        kv_cache=cache,
        kept=kept if flag(held, "lm_head") or method not in ("awq", "gptq") else (*kept, "lm_head"),
    )


def matrix_bytes(scheme: Quantization, rows: int, columns: int) -> int:
    """Bytes of a weight of ``rows`` outputs by ``columns`` inputs, scales and zero points with it."""
    count, method = rows * columns, scheme.method
    packed = round(count * (scheme.bits or 16) / 8)
    if scheme.block[0] and scheme.block[1]:
        return packed + 4 * _up(rows, scheme.block[0]) * _up(columns, scheme.block[1])
    if method == "bitsandbytes":
        if scheme.bits == 8:
            return packed + 4 * rows
        blocks = _up(count, 64)
        return packed + (4 * blocks if scheme.zero_points else blocks + 4 * _up(blocks, 256))
    if method == "mxfp4":
        return packed + count // 32
    if method in ("modelopt_fp4", "nvfp4"):
        return packed + count // 16 + 8
    if scheme.group == TENSOR:
        return packed + 4
    groups = rows * (_up(columns, scheme.group) if scheme.group > 0 else 1)
    zeros = round(groups * scheme.bits / 8) if scheme.zero_points else 0
    return packed + 2 * groups + zeros + (4 * columns if method == "gptq" else 0)


def converts(scheme: Quantization, module: str) -> bool:
    """Whether the scheme holds for a linear ``module`` (``model.layers.0.mlp.up_proj``)."""
    if scheme.method == "mxfp4" and ".experts" not in module:
        return False
    return not any(_matches(pattern, module) for pattern in scheme.kept)


def _matches(pattern: str, module: str) -> bool:
    if pattern.startswith("re:"):
        try:
            return re.match(pattern[3:], module) is not None
        except re.error:
            return False
    return pattern == module or f".{pattern}." in f".{module}." or ("*" in pattern and fnmatch(module, pattern))


def _grouped(method: str, weights: Config, kept: tuple[str, ...], cache: str) -> Quantization:
    """compressed-tensors' words: a strategy, a group size, and whether there are zero points."""
    strategy, bits = word(weights, "strategy"), float(number(weights, "num_bits"))
    group = {"tensor": TENSOR, "channel": CHANNEL}.get(strategy, number(weights, "group_size") or CHANNEL)
    block = numbers(weights, "block_structure") if strategy == "block" else ()
    if bits == 4 and word(weights, "type") == "float":
        method = "nvfp4" if group == 16 else "mxfp4"
    pair = (block[0], block[1]) if len(block) == 2 else (0, 0)
    return Quantization(method, bits, group, pair, not flag(weights, "symmetric", default=True), cache, kept)


def _group(held: Config, default: int) -> int:
    value = held.get("group_size", held.get("q_group_size"))
    if not isinstance(value, int) or isinstance(value, bool):
        return default
    return value if value > 0 else CHANNEL


def _cache(scheme: Config, algorithm: str) -> str:
    return "fp8" if number(scheme, "num_bits") == 8 or algorithm.upper() == "FP8" else ""


def _inside(config: Config) -> Config:
    inner = part(config, "text_config")
    return part(inner, "quantization_config", "compression_config")


def _up(count: int, size: int) -> int:
    return -(-count // size)
