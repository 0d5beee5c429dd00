"""Waits until the cards of a start have room. A process that ended gives its memory back some time later, and an engine
that measures it too early refuses to start, or makes do with a cache that is too small (vllm 55827)."""

from orchestrator.errors import HostError
from orchestrator.holders import holder_words
from orchestrator.model import Gpu, Placement
from orchestrator.ports import Clock, GpuReader, Say
from orchestrator.units import format_memory

RELEASE = 60.0  # seconds; a driver takes up to some ten
EVERY = 0.2


def await_vacancy(name: str, placement: Placement, gpus: GpuReader, clock: Clock, say: Say) -> None:
    """Returns at once where there is room, and where the cards cannot be seen. Raises HostError when there is none in
    time, or when a card is lost."""
    deadline = clock.monotonic() + RELEASE
    while short := _short(name, placement, gpus):
        if clock.monotonic() > deadline:
            do = "see `orch gpus`; `orch gc` ends what is left over"
            raise HostError(f"start {name}", "; ".join(_words(gpu, need) for gpu, need in short), do)
        say(f"{name}: waiting for memory: {'; '.join(_words(gpu, need) for gpu, need in short)}")
        clock.sleep(EVERY)


def _short(name: str, placement: Placement, gpus: GpuReader) -> list[tuple[Gpu, int]]:
    inventory = gpus.inventory() if any(placement.needs) else None
    if inventory is None or inventory.why:
        return []
    found = {gpu.index: gpu for gpu in inventory.gpus}
    short = []
    for index, need in zip(placement.indexes, placement.needs, strict=True):
        gpu = found.get(index, Gpu(index, "", trouble="is gone"))
        if gpu.trouble:
            raise HostError(f"start {name}", f"GPU {index} {gpu.trouble}", "see `orch gpus`")
        if gpu.free < need:
            short.append((gpu, need))
    return short


def _words(gpu: Gpu, need: int) -> str:
    held = " and ".join(holder_words(one) for one in gpu.processes)
    free = f"GPU {gpu.index} has {format_memory(gpu.free)} free of the {format_memory(need)} it needs"
    return free + (f" (the rest is held by {held})" if held else "")
