"""Who holds a GPU, in a person's words. Pure."""

from orchestrator.model import GpuProcess


def holder_words(process: GpuProcess) -> str:
    """``"pid 4242 alice python train.py"``; one of orch's by its name."""
    if process.marker:
        return f"{process.marker.name} of {process.marker.project} (pid {process.pid})"
    return " ".join(part for part in (f"pid {process.pid}", process.user, process.command) if part)
