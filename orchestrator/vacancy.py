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
    """Returns at once where there is room. Raises HostError when there is none in time."""
    deadline = clock.monotonic() + RELEASE
    while short := _short(placement, gpus):
        if clock.monotonic() > deadline:
            why = f"{'; '.join(_words(gpu) for gpu in short)}, of the {format_memory(placement.need)} it needs"
            raise HostError(f"start {name}", why, "see `orch gpus`; `orch gc` ends what is left over")
        say(f"{name}: waiting for memory: {'; '.join(_words(gpu) for gpu in short)}")
        clock.sleep(EVERY)


def _short(placement: Placement, gpus: GpuReader) -> list[Gpu]:
    inventory = gpus.inventory() if placement.need else None
    found = inventory.gpus if inventory else ()
    return [gpu for gpu in found if gpu.index in placement.indexes and gpu.free < placement.need]


def _words(gpu: Gpu) -> str:
    held = " and ".join(holder_words(one) for one in gpu.processes)
    return f"GPU {gpu.index} has {format_memory(gpu.free)} free" + (f", the rest held by {held}" if held else "")
