"""The Hub's cache on this machine, read. The only room that knows huggingface_hub."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

from orchestrator.model import ModelRef


def cached(model: ModelRef, env: Mapping[str, str]) -> bool:
    """Whether the repository's config.json at that revision is in the cache that a process with this environment
    uses. It says that a download was begun, not that it is complete."""
    from huggingface_hub import try_to_load_from_cache  # constants are read at import: only when asked

    try:
        found = [
            try_to_load_from_cache(str(model.repo), name, cache_dir=folder(env), revision=model.revision)
            for name in ("config.json", "params.json")
        ]
    except ValueError:  # no name that the Hub could have
        return False
    return any(isinstance(one, str) for one in found)


def folder(env: Mapping[str, str]) -> Path:
    """Where huggingface_hub.constants has the cache, by these variables rather than by our own."""
    home = env.get("HOME") or str(Path.home())
    base = env.get("XDG_CACHE_HOME", f"{home}/.cache")
    hub = f"{env.get('HF_HOME', f'{base}/huggingface')}/hub"
    chosen = env.get("HF_HUB_CACHE", env.get("HUGGINGFACE_HUB_CACHE", hub))
    expanded = home + chosen[1:] if chosen == "~" or chosen.startswith("~/") else chosen
    return Path(Template(expanded).safe_substitute(env))
