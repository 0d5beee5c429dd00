"""Tells what this Python sees of the driver, in the environment it was given.

`load [PATH]` loads libcuda.so.1, or that file, as an engine would, and prints {"ok", "why", "path", "init", "driver",
"triton", "sites"}: "path" is the file that was loaded, "init" what cuInit answers (0: a GPU can be used; 34: a
toolkit's stub), "driver" what cuDriverGetVersion says (12040), "triton" the version of the distribution (null: there
is none), "sites" the folders that hold this Python's packages. Imports no package.

`torch` imports torch, which takes seconds, and prints the same and {"torch", "torch_cuda", "available", "devices",
"torch_why"}: "torch_cuda" is the CUDA it was built for, "torch_why" the reason why it sees no GPU.

Syntax of Python 3.8.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

NAME = "libcuda.so.1"
STUB = 34  # CUDA_ERROR_STUB_LIBRARY


def load(name: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"ok": False, "why": "", "path": None, "init": None, "driver": None}
    try:
        library = ctypes.CDLL(name)
        init = library.cuInit
    except OSError as error:
        return {**answer, "why": str(error)}
    except AttributeError:
        return {**answer, "path": loaded(), "why": "it has no cuInit, so it is not the driver's library"}
    answer.update(path=loaded(), init=init(0), driver=driver(library))
    if answer["init"] == STUB:
        return {**answer, "why": f"{answer['path'] or name} is a toolkit's stub: its cuInit answers {STUB}"}
    return {**answer, "ok": True}


def driver(library: Any) -> int | None:
    version = ctypes.c_int(0)
    try:
        failed = library.cuDriverGetVersion(ctypes.byref(version))
    except AttributeError:
        return None
    return None if failed else version.value


def loaded() -> str | None:
    """The file that the name led to: the loader does not say, the memory map does."""
    try:
        text = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    files = (f"/{rest}" for _, slash, rest in (line.partition("/") for line in text.splitlines()) if slash)
    return next((file for file in files if Path(file).name.startswith("libcuda.so")), None)


def triton() -> str | None:
    from importlib import metadata

    for name in ("triton", "pytorch-triton"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def sites() -> list[str]:
    return [entry for entry in sys.path if entry.endswith("-packages") and Path(entry).is_dir()]


def torch_view() -> dict[str, Any]:
    answer: dict[str, Any] = {"torch": None, "torch_cuda": None, "available": False, "devices": 0, "torch_why": ""}
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # noqa: BLE001 (importing torch runs anything; whatever it raises is the answer)
        return {**answer, "torch_why": f"{type(error).__name__}: {error}".strip()}
    answer.update(torch=torch.__version__, torch_cuda=torch.version.cuda)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            answer.update(available=torch.cuda.is_available(), devices=torch.cuda.device_count())
            if not answer["available"]:
                torch.cuda.init()  # says why
        except Exception as error:  # noqa: BLE001 (likewise)
            return {**answer, "torch_why": str(error).strip()}
    return {**answer, "torch_why": "" if answer["available"] else "; ".join(str(one.message) for one in told)}


def main(mode: str, *names: str) -> dict[str, Any]:
    torch = torch_view() if mode == "torch" else {}  # first: what it finds must not depend on what was loaded here
    return {**load(names[0] if names else NAME), "triton": triton(), "sites": sites(), **torch}


if __name__ == "__main__":
    here = Path(__file__).resolve().parent  # this folder's files are not modules of the runtime
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    sys.stdout.write("\n" + json.dumps(main(*sys.argv[1:])) + "\n")
