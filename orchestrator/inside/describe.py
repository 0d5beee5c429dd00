"""Tells what is installed beside the Python that runs this, importing none of it: that would take 10 s and more.

Prints {"python", "executable", "prefix", "engine", "version", "distributions": {name: version}, "script", "modules",
"torch", "libraries"}: "engine" is the distribution that brings the package `vllm` (null: there is none), "script" the
path of a console script `vllm` whose interpreter exists (null: none), "modules" what `python -m` could start, best
first, "libraries" the folders of shared libraries that came with torch, in the order in which torch looks through them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

MODULES = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.launchers.api_server.entry")


def related() -> dict[str, metadata.Distribution]:
    """Every distribution called vllm or vllm-something, by its normalized name."""
    found: dict[str, metadata.Distribution] = {}
    for item in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", item.metadata["Name"] or "").lower()
        if name.startswith("vllm"):
            found.setdefault(name, item)
    return found


def engine_name(found: dict[str, metadata.Distribution]) -> str | None:
    """The name of the distribution that holds the package; an editable install of vllm lists no files."""
    for name in sorted(found):
        if "vllm/__init__.py," in (found[name].read_text("RECORD") or ""):
            return name
    if "vllm" in found:
        return "vllm"
    if package_folder() is None or sys.version_info < (3, 10):
        return None
    providers = metadata.packages_distributions().get("vllm")
    return providers[0] if providers else None


def package_folder() -> Path | None:
    """Where `import vllm` would find a real package; a folder without __init__.py is none."""
    spec = importlib.util.find_spec("vllm")
    return Path(spec.origin).parent if spec and spec.origin else None


def runnable(script: Path) -> bool:
    """A script of a moved environment still names the interpreter of the old place."""
    try:
        with script.open("rb") as stream:
            first = stream.readline().decode("utf-8", "replace").strip()
    except OSError:
        return False
    interpreter = first[2:].split(" ")[0] if first.startswith("#!") else "/bin/sh"
    return os.access(script, os.X_OK) and os.access(interpreter, os.X_OK)


def script_path() -> str | None:
    folders = (Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    return next((str(folder / "vllm") for folder in folders if runnable(folder / "vllm")), None)


def modules() -> list[str]:
    folder = package_folder()
    if folder is None:
        return []
    return [name for name in MODULES if (folder.parent / (name.replace(".", "/") + ".py")).is_file()]


def libraries() -> list[str]:
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.origin:
        return []
    torch = Path(spec.origin).parent
    found = [torch / "lib", *sorted(torch.parent.glob("nvidia/*/lib"))]
    return [str(folder) for folder in found if folder.is_dir()]


def version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def describe() -> dict[str, Any]:
    found = related()
    engine = engine_name(found)
    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "engine": engine,
        "version": version_of(engine) if engine else None,
        "distributions": {name: item.version for name, item in sorted(found.items())},
        "script": script_path(),
        "modules": modules(),
        "torch": version_of("torch"),
        "libraries": libraries(),
    }


if __name__ == "__main__":
    here = Path(__file__).resolve().parent  # this folder's files are not modules of the runtime
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    sys.stdout.write(json.dumps(describe()) + "\n")
