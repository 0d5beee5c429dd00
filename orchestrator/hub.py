"""The Hub's cache on this machine, read. The only room that knows huggingface_hub."""

from collections.abc import Mapping
from pathlib import Path

from orchestrator.model import ModelRef


def cached(model: ModelRef, hf_home: str | None, variables: Mapping[str, str]) -> bool:
    """Whether the repository's config.json at that revision is in the cache that the engine will use. It says that a
    download was begun, not that it is complete."""
    from huggingface_hub import try_to_load_from_cache  # constants are read at import: only when asked

    home = Path(hf_home or variables.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    found = (
        try_to_load_from_cache(str(model.repo), name, cache_dir=home / "hub", revision=model.revision)
        for name in ("config.json", "params.json")
    )
    return any(isinstance(one, str) for one in found)
