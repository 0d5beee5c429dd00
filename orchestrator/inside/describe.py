"""Tells what is installed beside the Python that runs this, without importing any of it (importing takes 10 s and more).

Prints {"python", "executable", "prefix", "engine", "version", "distributions": {name: version}, "script", "modules",
"torch"}: "engine" is the distribution that brings the package `vllm` (null: there is none), "script" the path of a
console script `vllm` whose interpreter exists (null: none), "modules" what `python -m` could start, best first.
"""

import importlib.util
import json
import os
import re
import sys
import sysconfig
from importlib import metadata

MODULES = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.launchers.api_server.entry")


def leave_own_folder():
    """This script's folder must not offer its files as modules to anything that is looked up below."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]


def related():
    """Every distribution called vllm or vllm-something, by its normalized name."""
    found = {}
    for item in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", item.metadata["Name"] or "").lower()
        if name.startswith("vllm"):
            found.setdefault(name, item)
    return found


def brings_vllm(item):
    return "vllm/__init__.py," in (item.read_text("RECORD") or "")


def engine_name(found):
    """The name of the distribution that holds the package; an editable install of vllm lists no files."""
    for name in sorted(found):
        if brings_vllm(found[name]):
            return name
    if "vllm" in found:
        return "vllm"
    if package_folder() is None:
        return None
    providers = getattr(metadata, "packages_distributions", dict)().get("vllm")
    return providers[0] if providers else None


def package_folder():
    spec = importlib.util.find_spec("vllm")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return places[0] if places else None


def runnable(script):
    """A script of a moved environment still names the interpreter of the old place."""
    try:
        with open(script, "rb") as stream:
            first = stream.readline().decode("utf-8", "replace").strip()
    except OSError:
        return False
    if not first.startswith("#!"):
        return os.access(script, os.X_OK)
    interpreter = first[2:].split(" ")[0] if os.path.exists(first[2:].split(" ")[0]) else first[2:]
    return os.access(script, os.X_OK) and os.access(interpreter, os.X_OK)


def script_path():
    for folder in (os.path.dirname(sys.executable), sysconfig.get_path("scripts")):
        script = os.path.join(folder, "vllm")
        if runnable(script):
            return script
    return None


def modules():
    folder = package_folder()
    if folder is None:
        return []
    root = os.path.dirname(folder)
    return [name for name in MODULES if os.path.isfile(os.path.join(root, *name.split(".")) + ".py")]


def version_of(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def main():
    leave_own_folder()
    found = related()
    engine = engine_name(found)
    answer = {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "engine": engine,
        "version": version_of(engine) if engine else None,
        "distributions": {name: item.version for name, item in sorted(found.items())},
        "script": script_path(),
        "modules": modules(),
        "torch": version_of("torch"),
    }
    print(json.dumps(answer))  # noqa: T201 (printing is this script's whole interface)


if __name__ == "__main__":
    main()
