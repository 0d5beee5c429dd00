"""What the state remembers of all projects of this user, on whichever host: a home may be shared, and so are the
runtimes in it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.codec import from_file
from orchestrator.errors import HostError
from orchestrator.files import read_json
from orchestrator.garbage import File
from orchestrator.model import Attempt, Deployment, Record, Revision
from orchestrator.store import read_record

_TEMPORARY = re.compile(
    r"\.(key|(project|watch|record|[0-9]+|[0-9a-f]{16})\.json|[\w-]+\.dump|\.probe)\.[a-z0-9_]{8}|\.probe|\.latest\.log\.new"
    r"|\.[0-9]{5,9}-[0-9a-f]{8}\.(log\.0\.new|json\.[a-z0-9_]{8})",
    re.ASCII,
)
"""What writing a file of the state leaves when it is killed (`files.write_text`, by `store`, `watchers` and `dump`), or
rotating a log."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The folder of one deployment. ``unread`` are files in it that do not tell what they hold."""

    host: str
    project: str
    name: str
    folder: Path
    record: Record | None = None
    revisions: tuple[Revision, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def attempt(self) -> Attempt | None:
        return self.record.attempt if self.record else None

    @property
    def forgotten(self) -> bool:
        return self.record is None and not self.unread and not (self.folder / "record.damaged").exists()

    def deployments(self) -> Iterator[Deployment]:
        """All that could be started again."""
        if self.record and self.record.attempt:
            yield self.record.attempt.deployment
        if self.record and self.record.revision:
            yield self.record.revision.deployment
        yield from (one.deployment for one in self.revisions)

    def runtimes(self) -> set[str]:
        known = (*self.revisions, *([self.record.revision] if self.record and self.record.revision else ()))
        return {one.runtime for one in known if one.runtime}


def remembered(top: Path) -> tuple[Remembered, ...]:
    """``top`` is the state's folder. Raises HostError where it cannot be read: to see nothing is not to know that there
    is nothing."""
    return tuple(
        _read(host.name, project.name, folder)
        for host in folders(top)
        for project in folders(host)
        for folder in folders(project)
    )


def roots(top: Path) -> tuple[Path, ...]:
    """The folders of the projects that are still there."""
    files = [project / "project.json" for host in folders(top) for project in folders(host)]
    found = ((read_json(one) or {}).get("root") for one in files)
    return tuple(dict.fromkeys(Path(root) for root in found if isinstance(root, str) and Path(root).is_dir()))


def temporary(top: Path, host: str) -> Iterator[File]:
    """Of this host's state alone: a clock of another one proves nothing."""
    yield from temporary_in(top)
    for project in folders(top / host):
        yield from temporary_in(project)
        for name in folders(project):
            for place in (name, *(one for one in folders(name) if one.name in ("revisions", "logs"))):
                yield from temporary_in(place, str(name / "lock"))


def temporary_in(folder: Path, lock: str = "") -> Iterator[File]:
    """``lock`` is the file whose holder may be writing there."""
    for path in entries(folder):
        if _TEMPORARY.fullmatch(path.name) and (found := file(path)) and not path.is_dir():
            yield replace(found, lock=lock)


def file(path: Path) -> File | None:
    """Itself, if it is a link. None for what is gone."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return File(str(path), found.st_blocks * 512 or found.st_size, found.st_mtime)


def folders(top: Path) -> list[Path]:
    """Links are none. Raises HostError."""
    return [path for path in entries(top) if path.is_dir() and not path.is_symlink()]


def entries(top: Path) -> list[Path]:
    try:
        return sorted(top.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        why = f"{top}: {error.strerror or error}"
        raise HostError("look for left-overs", why, "make it readable, or name another one by --state-dir") from error


def _read(host: str, project: str, folder: Path) -> Remembered:
    kept = folder / "record.json"
    record = read_record(kept)
    unread = [] if record or not kept.exists() else [str(kept)]
    revisions = []
    for one in folders(folder):
        for path in entries(one) if one.name == "revisions" else ():
            if re.fullmatch(r"[0-9]+\.json", path.name):
                revision = from_file(Revision, (read_json(path) or {}).get("revision"))
                revisions += [revision] if revision else []
                unread += [] if revision else [str(path)]
    return Remembered(host, project, folder.name, folder, record, tuple(revisions), tuple(unread))
