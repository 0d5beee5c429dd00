"""The cards that a model is to fit: a host's as its driver shows them, or as an environment's file has them. Pure."""

from collections.abc import Mapping, Sequence

from orchestrator.cards import Card, means
from orchestrator.fit.model import Cards
from orchestrator.model import Gpu, GpuDeclaration, Inventory

KV_SPACE = "VLLM_CPU_KVCACHE_SPACE"
"""GiB for the KV cache of an engine on a plain processor. Without it the engine takes of the machine's memory what is
free at that moment, which no file tells."""


def cards_of(
    found: Inventory | GpuDeclaration | None,
    env: Mapping[str, str],
    *,
    device: str = "",
    ranks: int = 1,
    pinned: Sequence[str] = (),
    source: str = "",
) -> Cards | None:
    """``device`` as RuntimeInfo has it; ``env`` is the engine's; ``ranks`` cards are wanted, or just these ``pinned``
    ones. ``source`` names the file that declares them. None where nobody tells how much memory there is.

    Of cards that differ, the largest are taken: the least of so many as are wanted, and all that have as much."""
    if device == "cpu":
        return _processor(env)
    if isinstance(found, GpuDeclaration):
        if not found.memory:
            return None
        return Cards(found.memory, found.count, found.model, found.compute_capability, source=source)
    return _driver(found.gpus, ranks, pinned) if found else None


def _processor(env: Mapping[str, str]) -> Cards | None:
    text = env.get(KV_SPACE, "").strip()
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    return Cards(size << 30, cpu=True, source=KV_SPACE) if size else None


def _driver(gpus: Sequence[Gpu], ranks: int, pinned: Sequence[str]) -> Cards | None:
    usable = [gpu for gpu in gpus if not Card(gpu, gpu.usable).closed and gpu.usable > 0]
    if pinned:
        usable = [gpu for gpu in usable if any(means(given, gpu) for given in pinned)]
    if not usable:
        return None
    largest = sorted(usable, key=lambda gpu: (-gpu.usable, gpu.index))
    least = largest[min(max(ranks, len(pinned), 1), len(largest)) - 1]
    count = sum(gpu.usable >= least.usable for gpu in usable)
    return Cards(least.usable, count, least.name, least.capability, how="measured", source="the driver")
