"""The host's GPUs through NVML, the driver's own library. Read-only."""

from orchestrator.model import Inventory


class Nvml:
    def inventory(self) -> Inventory | None:
        return None
