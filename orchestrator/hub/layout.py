"""Where things lie in the Hub's cache, as huggingface_hub documents it, read without importing it.

    CACHE/models--OWNER--NAME/refs/REVISION             the commit it was resolved to
    CACHE/models--OWNER--NAME/refs/orch/REVISION        the same, resolved by orch and kept until --refresh
    CACHE/models--OWNER--NAME/snapshots/COMMIT/PATH     a link into blobs/
    CACHE/models--OWNER--NAME/blobs/HASH                the content; HASH.part and HASH.map while it is fetched
    CACHE/models--OWNER--NAME/trees/COMMIT.json         huggingface_hub's list of the files (since 1.32)

A ref of orch's own keeps `hf cache prune` from deleting what a deployment needs, for the Hub's client writes none for
a commit.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from orchestrator.engines.repos import is_commit
from orchestrator.files import read_json
from orchestrator.model import Json, RemoteFile

HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
OWN_REFS = "orch"


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where huggingface_hub.constants has the cache, by these variables rather than by our own."""
    chosen = env.get("HF_HUB_CACHE", env.get("HUGGINGFACE_HUB_CACHE"))
    return home_folder(env) / "hub" if chosen is None else _expanded(chosen, env)


def home_folder(env: Mapping[str, str]) -> Path:
    """HF_HOME, given or not."""
    base = env.get("XDG_CACHE_HOME", f"{_home(env)}/.cache")
    return _expanded(env.get("HF_HOME", f"{base}/huggingface"), env)


def _expanded(text: str, env: Mapping[str, str]) -> Path:
    expanded = _home(env) + text[1:] if text == "~" or text.startswith("~/") else text
    return Path(Template(expanded).safe_substitute(env))


def _home(env: Mapping[str, str]) -> str:
    return env.get("HOME") or str(Path.home())


@dataclass(frozen=True, slots=True)
class Repo:
    """One model repository in one cache. ``name`` is OWNER/NAME."""

    cache: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.cache / f"models--{self.name.replace('/', '--')}"

    @property
    def lock(self) -> Path:
        return self.cache / ".locks" / self.folder.name / "orch.lock"

    def blob(self, name: str) -> Path:
        return self.folder / "blobs" / name

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def pointer(self, commit: str, path: str) -> Path:
        return self.snapshot(commit) / path

    def ref(self, revision: str) -> str | None:
        """The commit a revision is recorded as, by whoever."""
        return self._commit(self.folder / "refs" / revision)

    def pinned(self, revision: str) -> str | None:
        """The commit orch resolved a revision to."""
        return self._commit(self.folder / "refs" / OWN_REFS / revision)

    def commits(self) -> list[str]:
        """Those with a snapshot, be it empty."""
        try:
            found = [path.name for path in (self.folder / "snapshots").iterdir() if path.is_dir()]
        except OSError:
            return []
        return sorted(name for name in found if is_commit(name))

    def refs(self) -> dict[str, str]:
        """Every recorded revision and its commit; orch's own by their names in ``refs/``."""
        top = self.folder / "refs"
        found = ((str(path.relative_to(top)), self._commit(path)) for path in sorted(top.glob("**/*")))
        return {name: commit for name, commit in found if commit}

    def tree(self, commit: str) -> tuple[RemoteFile, ...] | None:
        """huggingface_hub's own list of the files of a commit, when it kept one in a form known here."""
        return read_tree(self.folder / "trees" / f"{commit}.json")

    def held(self, commit: str) -> tuple[RemoteFile, ...]:
        """The files that the snapshot itself holds. A blob's name is its hash, so it says what the file should be; for
        one that is no link, or whose blob a mirror named in its own way, ``blob`` is empty."""
        top = self.snapshot(commit)
        found = ((path, _blob_name(path)) for path in sorted(top.glob("**/*")) if not path.is_dir())
        return tuple(RemoteFile(str(path.relative_to(top)), _size(path), name) for path, name in found)

    @staticmethod
    def _commit(file: Path) -> str | None:
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return text if is_commit(text) else None


def read_tree(file: Path) -> tuple[RemoteFile, ...] | None:
    held = read_json(file)
    if held is None or held.get("format_version") != 1 or not isinstance(held.get("files"), dict):
        return None
    try:
        return tuple(_remote(path, one) for path, one in sorted(held["files"].items()))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def repos(cache: Path) -> Iterator[Repo]:
    """The model repositories of a cache, by name; none when there is no such cache."""
    try:
        names = sorted(path.name for path in cache.iterdir() if path.is_dir())
    except OSError:
        return
    for name in names:
        if name.startswith("models--") and (cache / name / "snapshots").is_dir():
            yield Repo(cache, name.removeprefix("models--").replace("--", "/"))


def _remote(path: str, one: Json) -> RemoteFile:
    size = one.get("lfs_size") or one["size"]
    return RemoteFile(path, int(size), str(one.get("lfs_sha256") or one["blob_id"]), str(one.get("xet_hash") or ""))


def _blob_name(path: Path) -> str:
    try:
        name = os.path.basename(path.readlink())  # noqa: PTH119 (of what the link says, one hop)
    except OSError:
        return ""
    return name if HASH.fullmatch(name) else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
