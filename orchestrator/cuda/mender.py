"""libcuda for the engines of an environment: tested, and mended at user level."""

from collections.abc import Mapping
from pathlib import Path

from orchestrator.model import Deployment, Laid, Mend, RuntimeInfo


class CudaReader:
    """``variables`` is the caller's environment, ``cache_dir`` keeps what tests told and may be deleted."""

    def __init__(self, variables: Mapping[str, str], cache_dir: Path) -> None:
        self.variables, self.cache_dir = variables, cache_dir

    def mend(self, wanted: Deployment, info: RuntimeInfo) -> Mend | None:
        return None

    def laid(self, environment: str) -> Laid | None:
        return None


class CudaMender(CudaReader):
    def repair(self, wanted: Deployment, info: RuntimeInfo) -> None:
        return
