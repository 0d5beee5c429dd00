"""What the tests told, kept until something changes that they depend on: they start a few processes, and `plan` comes
often. May be deleted at any time."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.codec import from_file, to_json
from orchestrator.cuda import links, trials
from orchestrator.cuda.libcuda import LINK, Candidate
from orchestrator.cuda.places import Places
from orchestrator.cuda.trials import Loaded, Trial
from orchestrator.files import read_json, write_json
from orchestrator.model import Json, Laid, RuntimeInfo

SCHEMA = 1
CONCERNED = (
    "CC", "COMPILER_PATH", "CONDA_PREFIX", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "GCC_EXEC_PREFIX", "HOME",
    "LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH",
)  # fmt: skip
"""And all that begin with LD_ or TRITON_: the variables that loading and linking depend on."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What loading showed, the trials of linking, and ``candidates``, best first. ``driver`` is the one of these that
    was loaded and is to be linked to; empty when there is none, and when no trial failed and none was asked for."""

    loaded: Loaded
    linked: tuple[Trial, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    driver: str = ""

    @property
    def trials(self) -> tuple[Trial, ...]:
        return (self.loaded.trial, *self.linked)

    @property
    def failed(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if trial.failed)


class Memory:
    """One question, in one environment: which file keeps its answer, and whether that answer still holds."""

    def __init__(
        self, folder: Path, name: str, info: RuntimeInfo, env: Mapping[str, str], places: Places, laid: Laid | None
    ) -> None:
        concerned = {key: env[key] for key in env if key in CONCERNED or key.startswith(("LD_", "TRITON_"))}
        runtime = [info.key, info.python, trials.toolkit(env)]
        asked = [os.uname().nodename, name, runtime, places.given, concerned, to_json(laid)]
        digest = hashlib.sha256(json.dumps([SCHEMA, *asked], sort_keys=True).encode()).hexdigest()[:16]
        self._file = folder / f"{digest}.json"
        compiler = shutil.which(trials.compiler(env) or "gcc", path=env.get("PATH", ""))
        nvcc = shutil.which("nvcc", path=env.get("PATH", ""))
        self._seen: Json = {
            "libraries": {str(folder): _libraries(folder) for folder in places.watched()},
            "files": _files([info.python, str(places.cache_file), places.given, compiler, nvcc, *places.ldconfigs]),
            "laid": list(links.broken(laid)) if laid else None,
        }

    @property
    def key(self) -> str:
        """Of the question and all that its answer depends on, as far as that is known before it is asked."""
        return json.dumps([str(self._file), self._seen], sort_keys=True)

    def read(self) -> Findings | None:
        kept = read_json(self._file) or {}
        found = from_file(Findings, kept.get("findings"))
        if found is None or kept.get("seen") != self._seen or kept.get("learnt") != _learnt(found):
            return None
        return found

    def write(self, found: Findings) -> None:
        """A cache that cannot be written costs time later and nothing else."""
        try:
            value = {"seen": self._seen, "learnt": _learnt(found), "findings": to_json(found)}
            write_json(self._file, value, durable=False)
        except OSError:
            return


def _learnt(found: Findings) -> Json:
    """The state of what only the tests told of: packages, and libraries in folders that nobody knew."""
    return _files([*found.loaded.sites, *(one.path for one in found.candidates)])


def _files(paths: Iterable[str | None]) -> Json:
    return {path: _stamp(path) for path in paths if path}


def _libraries(folder: Path) -> Json:
    try:
        names = sorted(name for name in os.listdir(folder) if name.startswith(LINK))  # noqa: PTH208
    except OSError:
        return None
    return {name: _stamp(str(folder / name)) for name in names}


def _stamp(path: str) -> Json:
    """Changes with the content, and with where a link leads; None for what is not there."""
    try:
        seen = os.stat(path)  # noqa: PTH116 (of a string)
    except OSError:
        return None
    return [os.path.realpath(path), seen.st_mtime_ns, seen.st_size]
