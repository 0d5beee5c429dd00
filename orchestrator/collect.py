"""Makes the shipped knowledge of an engine's version from its wheel, for those who add a version. Not a verb of orch.

    python -m orchestrator.collect --python RUNTIME/bin/python [--packages FOLDER]... WHEEL...

RUNTIME holds another version, whose packages are borrowed: the wheel's Python files come before that runtime's own
engine on the path, and what is compiled is left out, for neither the parser nor the config classes need it. With no
WHEEL the runtime's own engine is asked. A new version needs a runtime about as new as it: old versions run with newer
packages, not the other way round.
"""

import argparse
import os
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.engine_data import SHIPPED, packed, shipped_name
from orchestrator.errors import OrchError
from orchestrator.runtimes.flags import ask

LARGEST = 1 << 20  # bytes; what is larger is no code
COMPILED = (".so", ".pyd", ".cubin")
AT_START = """\
try:
    from torch._C import _cpu
except ImportError:
    pass
else:
    if not hasattr(_cpu, "_is_avx512_supported"):  # 0.17 asks for it; torch 2.13 has no such name
        _cpu._is_avx512_supported = lambda: False
"""
"""Run by that Python before the engine is imported: what an old engine looks for in a package that has moved on."""
CPU = {"VLLM_TARGET_DEVICE": "cpu"}


def of_wheel(wheel: Path, python: Path, packages: Sequence[Path] = ()) -> dict[str, Any]:
    """The document of the wheel's version. Raises RuntimeFailure when that Python cannot read its parser."""
    version = wheel.name.split("-")[1]
    with tempfile.TemporaryDirectory(prefix="orch-collect-") as scratch:
        unpack(wheel, Path(scratch), version)
        path = os.pathsep.join([scratch, *(str(folder) for folder in packages)])
        found = ask(python, os.environ, {**CPU, "PYTHONPATH": path})
    return {**found, "version": version, "source": f"the Python files of {wheel.name}, with another version's packages"}


def of_runtime(python: Path) -> dict[str, Any]:
    found = ask(python, os.environ, CPU)
    return {**found, "source": "an installed runtime"}


def unpack(wheel: Path, folder: Path, version: str) -> None:
    """The engine takes its platform from the version of the distribution `vllm`: one for processors needs no driver."""
    with zipfile.ZipFile(wheel) as archive:
        for item in archive.infolist():
            wanted = item.filename.startswith("vllm/") and item.file_size <= LARGEST
            if wanted and not item.filename.endswith(COMPILED):
                archive.extract(item, folder)
    (folder / "sitecustomize.py").write_text(AT_START)
    info = folder / f"vllm-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
    (info / "RECORD").write_text("vllm/__init__.py,,\n")


def keep(document: Mapping[str, Any], folder: Path) -> Path:
    file = folder / shipped_name(document["version"])
    file.write_bytes(packed(document))
    return file


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m orchestrator.collect")
    parser.add_argument("--python", type=Path, required=True, metavar="FILE")
    parser.add_argument("--packages", type=Path, action="append", default=[], metavar="FOLDER", help="of what it lacks")
    parser.add_argument("--out", type=Path, default=SHIPPED, metavar="FOLDER")
    parser.add_argument("wheels", type=Path, nargs="*", metavar="WHEEL")
    given = parser.parse_args(words)
    failed = 0
    for wheel in given.wheels or [None]:
        try:
            document = of_wheel(wheel, given.python, given.packages) if wheel else of_runtime(given.python)
            sys.stdout.write(f"{keep(document, given.out)}\n")
        except OrchError as error:
            sys.stderr.write(f"{error}\n")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
