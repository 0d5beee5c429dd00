"""How weights are divided over cards, and which divisions the engine refuses. Pure.

As vLLM does it: vocabularies are padded (vllm/model_executor/layers/vocab_parallel_embedding.py), KV heads are copied
when there are fewer than cards, and the layers are spread over pipeline stages (vllm/distributed/utils.py).
"""

from collections.abc import Iterator

from orchestrator.fit.fields import number
from orchestrator.fit.kv import engine_dtype
from orchestrator.fit.model import Architecture, Part, Use, Weights
from orchestrator.fit.weights import DTYPES, WIDTHS

PADDING = 64
"""Rows of the vocabulary come in multiples of this."""

FINEST = 32
"""Weights of an expert that share a scale once the engine has spread it; older ones keep the file's, and refuse."""

ONLINE = {
    "fp8": 1.0,
    "fp8_per_tensor": 1.0,
    "fp8_per_channel": 1.0,
    "fp8_per_block": 1.0 + 4 / 128**2,
    "int8_per_channel_weight_only": 1.0,
    "mxfp8": 1.0 + 1 / 32,
    "nvfp4_per_token": 0.5 + 1 / 16,
    "bitsandbytes": 0.5 + 4 / 64,
    "experts_int8": 1.0,
}
"""Bytes a weight when the engine converts plain weights as it loads them."""


def stages(layers: int, count: int) -> tuple[range, ...]:
    """Which layers lie in each pipeline stage. What is left over goes to the stages before the last, the first last."""
    sizes = [layers // count] * count
    for back in range(layers % count):
        sizes[-2 - back] += 1
    starts = [sum(sizes[:stage]) for stage in range(count)]
    return tuple(range(start, start + size) for start, size in zip(starts, sizes, strict=True))


def card_bytes(weights: Weights, found: Architecture, use: Use, stage: int) -> int:
    """Bytes of weights on each card of a pipeline stage."""
    layers = stages(found.layers, use.pipeline)[stage]
    held = (part for part in weights.parts if _is_here(part, found, layers, stage, use.pipeline))
    return round(sum(_size(part, found, use) * _share(part, found, use.tensor) for part in held))


def padded(vocabulary: int) -> int:
    return -(-vocabulary // PADDING) * PADDING


def refusals(found: Architecture, use: Use) -> Iterator[str]:
    """Why the engine would not start so, each in words, the one that is easiest to check first."""
    cards = use.tensor
    if use.pipeline > max(1, found.layers):
        yield f"{found.layers} layers are too few for {use.pipeline} pipeline stages"
    if cards == 1:
        return
    if found.heads and found.heads % cards:
        yield f"{found.heads} attention heads are not divisible by {cards}"
    elif found.attention and any(kind.kind not in ("mla", "state", "none") for kind in found.attention):
        yield from _pairs(found, cards)
    if found.vocabulary and padded(found.vocabulary) % cards:
        yield f"a vocabulary of {padded(found.vocabulary):,} rows is not divisible by {cards}"
    if (values := number(found.raw, "linear_num_value_heads")) and values % cards:
        yield f"{values} heads of linear attention are not divisible by {cards}"
    yield from _widths(found, cards)


def _pairs(found: Architecture, cards: int) -> Iterator[str]:
    for pairs in sorted({kind.kv_heads for kind in found.attention if kind.kind not in ("mla", "state", "none")}):
        if pairs and pairs % cards and cards % pairs:
            yield f"{pairs} KV heads neither divide {cards} nor are divided by it"


def _widths(found: Architecture, cards: int) -> Iterator[str]:
    """The feed-forward part is cut across its width, and a quantized one not through the middle of a group. Experts'
    scales are spread finer where that helps, down to `FINEST`."""
    scheme, experts = found.quantization, found.experts
    step = max(scheme.block[0], scheme.group, 1) if scheme and scheme.method != "mxfp4" else 1
    dense = found.intermediate if not experts or experts.dense else 0
    yield from _width("feed-forward width", dense, cards, step)
    if experts:
        yield from _width("expert's width", experts.width, cards, min(step, FINEST))


def _width(name: str, width: int, cards: int, step: int) -> Iterator[str]:
    if width % cards:
        yield f"the {name} of {width} is not divisible by {cards}"
    elif width // cards % step:
        part = f"{width} / {cards} = {width // cards}"
        yield f"the {name} on each card, {part}, is no multiple of the {step} weights that share a scale"


def _is_here(part: Part, found: Architecture, layers: range, stage: int, count: int) -> bool:
    if part.place == "layers":
        return part.layer in layers
    first, last = stage == 0, stage == count - 1
    if part.place == "embeddings":
        return first or (last and found.tied)
    return part.place == "other" or (part.place == "head" and last)


def _size(part: Part, found: Architecture, use: Use) -> float:
    """Bytes once loaded: plain weights take the engine's dtype, or what it is told to convert them to."""
    if not part.parameters or part.dtype not in WIDTHS:
        return part.bytes
    if use.quantization in ONLINE and not found.quantization and _is_converted(part, use.quantization):
        return part.parameters * ONLINE[use.quantization]
    return part.parameters * WIDTHS[DTYPES[engine_dtype(found, use)]]


def _is_converted(part: Part, method: str) -> bool:
    return part.place == "layers" and part.split != "copied" and (part.split == "experts" or method != "experts_int8")


def _share(part: Part, found: Architecture, cards: int) -> float:
    if part.split == "copied":
        return 1.0
    if part.split == "vocabulary":
        return padded(found.vocabulary) / found.vocabulary / cards if found.vocabulary else 1.0
    if part.split == "kv" and (pairs := _pairs_of(part, found)):
        return max(1, pairs // cards) / pairs
    return 1 / cards


def _pairs_of(part: Part, found: Architecture) -> int:
    """KV heads of the layer that it is in."""
    own = found.attention[part.layer].kv_heads if part.layer is not None and part.layer < len(found.attention) else 0
    return own or found.kv_heads
