"""What models on this disk tell of themselves: a folder, or one GGUF file. Only the first bytes of each file are
read."""

import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.describe import describe
from orchestrator.errors import HostError
from orchestrator.fit.description import Description
from orchestrator.hub import flat
from orchestrator.model import RemoteFile, RepoUse
from orchestrator.pieces import pieces

_PART = re.compile(r"(?P<name>.*)-\d{5}-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def at(place: Path, load_format: str = "auto", variant: str = "", each: Any = map) -> Description:
    """A folder, or a GGUF file. Raises HostError."""
    return gguf(place) if place.suffix == ".gguf" and not place.is_dir() else folder(place, load_format, variant, each)


def folder(place: Path, load_format: str = "auto", variant: str = "", each: Any = map) -> Description:
    """``each`` as `describe` has it; ``variant`` picks one GGUF model of several. Raises HostError when the folder
    cannot be looked at."""
    try:
        next(place.iterdir(), None)
    except OSError as error:
        do = "name a folder with config.json and weights, or a .gguf file"
        raise HostError(f"read {place}", (error.strerror or str(error)).lower(), do) from error
    if flat.is_repo(place):
        name = flat.repo_of(place) or "the repository"
        raise HostError(
            f"read {place}", "it is a repository in the Hub's cache, of any number of commits", f"name {name}"
        )
    held = flat.files_of(place)[0].items()
    files = [RemoteFile(path, found.st_size, "") for path, found in sorted(held) if stat.S_ISREG(found.st_mode)]
    use = RepoUse("model", str(place), load_format=load_format, variant=variant)
    return _described(str(place), place, files, use, each)


def gguf(file: Path) -> Description:
    """With the other parts of a model in several files, whichever of them is named. Raises HostError."""
    if not file.is_file():
        raise HostError(f"read {file}", "there is no such file", "check the path")
    found = _PART.fullmatch(file.name)
    count = int(found["count"]) if found else 0
    parts = [f"{found['name']}-{number:05}-of-{found['count']}.gguf" for number in range(1, count + 1)] if found else []
    there = [file.parent / name for name in dict.fromkeys([*parts, file.name])]
    files = [RemoteFile(path.name, path.stat().st_size, "") for path in sorted(there) if path.is_file()]
    # Chosen by all of its name: nothing else is a part of it.
    return _described(str(file), file.parent, files, RepoUse("model", str(file), load_format="gguf"))


def _described(place: str, top: Path, files: Sequence[RemoteFile], use: RepoUse, each: Any = map) -> Description:
    return replace(describe(place, files, use, pieces(top), each), here=True)
