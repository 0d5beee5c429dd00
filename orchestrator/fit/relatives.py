"""Which other forms of a model there are, by their names and tags on the Hub, and which of them to look at. Pure.

A model tree is told by tags: every quantized copy of OWNER/NAME that says so has ``base_model:quantized:OWNER/NAME``.
Beside it, owners name theirs NAME-AWQ, NAME-FP8, NAME-GPTQ-Int4, NAME-GGUF.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.fit.model import How, Quantization

NAMES = ("-AWQ", "-FP8", "-GPTQ-Int4", "-GPTQ-Int8", "-GGUF", "-FP8-dynamic", "-NVFP4", "-AWQ-INT4")
"""Ends of names under which a model's owner has it quantized, for whoever cannot ask the Hub."""
TREE = "base_model:quantized:"
SHOWN = 8
"""Variants that are looked at, beside those that a person names."""

_KINDS: tuple[tuple[str, str], ...] = (
    ("gguf", r"gguf|i1-gguf"),
    ("mlx", r"mlx(?:-\w+)*"),
    ("exl", r"exl[23]"),
    ("onnx", r"onnx"),
    ("openvino", r"openvino|ov"),
    ("nvfp4", r"nvfp4(?:a16)?|fp4"),
    ("mxfp4", r"mxfp4"),
    ("awq", r"(?:auto)?awq"),
    ("gptq", r"gptq(?:model)?"),
    ("autoround", r"auto-?round"),
    ("bitsandbytes", r"bnb|bitsandbytes"),
    ("fp8", r"fp8|f8"),
    ("int4", r"w4a16|int4"),
    ("int8", r"w8a8|w8a16|int8"),
)
"""The first that a name holds as a word of its own. What follows it in a name, as Int4 after GPTQ, tells bits."""
USUAL = ("Q4_K_M", "Q4_K_S", "Q4_K_XL", "IQ4_XS", "Q4_0", "MXFP4", "Q5_K_M", "Q6_K", "Q8_0", "BF16", "F16")
UNSERVED = frozenset(("mlx", "exl", "onnx", "openvino"))
"""Made for other engines."""
_METHODS: Mapping[str, str] = {
    "fbgemm-fp8": "fp8",
    "modelopt": "fp8",
    "modelopt-fp4": "nvfp4",
    "modelopt_fp4": "nvfp4",
    "auto-round": "autoround",
}
"""Words of config.json for what is the same to whoever chooses."""
_BITS: Mapping[str, int] = {"awq": 4, "fp8": 8, "nvfp4": 4, "mxfp4": 4, "int4": 4, "int8": 8}
_EXTRA = r"(?:\d+bits?|w\d+a\d+|int\d|g\d+|gs\d+|dynamic|block|static|kv|quantized|instruct|sym|asym|v\d|hf|a16)"


@dataclass(frozen=True, slots=True)
class Listed:
    """A repository as the Hub lists it."""

    repo: str
    tags: tuple[str, ...] = ()
    downloads: int = 0


@dataclass(frozen=True, slots=True)
class Relative:
    """One form of a model: ``kind`` is base, awq, gptq, fp8...; ``bits`` a weight as its name or its config says, 0
    when neither does. ``official``: by the owner of the base model. ``given``: somebody named it. ``disk`` bytes of
    weight files, and ``cached`` the share of them that is on this disk, None when not looked at. ``why`` it cannot be
    taken, if so."""

    repo: str
    kind: str = "base"
    bits: int = 0
    official: bool = False
    given: bool = False
    downloads: int = 0
    disk: int | None = None
    cached: float | None = None
    gated: bool = False
    how: How = "assumed"
    why: str = ""


def base_of(repo: str, tags: Sequence[str], named: Sequence[str] = ()) -> str:
    """The repository that this one is a quantized form of, or itself. ``named`` is its card's own base_model."""
    if trees := [tag.removeprefix(TREE) for tag in tags if tag.startswith(TREE)]:
        return trees[0]
    if (kind_of(repo, tags)[0] != "base" or _suffix(repo)) and named:
        return named[0]
    owner, slash, name = repo.partition("/")
    suffix = _suffix(name)
    return f"{owner}{slash}{name.removesuffix(suffix)}" if suffix else repo


def _suffix(name: str) -> str:
    """The longest end of a name that only tells how it is quantized, with its dash."""
    kinds = "|".join(f"(?:{pattern})" for _, pattern in _KINDS)
    found = re.search(rf"(?i)(?:[-_.](?:{kinds}))(?:[-_.](?:{kinds}|{_EXTRA}))*$", name)
    return found[0] if found else ""


def kind_of(repo: str, tags: Iterable[str] = (), found: Quantization | None = None) -> tuple[str, int, How]:
    """(kind, bits, how that is known): what its config.json says, ``found``, else its name, else its tags."""
    kind, bits = _by_words(repo, tags)
    if found is None:
        return kind, bits, "assumed"
    told = _METHODS.get(found.method, found.method)
    # A format of many: what it holds here is in the name, or nowhere short.
    told = kind if told == "compressed-tensors" and kind != "base" else told
    return told, round(found.bits) or bits, "declared"


def _by_words(repo: str, tags: Iterable[str]) -> tuple[str, int]:
    name = repo.rpartition("/")[2]
    bits = _bits([word.lower() for word in re.split(r"[-_.]", name)])
    for kind, pattern in _KINDS:
        if re.search(rf"(?i)[-_.](?:{pattern})(?:$|[-_.])", name):
            return kind, bits or _BITS.get(kind, 0)
    for kind, pattern in _KINDS:
        if any(re.fullmatch(pattern, tag.lower()) for tag in tags):
            return kind, bits or _BITS.get(kind, 0)
    return "base", 0


def _bits(words: Sequence[str]) -> int:
    for word in words:
        if found := re.fullmatch(r"(?:int|w)?(\d)(?:bits?|a\d+)?", word):
            bits = int(found[1])
            if 2 <= bits <= 8 and word != found[1]:
                return bits
    return 0


def usual_quant(paths: Iterable[str]) -> str:
    """Of a repository with several GGUF models, the one that most people take, as it is named; else ""."""
    names = " ".join(path.rpartition("/")[2] for path in paths if path.endswith(".gguf"))
    for quant in USUAL:
        if found := re.search(rf"(?i)(?<![A-Z0-9]){quant}(?![A-Z0-9_])", names):
            return found[0]
    return ""


# ------------------------------------------------------------------------------------------------------------- a choice


def expected(base: str) -> tuple[str, ...]:
    """Names that the owner's own variants would have: to be looked for on this disk."""
    return tuple(f"{base}{end}" for end in NAMES)


def choose_relatives(
    base: str, listed: Iterable[Listed], named: Sequence[str] = (), shown: int = SHOWN
) -> tuple[Relative, ...]:
    """The base, then what a person named, then of each kind and number of bits one: the owner's own before the most
    downloaded of others. Only what an engine here serves, and only what says that it is of this base, or has its name
    with nothing but a quantization behind it."""
    chosen = {one: _variant(base, Listed(one), given=one != base) for one in (base, *named)}
    best: dict[tuple[str, int], Relative] = {}
    for one in listed:
        variant = _variant(base, one)
        if one.repo in chosen:
            if not chosen[one.repo].downloads:
                chosen[one.repo] = _variant(base, one, given=chosen[one.repo].given)
            continue
        if variant.kind in UNSERVED or variant.kind == "base" or not _of(base, one):
            continue
        if any(_alike(variant, other) and (other.official or not variant.official) for other in chosen.values()):
            continue
        before = best.get((variant.kind, variant.bits))
        if before is None or _worth(variant) > _worth(before):
            best[variant.kind, variant.bits] = variant
    ranked = sorted(best.values(), key=lambda one: (not one.official, -one.downloads, one.repo))[:shown]
    return (*chosen.values(), *sorted(ranked, key=_order))


def _variant(base: str, one: Listed, *, given: bool = False) -> Relative:
    kind, bits, how = kind_of(one.repo, one.tags)
    official = one.repo.partition("/")[0] == base.partition("/")[0]
    return Relative(one.repo, kind, bits, official, given, one.downloads, how=how)


def _of(base: str, one: Listed) -> bool:
    if f"{TREE}{base}" in one.tags:
        return True
    if any(tag.startswith(TREE) for tag in one.tags):
        return False
    rest = one.repo.removeprefix(base)
    return rest != one.repo and bool(rest) and _suffix(one.repo) == rest


def _alike(one: Relative, other: Relative) -> bool:
    return (one.kind, one.bits) == (other.kind, other.bits)


def _worth(one: Relative) -> tuple[bool, int, str]:
    return one.official, one.downloads, one.repo


_RANKS = ("base", "fp8", "int8", "awq", "gptq", "int4", "nvfp4", "mxfp4", "autoround", "bitsandbytes", "gguf")


def _order(one: Relative) -> tuple[int, int, str]:
    """As a person reads them: less and less memory, and what needs a plugin last."""
    rank = _RANKS.index(one.kind) if one.kind in _RANKS else len(_RANKS)
    return rank, -one.bits, one.repo
