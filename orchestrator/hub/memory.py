"""What orch remembers of the Hub's caches, in its own cache folder: all of it can be deleted and is learnt again.

    FOLDER/lists/REPO/COMMIT.json      the files of a commit, as the Hub listed them
    FOLDER/verified/CACHE-REPO.json    which blobs had the right hash, by (size, mtime, inode)
    FOLDER/pulls/CACHE-REPO.json       how far the pull in progress is

A hash is believed as long as the file was not touched, and across a reboot only when the file is known to have reached
the disk: a crash may leave a file of the right size with holes in it.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.codec import from_json, to_json
from orchestrator.files import read_json, write_json
from orchestrator.hub.layout import Repo
from orchestrator.model import Json, Pull, RemoteFile
from orchestrator.proc import boot_id, process_start

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Stamp:
    """Names a state of a file: any write to it makes another one."""

    size: int
    mtime: int  # nanoseconds
    inode: int


def stamp(path: Path) -> Stamp | None:
    """Of the content behind a link; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True, slots=True)
class Memory:
    """``folder`` is orch's own; nothing is written by what only looks. Where it cannot be written, less is remembered,
    and nothing fails."""

    folder: Path

    # -------------------------------------------------------------------------------------------------- file lists

    def listing(self, repo: Repo, commit: str) -> tuple[RemoteFile, ...] | None:
        held = read_json(self._listing(repo, commit))
        if held is None or held.get("schema") != SCHEMA:
            return repo.tree(commit)
        try:
            return tuple(from_json(RemoteFile, one) for one in held["files"])
        except (TypeError, KeyError, ValueError):
            return repo.tree(commit)

    def keep_listing(self, repo: Repo, commit: str, files: Iterable[RemoteFile]) -> None:
        held = {"schema": SCHEMA, "files": [to_json(one) for one in files]}
        with suppress(OSError):
            write_json(self._listing(repo, commit), held, durable=False)

    def forget(self, repo: Repo, commits: Iterable[str]) -> None:
        """What is gone from this cache. Lists of files are of use to the other caches that have the repository."""
        entries = {name: one for name, one in self._entries(repo).items() if os.path.lexists(repo.blob(name))}
        if entries:
            self._write(repo, entries)
        else:
            self._verified(repo).unlink(missing_ok=True)
        if not any((self.folder / "verified").glob(f"????????-{_plain_name(repo)}.json")):
            for commit in commits:
                self._listing(repo, commit).unlink(missing_ok=True)

    def _listing(self, repo: Repo, commit: str) -> Path:
        return self.folder / "lists" / repo.folder.name / f"{commit}.json"

    # ---------------------------------------------------------------------------------------------- verified hashes

    def verified(self, repo: Repo) -> Mapping[str, Stamp]:
        """Blob names and the state in which each was found right."""
        return {
            name: Stamp(size, mtime, inode)
            for name, (size, mtime, inode, boot) in self._entries(repo).items()
            if boot in ("", boot_id())
        }

    def keep_verified(self, repo: Repo, stamps: Mapping[str, Stamp | None]) -> None:
        """None forgets a blob. What was already known to be on disk in this very state stays so."""
        entries = self._entries(repo)
        for name, found in stamps.items():
            known = entries.pop(name, None)
            if found is not None:
                new = [found.size, found.mtime, found.inode]
                entries[name] = [*new, "" if known == [*new, ""] else boot_id()]
        self._write(repo, entries)

    def settle(self, repo: Repo) -> None:
        """Flushes what was verified since this boot to the disk, and believes it from then on."""
        entries = self._entries(repo)
        fresh = {name: entry for name, entry in entries.items() if entry[3] == boot_id()}
        for name, entry in fresh.items():
            with suppress(OSError), repo.blob(name).open("rb") as stream:
                os.fsync(stream.fileno())
                entries[name] = [*entry[:3], ""]
        if fresh:
            self._write(repo, entries)

    def _entries(self, repo: Repo) -> dict[str, list[Json]]:
        held = read_json(self._verified(repo)) or {}
        blobs = held.get("blobs") if held.get("schema") == SCHEMA else None
        found = blobs.items() if isinstance(blobs, dict) else ()
        return {name: entry for name, entry in found if isinstance(entry, list) and len(entry) == 4}

    def _write(self, repo: Repo, entries: Mapping[str, list[Json]]) -> None:
        held = {"schema": SCHEMA, "repo": str(repo.folder), "blobs": dict(entries)}
        with suppress(OSError):
            write_json(self._verified(repo), held, durable=False)

    def _verified(self, repo: Repo) -> Path:
        return self.folder / "verified" / _file_name(repo)

    # ------------------------------------------------------------------------------------------- pulls in progress

    def pull_file(self, repo: Repo) -> Path:
        return self.folder / "pulls" / _file_name(repo)

    def pulls(self) -> tuple[Pull, ...]:
        """Those whose process lives, by repository."""
        found = []
        for file in sorted((self.folder / "pulls").glob("*.json")):
            held = read_json(file)
            try:
                pull = from_json(Pull, (held or {}).get("pull"))
            except (TypeError, KeyError, ValueError):
                continue
            if _lives(pull):
                found.append(pull)
        return tuple(sorted(found, key=lambda one: (one.repo, one.pid)))


def _lives(pull: Pull) -> bool:
    """A pid with its start time names a process for good, on one boot."""
    return pull.boot == boot_id() and process_start(pull.pid) == pull.start != 0


def _file_name(repo: Repo) -> str:
    """One a repository and cache, readable."""
    real = os.path.realpath(repo.cache)
    return f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:8]}-{_plain_name(repo)}.json"


def _plain_name(repo: Repo) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", repo.folder.name)
