"""orch.lock: the commit and the files of every model and the exact packages of every runtime that orch builds, so that
one folder deploys the same bytes on another day and on another machine. What it holds, and its text. Pure; the file
itself is read and written at the edge.

A model is held by its repository and revision, a runtime by what was asked for and the platform. Nothing is in it that
is true of one host alone, but for what the files themselves say; no URL in it holds a password.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, NoReturn

from orchestrator.codec import canonical, from_file, to_json
from orchestrator.engines.repos import is_commit
from orchestrator.errors import InputError
from orchestrator.model import Json, Path, RemoteFile, RuntimeSpec

NAME = "orch.lock"
SCHEMA = 1
"""Of the file; raised when a key changes its meaning."""

_FILE = re.compile(r"(?:sha256:([0-9a-f]{64})|git:([0-9a-f]{40})) (0|[1-9][0-9]{0,17})")
_PACKAGE = re.compile(r"[A-Za-z0-9][\w.-]*(?:==\S+| @ \S+)(?: --hash=sha256:[0-9a-f]{64})*", re.ASCII)
_USER = re.compile(r"\w://[^/?#\s]*@")
_RESTORE = "restore it from version control; or delete it, and `orch lock` writes it anew from what is deployed here"

Locate = Callable[[Path], str]
"""Where a part of the text stands, as file:line:col."""


@dataclass(frozen=True, slots=True)
class LockedModel:
    """A repository at a revision. ``files`` are all of that commit, by path, without what Xet calls them. ``code``: a
    model's config.json names it, which may not be here to tell."""

    repo: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...] = ()
    code: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.repo, self.revision


@dataclass(frozen=True, slots=True)
class LockedRuntime:
    """``asked`` as `asked` makes it; ``python`` the version or path to build with; ``packages`` are requirement lines
    that leave nothing to choose, with hashes where the index told them."""

    asked: RuntimeSpec
    platform: str
    python: str
    packages: tuple[str, ...]

    @property
    def key(self) -> str:
        """Of the runtime that is built from it."""
        return runtime_key(self.packages, self.python, self.platform)


@dataclass(frozen=True, slots=True)
class Lock:
    """Each key once, in the order of the file (`ordered`)."""

    models: tuple[LockedModel, ...] = ()
    runtimes: tuple[LockedRuntime, ...] = ()

    def model(self, repo: str, revision: str) -> LockedModel | None:
        return next((one for one in self.models if one.key == (repo, revision)), None)

    def commit(self, repo: str, commit: str) -> LockedModel | None:
        """Whatever revision it was."""
        return next((one for one in self.models if (one.repo, one.commit) == (repo, commit)), None)

    def runtime(self, wanted: RuntimeSpec, platform: str) -> LockedRuntime | None:
        return next((one for one in self.runtimes if (one.asked, one.platform) == (wanted, platform)), None)

    def built_as(self, key: str) -> LockedRuntime | None:
        return next((one for one in self.runtimes if one.key == key), None)


EMPTY = Lock()


@dataclass(frozen=True, slots=True)
class Base:
    """What is left out of the text, or put in again: the project's folder and the home folder, both absolute; and the
    platform, as ``linux-x86_64``."""

    root: str
    home: str
    platform: str


def runtime_key(packages: Iterable[str], python: str, platform: str) -> str:
    """Names the runtime that these make. With their hashes: what was installed without, or with others, is another
    runtime, though the versions are the same."""
    text = "\n".join([*sorted(packages), python, platform])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def bare(line: str) -> str:
    """A package without its hashes."""
    return line.partition(" --hash=")[0]


def has_hash(line: str) -> bool:
    return " --hash=" in line


def asked(spec: RuntimeSpec, base: Base) -> RuntimeSpec:
    """What the environment asks for, in words that hold in another folder and for another user."""
    return replace(spec, lock="", find_links=tuple(_portable(one, base) for one in spec.find_links))


def _portable(place: str, base: Base) -> str:
    path = PurePosixPath(place)
    if "://" in place or not path.is_absolute():
        return place
    for start, folder in (("./", base.root), ("~/", base.home)):
        if folder and path.is_relative_to(folder):
            return start + str(path.relative_to(folder))
    return place


def is_package(line: str) -> bool:
    """Whether it may stand in a lock: one package, nothing to choose, no option for uv, no password."""
    return bool(_PACKAGE.fullmatch(line)) and not _USER.search(line)


# ---------------------------------------------------------------------------------------------------------- its text


def render(lock: Lock) -> str:
    """Sorted keys, one item a line."""
    whole = {
        "version": SCHEMA,
        "models": [_model_json(one) for one in ordered(lock).models],
        "runtimes": [_runtime_json(one) for one in ordered(lock).runtimes],
    }
    return json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def ordered(lock: Lock) -> Lock:
    models = sorted(lock.models, key=lambda one: one.key)
    return Lock(tuple(models), tuple(sorted(lock.runtimes, key=lambda one: (canonical(one.asked), one.platform))))


def _model_json(one: LockedModel) -> Json:
    files = {file.path: f"{'sha256' if len(file.blob) == 64 else 'git'}:{file.blob} {file.size}" for file in one.files}
    made = {"repo": one.repo, "revision": one.revision, "commit": one.commit, "files": files}
    return made | ({"code": True} if one.code else {})


def _runtime_json(one: LockedRuntime) -> Json:
    wanted = {key: value for key, value in to_json(one.asked).items() if key != "kind"}
    return {"for": wanted, "platform": one.platform, "python": one.python, "packages": list(one.packages)}


def parse(text: str, file: str, locate: Locate) -> Lock:
    """Raises InputError, at file:line:col, for what is damaged or of a newer orch."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        why = "it holds two versions of one place: a merge was left unfinished" if _conflicts(text) else error.msg
        raise _damaged(f"{file}:{error.lineno}:{error.colno}", why) from None
    except (ValueError, RecursionError) as error:
        raise _damaged(locate(()), str(error)) from None
    root = _Node(value, (), locate)
    version = root.get("version", int)
    if version.value > SCHEMA:
        why = f"a newer orch wrote it, in form {version.value}; this one reads up to {SCHEMA}"
        raise InputError(f"use {NAME}", why, "update orch", version.at, "lock-newer")
    if version.value != SCHEMA:
        version.refuse("it is no version that ever was")
    models = _unique(_model(one) for one in root.items("models"))
    return ordered(Lock(models, _unique(_runtime(one) for one in root.items("runtimes"))))


def _conflicts(text: str) -> bool:
    return any(line.startswith(("<<<<<<<", "=======", ">>>>>>>")) for line in text.splitlines())


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a section has the same key twice")
    return found


def _damaged(at: str, why: str) -> InputError:
    return InputError(f"use {NAME}", f"it is damaged: {why}", _RESTORE, at, "lock-damaged")


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of the text with where it stands."""

    value: Any
    path: Path
    locate: Locate

    @property
    def at(self) -> str:
        return self.locate(self.path)

    def refuse(self, why: str) -> NoReturn:
        raise _damaged(self.at, why)

    def get(self, key: str, kind: type, default: Any = None) -> "_Node":
        if not isinstance(self.value, dict):
            self.refuse("a section is expected here")
        found = _Node(self.value.get(key, default), (*self.path, key) if key in self.value else self.path, self.locate)
        if not isinstance(found.value, kind) or (kind is int and isinstance(found.value, bool)):
            found.refuse(f"{key} is {'not what it should be' if key in self.value else 'missing'}")
        return found

    def items(self, key: str) -> "list[_Node]":
        found = self.get(key, list)
        return [_Node(one, (*found.path, place), self.locate) for place, one in enumerate(found.value)]


def _model(node: _Node) -> tuple[_Node, LockedModel]:
    repo, revision, commit = (node.get(key, str) for key in ("repo", "revision", "commit"))
    if not is_commit(commit.value):
        commit.refuse("a commit has 40 hex digits")
    if is_commit(revision.value) and revision.value != commit.value:
        commit.refuse("the revision is another commit")
    files = node.get("files", dict)
    found = tuple(_file(_Node(files.value[path], (*files.path, path), node.locate)) for path in sorted(files.value))
    code = node.get("code", bool, default=False)
    return node, LockedModel(repo.value, revision.value, commit.value, found, code.value)


def _file(node: _Node) -> RemoteFile:
    found = _FILE.fullmatch(node.value) if isinstance(node.value, str) else None
    if found is None:
        node.refuse("a file has a hash and a size, as sha256:... 1024")
    return RemoteFile(str(node.path[-1]), int(found[3]), found[1] or found[2])


def _runtime(node: _Node) -> tuple[_Node, LockedRuntime]:
    wanted = node.get("for", dict)
    spec = from_file(RuntimeSpec, {**wanted.value, "kind": "requirements"})
    if spec is None or spec.lock or spec.where:
        wanted.refuse("these are no requirements")
    packages = node.items("packages")
    for one in packages:
        if not isinstance(one.value, str) or not is_package(one.value):
            one.refuse("it is not one package at one version")
    lines = tuple(one.value for one in packages)
    return node, LockedRuntime(spec, node.get("platform", str).value, node.get("python", str).value, lines)


def _unique(found: "Iterable[tuple[_Node, Any]]") -> "tuple[Any, ...]":
    seen: set[object] = set()
    made = []
    for node, one in found:
        key = one.key if isinstance(one, LockedModel) else (one.asked, one.platform)
        if key in seen:
            node.refuse("it is in there twice")
        seen.add(key)
        made.append(one)
    return tuple(made)
