"""What is known of a model, and what follows for the cards. Values only.

Sizes are bytes, lengths are tokens, unless a field says otherwise. A count of 0 means "not known" or "has none", and
`Architecture.unknown` names what was looked for and not found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

How = Literal["measured", "declared", "computed", "assumed"]
"""*measured*: read off the weights or off an engine that ran. *declared*: a file or a person says so. *computed*: from
other figures. *assumed*: nobody said; the source says why this much."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and where it is from. ``unit``: bytes, tokens, parameters, requests, cards, or empty for a plain number.
    ``source`` names the file, the engine's log or the reasoning; ``formula`` is the arithmetic with its numbers in."""

    value: float
    unit: str
    how: How
    source: str = ""
    formula: str = ""


@dataclass(frozen=True, slots=True)
class Tensor:
    """``dtype`` as the file has it: BF16, F8_E4M3, I32, or a GGUF type such as Q4_K. ``bytes`` is what it takes in the
    file; ``shape`` is in the file's order (GGUF headers list the fastest dimension first; readers turn it round)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class Header:
    """What the beginning of one weight file tells. ``metadata`` are safetensors' ``__metadata__`` or GGUF's key-value
    pairs as text: an array as its JSON, or, when it is long as a vocabulary is, only its length as KEY.length."""

    tensors: tuple[Tensor, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    file: str = ""


AttentionKind = Literal["full", "sliding", "chunked", "mla", "state", "none"]
"""What a layer keeps of the past. *full*: keys and values of every token. *sliding*, *chunked*: of the last ones.
*mla*: one latent vector a token, for all heads. *state*: a state of fixed size a request (Mamba, linear attention).
*none*: nothing (a layer without attention, or one that reads another layer's cache)."""


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer's. ``window`` tokens for sliding and chunked; ``latent`` elements a token for mla (kv_lora_rank +
    qk_rope_head_dim); ``state`` bytes a request, of the whole layer, for state; ``index`` bytes a token that a sparse
    indexer keeps beside."""

    kind: AttentionKind
    kv_heads: int = 0
    head_size: int = 0
    v_head_size: int = 0
    window: int = 0
    latent: int = 0
    state: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True)
class Rope:
    """``kind`` as config.json has it (default, linear, yarn, llama3, longrope...); ``original`` the positions the model
    was trained with before stretching, 0 when not said."""

    kind: str = "default"
    factor: float = 1.0
    original: int = 0


@dataclass(frozen=True, slots=True)
class Experts:
    """``count`` routed experts a layer, ``active`` of them a token, ``shared`` always. ``width`` is one expert's
    intermediate size, ``shared_width`` that of all shared ones together. ``dense`` are the layers without experts."""

    count: int
    active: int
    shared: int = 0
    width: int = 0
    shared_width: int = 0
    dense: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Quantization:
    """``method`` in the engine's words: awq, gptq, fp8, compressed-tensors, bitsandbytes, mxfp4, gguf... ``bits`` a
    weight, 0 when not known; ``group`` weights share a scale (0: a whole channel, -1: a whole tensor); ``block`` is
    FP8's (rows, columns). ``kv_cache`` is the cache dtype that the checkpoint asks for; ``kept`` are the modules left
    unconverted."""

    method: str
    bits: float = 0
    group: int = 0
    block: tuple[int, int] = (0, 0)
    zero_points: bool = False
    kv_cache: str = ""
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tower:
    """A part beside the text model: a vision or audio encoder, with what joins it to the text."""

    name: str
    parameters: int = 0


@dataclass(frozen=True, slots=True)
class Architecture:
    """What config.json, or GGUF's metadata, tells of a model. Of a multi-modal model the text part; the others are in
    ``towers``. ``attention`` has one entry a layer. ``raw`` is the text part's config as read, for what only a few
    families have. ``unknown`` names the fields that were looked for and not found, in config.json's words."""

    name: str = ""
    model_type: str = ""
    layers: int = 0
    hidden: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_size: int = 0
    v_head_size: int = 0
    vocabulary: int = 0
    max_positions: int = 0
    rope: Rope = Rope()
    intermediate: int = 0
    experts: Experts | None = None
    tied: bool = False
    attention: tuple[Attention, ...] = ()
    quantization: Quantization | None = None
    dtype: str = ""
    towers: tuple[Tower, ...] = ()
    unknown: tuple[str, ...] = ()
    source: str = "config.json"
    raw: Mapping[str, object] = field(default_factory=dict, repr=False)


Place = Literal["embeddings", "layers", "head", "other", "unused"]
"""*other*: norms at the end, positions, towers. *unused*: in the files and not loaded, as a head that is tied to the
embeddings and written out all the same, or layers that only predict tokens ahead."""

Split = Literal["vocabulary", "heads", "kv", "width", "experts", "copied"]
"""How tensor parallelism divides a tensor: by rows of the vocabulary; by query heads; by KV heads, which are copied
once there are more cards than heads; by the width of the feed-forward part; inside each expert; or not at all."""


@dataclass(frozen=True, slots=True)
class Part:
    """Weights that lie in one place and are divided one way. ``layer`` is None outside the layers. Scales and zero
    points are parts without parameters."""

    place: Place
    split: Split
    dtype: str
    parameters: int
    bytes: int
    layer: int | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """All of a model's. ``parameters`` counts weights, not the words they are packed into, nor scales; both sums leave
    out what is not loaded. ``unsure`` says what of the sum rests on a guess."""

    parts: tuple[Part, ...]
    how: How
    source: str
    unsure: tuple[str, ...] = ()

    @property
    def loaded(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.place != "unused")

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.loaded)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.loaded)

    @property
    def by_dtype(self) -> Mapping[str, tuple[int, int]]:
        """(parameters, bytes) of each dtype, the largest first."""
        sums: dict[str, tuple[int, int]] = {}
        for part in self.loaded:
            parameters, size = sums.get(part.dtype, (0, 0))
            sums[part.dtype] = parameters + part.parameters, size + part.bytes
        return dict(sorted(sums.items(), key=lambda item: -item[1][1]))


@dataclass(frozen=True, slots=True)
class Cards:
    """``memory`` bytes of each card, all of it; ``count`` of them, 0 for as many as it takes. ``cpu``: there are no
    cards, and ``memory`` is what the KV cache may take (VLLM_CPU_KVCACHE_SPACE). ``how`` and ``source`` say who told:
    the driver, or an environment's file."""

    memory: int
    count: int = 0
    name: str = ""
    capability: str = ""
    cpu: bool = False
    how: How = "declared"
    source: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """How the engine is to be started. ``max_model_len`` 0: what the model's config gives. ``kv_cache_dtype`` in the
    engine's words. ``quantization`` is what the engine is told to do to plain weights as it loads them (fp8,
    bitsandbytes). ``block`` tokens a KV block, ``sequences`` and ``batched_tokens`` are max_num_seqs and
    max_num_batched_tokens; 0: the engine's default."""

    tensor: int = 1
    pipeline: int = 1
    max_model_len: int = 0
    utilization: float = 0.92
    kv_cache_dtype: str = "auto"
    quantization: str = ""
    dtype: str = "auto"
    block: int = 0
    sequences: int = 0
    batched_tokens: int = 0
    eager: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What an engine reported on this host for a model like this one, on one card: takes the place of what is assumed.
    ``overhead`` bytes beside weights and KV cache, graphs included; ``source`` is the start that it is from."""

    overhead: int
    source: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the arithmetic: what the figure is of."""

    label: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Layout:
    """One way of spreading the model over cards, and what each of them (the fullest) then holds. ``refused`` says why
    the engine would not start so at all; nothing else is then filled in. ``request`` is what one request of
    max_model_len takes, ``concurrency`` how many of those fit at once, ``fits`` whether one does. ``kv_tokens`` are as
    the engine reports them; ``longest`` is the greatest max_model_len that would do."""

    tensor: int
    pipeline: int
    refused: str = ""
    weights: Figure | None = None
    kv_per_token: Figure | None = None
    overhead: tuple[Line, ...] = ()
    for_kv: Figure | None = None
    request: Figure | None = None
    kv_tokens: Figure | None = None
    concurrency: Figure | None = None
    longest: Figure | None = None
    fits: bool = False

    @property
    def cards(self) -> int:
        return self.tensor * self.pipeline


ChangeKind = Literal["tokens", "cards", "kv_cache_dtype", "utilization", "variant"]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that would make it fit. ``to`` is the new value as it is written in a profile; ``text`` what to do."""

    kind: ChangeKind
    to: str
    text: str


Verdict = Literal["fits", "barely", "too large", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class Fit:
    """The answer for one model on cards of one kind. ``layout`` is the one asked for, ``layouts`` others worth seeing.
    ``needed`` cards at least, whatever was asked for; None when that cannot be said. ``changes`` smallest first."""

    architecture: Architecture
    weights: Weights
    cards: Cards
    use: Use
    verdict: Verdict
    layout: Layout
    layouts: tuple[Layout, ...] = ()
    needed: Figure | None = None
    why: str = ""
    changes: tuple[Change, ...] = ()
