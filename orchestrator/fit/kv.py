"""What the KV cache takes: a block, a token, a request, on one card. Pure.

The rules are the engine's (vllm/v1/core/kv_cache_utils.py, kv_cache_interface.py). Layers that keep the same are a
group; the groups share one pool of blocks, all of one size, so that a group with fewer layers than another pads.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.fit.model import Architecture, Attention, Cards, Use
from orchestrator.fit.weights import DTYPES, WIDTHS

_PACKED = {"fp8_per_token_head": (1.0, 4.0), "int8_per_token_head": (1.0, 4.0), "int4_per_token_head": (0.5, 4.0)}
"""Bytes an element, and of the scale that each head has beside its keys and its values."""


@dataclass(frozen=True, slots=True)
class Group:
    """Layers with one block table: ``pages`` are the bytes of each one's block of ``block`` tokens, on one card.
    ``states`` blocks a request takes of layers with a state."""

    kind: Attention
    pages: Mapping[int, int]
    block: int
    states: int = 1


@dataclass(frozen=True, slots=True)
class Cache:
    """``in_flight`` tokens may be scheduled and not settled yet: layers with a window keep those too. ``how`` says how
    the cache's dtype was found."""

    groups: tuple[Group, ...]
    block_bytes: int
    in_flight: int
    dtype: str
    how: str

    def blocks(self, tokens: int) -> int:
        """Blocks that one request of so many tokens takes at most, of all groups."""
        return sum(_blocks(group, tokens, self.in_flight) for group in self.groups)

    def request(self, tokens: int) -> int:
        return self.blocks(tokens) * self.block_bytes

    @property
    def token_bytes(self) -> float:
        """What one more token takes in a long request: of the layers that keep every one; where none does, of those
        with a window, up to it."""
        growing = [group for group in self.groups if group.kind.kind in ("full", "mla")]
        windows = [group for group in self.groups if group.kind.kind in ("sliding", "chunked")]
        return sum(self.block_bytes / group.block for group in growing or windows)

    def longest(self, memory: int, most: int) -> int:
        """The longest request, up to ``most`` tokens, that fits ``memory`` bytes; 0 when none does. One block is the
        engine's own."""
        memory -= self.block_bytes
        if most <= 0 or self.request(1) > memory:
            return 0
        low, high = 1, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.request(middle) <= memory else (low, middle - 1)
        return low


def cache(found: Architecture, use: Use, cards: Cards, stage: range) -> Cache | None:
    """On a card of the pipeline stage that holds these layers; None for a model that keeps nothing."""
    dtype, how = kv_dtype(found, use)
    layers = [(layer, attention) for layer, attention in enumerate(found.attention) if attention.kind != "none"]
    if not layers:
        return None
    groups = _groups(layers, _Sizes(use.tensor, dtype, _width(found, use), _block(found, use, cards)))
    return Cache(groups, _stage_bytes(groups, stage), in_flight(use, cards), dtype, how)


def kv_dtype(found: Architecture, use: Use) -> tuple[str, str]:
    """The cache's dtype and who says so."""
    if use.kv_cache_dtype != "auto":
        return use.kv_cache_dtype, f"kv_cache_dtype: {use.kv_cache_dtype}"
    if found.quantization and found.quantization.kv_cache:
        return found.quantization.kv_cache, "the checkpoint's quantization_config"
    return engine_dtype(found, use), "the model's dtype"


def is_counted(dtype: str) -> bool:
    """Whether the size of a cache of this dtype is known; of others each element counts as one of the model's."""
    return dtype in DTYPES or dtype in _PACKED or (dtype.startswith(("fp8", "nvfp4")) and dtype != "nvfp4_ds_mla")


def engine_dtype(found: Architecture, use: Use) -> str:
    """What the engine computes in: single precision becomes half, unless it is asked for."""
    short = DTYPES.get(use.dtype if use.dtype != "auto" else found.dtype, "BF16")
    if use.dtype != "auto" and short == "F32":
        return "float32"
    return "float16" if short == "F16" else "bfloat16"


def in_flight(use: Use, cards: Cards) -> int:
    """A step for each pipeline stage, and on cards one more, which is scheduled while they run."""
    return (use.pipeline + (not cards.cpu)) * batched_tokens(use, cards)


def batched_tokens(use: Use, cards: Cards) -> int:
    if use.batched_tokens:
        return use.batched_tokens
    if cards.cpu:
        return 2048 * use.tensor * use.pipeline
    if cards.memory >= 160 << 30:
        return 16384
    return 8192 if cards.memory >= 70 << 30 and "a100" not in cards.name.lower() else 2048


def sequences(use: Use, cards: Cards) -> int:
    if use.sequences:
        return use.sequences
    if cards.cpu:
        return 128 * use.tensor * use.pipeline
    large = cards.memory >= 160 << 30 or (cards.memory >= 70 << 30 and "a100" not in cards.name.lower())
    return 1024 if large else 256


@dataclass(frozen=True, slots=True)
class _Sizes:
    tensor: int
    dtype: str
    width: int
    block: int

    def token(self, kind: Attention) -> int:
        """Bytes of one token in one layer on one card. KV heads are copied once there are fewer than cards."""
        if kind.kind == "mla":
            latent = 656 if self.dtype == "fp8_ds_mla" else round(kind.latent * self._element)
            return latent + kind.index
        heads = max(1, kind.kv_heads // self.tensor)
        if self.dtype.startswith("nvfp4"):
            return heads * sum(size // 2 + size // 16 for size in (kind.head_size, kind.v_head_size))
        each, scale = _PACKED.get(self.dtype, (self._element, 0.0))
        return round(heads * ((kind.head_size + kind.v_head_size) * each + 2 * scale))

    def state(self, kind: Attention) -> int:
        return -(-kind.state // self.tensor)

    @property
    def _element(self) -> float:
        return 1.0 if self.dtype.startswith("fp8") else float(WIDTHS.get(DTYPES.get(self.dtype, ""), self.width))


def _width(found: Architecture, use: Use) -> int:
    return WIDTHS[DTYPES[engine_dtype(found, use)]]


def _block(found: Architecture, use: Use, cards: Cards) -> int:
    if cards.cpu and any(kind.kind == "mla" for kind in found.attention):
        return 16
    return use.block or (128 if cards.cpu else 16)


def _groups(layers: Sequence[tuple[int, Attention]], sizes: _Sizes) -> tuple[Group, ...]:
    """Of layers that keep different things as many a group as the rarest kind has, or as the commonest when it is not
    half as many again."""
    alike: dict[Attention, list[int]] = defaultdict(list)
    for layer, kind in layers:
        alike[kind].append(layer)
    block = _aligned(alike, sizes)
    pages = {kind: _page(kind, block, sizes) for kind in alike}
    if len({_reach(kind) for kind in alike}) == 1:  # all keep as many tokens: one block table for all
        return (Group(layers[0][1], {layer: pages[kind] for layer, kind in layers}, block),)
    return tuple(_split(alike, pages, block))


def _split(alike: dict[Attention, list[int]], pages: dict[Attention, int], block: int) -> list[Group]:
    widest = max(pages.values())
    fewest, most = min(map(len, alike.values())), max(map(len, alike.values()))
    size = most if most < 1.5 * fewest else fewest
    groups = []
    for kind, members in alike.items():
        # A smaller page is filled with more tokens, where that comes out even; else it is padded.
        even = kind.kind != "state" and pages[kind] and widest % pages[kind] == 0
        larger = block * (widest // pages[kind]) if even else block
        count = -(-len(members) // size)
        chosen = [members[start::count] for start in range(count)]
        groups += [Group(kind, dict.fromkeys(layers, widest), larger, states=2) for layers in chosen]
    return groups


def _aligned(alike: dict[Attention, list[int]], sizes: _Sizes) -> int:
    """Beside layers with a state, attention's blocks grow until a state fits one."""
    state = max((sizes.state(kind) for kind in alike if kind.kind == "state"), default=0)
    token = max((sizes.token(kind) for kind in alike if kind.kind != "state"), default=0)
    return sizes.block * max(1, -(-state // (sizes.block * token))) if token else sizes.block


def _page(kind: Attention, block: int, sizes: _Sizes) -> int:
    return sizes.state(kind) if kind.kind == "state" else block * sizes.token(kind)


def _reach(kind: Attention) -> tuple[str, int]:
    return ("full", 0) if kind.kind in ("full", "mla") else (kind.kind, kind.window)


def _blocks(group: Group, tokens: int, in_flight: int) -> int:
    kind, block = group.kind, group.block
    if kind.kind == "sliding":
        return _up(min(kind.window - 1 + in_flight, tokens), block) + 1
    if kind.kind == "chunked":
        return _up(min(kind.window + in_flight, tokens), block)
    if kind.kind == "state":
        return group.states  # beside attention the prefix cache keeps the state before the running one
    return _up(tokens, block)


def _stage_bytes(groups: Sequence[Group], stage: range) -> int:
    """Bytes of one block on the card of a pipeline stage: the widest group's."""
    return max(sum(page for layer, page in group.pages.items() if layer in stage) for group in groups)


def _up(count: int, size: int) -> int:
    return -(-count // size)
