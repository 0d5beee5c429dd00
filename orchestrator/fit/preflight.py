"""Whether the arithmetic speaks against a start, and how surely. Pure.

What an engine takes beside weights and KV cache is assumed: a start is refused only where it would not fit with half of
that either, and where nothing else of the sum is a guess.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.fit.division import ONLINE
from orchestrator.fit.families import FAMILIES
from orchestrator.fit.kv import is_counted, kv_dtype
from orchestrator.fit.layout import layout
from orchestrator.fit.model import Change, ChangeKind, Fit, Seen
from orchestrator.model import Path

WAY_OUT = "where the reckoning is wrong, `fit: warn` in the profile lets it start"
Code = Literal["does-not-fit", "fits-barely"]

_WHERE: dict[ChangeKind, Path] = {
    "tokens": ("serve", "max_model_len"),
    "cards": ("serve", "tensor_parallel_size"),
    "utilization": ("serve", "gpu_memory_utilization"),
    "kv_cache_dtype": ("serve", "args", "kv_cache_dtype"),
    "variant": ("model",),
}
_ODD = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "the size of a layer's state")
"""What has to be known of a shape, in config.json's words, for the sum to be one."""


@dataclass(frozen=True, slots=True)
class Objection:
    """``code`` as in `rules`. ``certain``: it cannot start so. ``path`` is the field of the profile that the smallest
    change is in; ``do`` is that change, in words."""

    code: Code
    certain: bool
    path: Path
    why: str
    do: str

    @property
    def told(self) -> str:
        """``why`` as a warning."""
        return f"it {'fits barely' if self.code == 'fits-barely' else 'may not fit'}: {self.why}"


def objection(answer: Fit, uncounted: Sequence[str] = ()) -> Objection | None:
    """None where it fits, where nothing can be said, and where there are just too few cards: whoever places it says
    that better. ``uncounted`` are the flags that the sum knows nothing of (`use.uncounted`)."""
    least = next(iter(answer.changes), None)
    path, do = _smallest(answer, least)
    if answer.verdict == "barely":
        return Objection("fits-barely", False, path, answer.why, do)
    if answer.verdict not in ("too large", "refused") or _too_few(answer):
        return None
    if answer.verdict == "refused":
        return Objection("does-not-fit", _is_known(answer) and not uncounted, path, answer.why, do)
    certain = _is_known(answer) and not uncounted and not _fits_at_best(answer)
    return Objection("does-not-fit", certain, path, answer.why, do)


def _too_few(answer: Fit) -> bool:
    return bool(answer.cards.count) and answer.layout.cards > answer.cards.count and not answer.layout.refused


def _is_known(answer: Fit) -> bool:
    """Whether nothing of the model is a guess. What its engine refuses stands in the shape alone."""
    found = answer.architecture
    guessed = answer.verdict != "refused" and any(_guesses(answer))
    return found.model_type in FAMILIES and not guessed and not set(found.unknown).intersection(_ODD)


def _guesses(answer: Fit) -> Iterator[bool]:
    """Whatever may be less than it is counted for."""
    found, use = answer.architecture, answer.use
    yield bool(answer.weights.unsure)
    yield bool(found.towers) and answer.layout.cards > 1  # counted whole on every card; most engines divide them
    yield bool(use.quantization) and not found.quantization and use.quantization not in ONLINE
    yield not is_counted(kv_dtype(found, use)[0])


def _fits_at_best(answer: Fit) -> bool:
    lines = [line.figure for line in answer.layout.overhead]
    least = sum(one.value if one.how == "computed" else one.value / 2 for one in lines)
    seen = Seen(round(least), "") if lines else None
    return layout(answer.architecture, answer.weights, answer.cards, answer.use, seen).fits


def _smallest(answer: Fit, least: Change | None) -> tuple[Path, str]:
    path: Path = ("serve", "tensor_parallel_size") if answer.verdict == "refused" else ("model",)
    if least is None:
        return path, "serve a smaller model, or use larger cards"
    text = least.text if least.kind == "variant" else f"set {least.text}"
    return (path if answer.verdict == "refused" else _WHERE[least.kind]), text
