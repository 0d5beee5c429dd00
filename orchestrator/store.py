"""The state on disk: what is meant, what was started, what failed. JSON, 0600, one folder a deployment.

    STATE/key                          the key of secret hashes, made once
    STATE/HOST/PROJECT/project.json    which folder this project is
    STATE/HOST/PROJECT/watch.json      who keeps it converged (`watchers`)
    STATE/HOST/PROJECT/NAME/record.json, revisions/N.json, logs/ATTEMPT.{log,json,dump}, latest.log, lock
                                       (what a log is kept in: `log_parts`)

By host, for homes are shared over NFS. Losing all of it loses history and intent, never a running engine: engines are
found by their marker. A damaged file is set aside by the writer, and counts as absent.
"""

import contextlib
import errno
import hashlib
import hmac
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from orchestrator import locks, watchers
from orchestrator.codec import from_file, to_json
from orchestrator.errors import HostError
from orchestrator.files import make_folder, read_json, write_json, write_text
from orchestrator.log_parts import logs_in, number
from orchestrator.log_rotation import prune, rotate, too_long
from orchestrator.model import Attempt, Record, Revision, Watcher
from orchestrator.ports import Asker, Events
from orchestrator.revisions import surplus

SCHEMA = 1
ROOM = 1 << 20  # bytes: a record and a revision, each with the files' text, and the first of a log
REVISIONS_KEPT = 20
_REVISION = re.compile(r"[1-9][0-9]{0,8}\.json")


def project_id(root: Path) -> str:
    """Names a project by its real path, so that it is the same after the state was lost."""
    real = os.path.realpath(root)
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(real)) or "root"  # noqa: PTH119 (of a string)
    return f"{base}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:8]}"


class StateReader:
    """``folder`` is the state of all projects, ``root`` the project's own folder."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.top, self.root = folder, root
        self.project = project_id(root)
        self.folder = folder / os.uname().nodename / self.project

    def records(self) -> Mapping[str, Record]:
        found = (self._record(path.name) for path in self._folders())
        return {record.name: record for record in found if record}

    def fingerprint(self, value: str) -> str:
        """Without a key yet nothing was ever hashed: any key that is not kept will do."""
        key = self._key() or os.urandom(32)
        name = hashlib.sha256(key).hexdigest()[:6]
        return f"{name}:{hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:16]}"

    def logs(self, name: str) -> Sequence[Path]:
        return logs_in(self.folder / name / "logs")

    def attempt(self, log: Path) -> Attempt | None:
        return read_attempt(log.with_suffix(".json"))

    def revisions(self, name: str) -> Sequence[Revision]:
        found = (read_revision(path) for path in (self.folder / name / "revisions").glob("*.json"))
        return sorted((one for one in found if one), key=lambda one: one.number)

    def watcher(self) -> Watcher | None:
        return watchers.living(self.folder)

    def _key(self) -> bytes | None:
        try:
            return bytes.fromhex((self.top / "key").read_text())
        except (OSError, ValueError):
            return None

    def _folders(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            why = error.strerror or str(error)
            raise HostError(f"read orch's state in {self.folder}", why, "name its folder with --state-dir") from error

    def _record(self, name: str) -> Record | None:
        return read_record(self.folder / name / "record.json")


class State(StateReader):
    """Raises HostError when the state cannot be written."""

    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder, root)
        self._said: set[str] = set()  # of logs that cannot be rotated

    def fingerprint(self, value: str) -> str:
        if self._key() is None:
            with _refusals(self.top):
                write_text(self.top / "key", os.urandom(32).hex())
        return super().fingerprint(value)

    def save(self, record: Record) -> None:
        """Its start is kept beside the log as well, where it outlives the next one."""
        with _refusals(self.folder):
            if record.attempt and (log := self.folder / record.name / "logs" / f"{record.attempt.id}.log").exists():
                write_json(
                    log.with_suffix(".json"), {"schema": SCHEMA, "attempt": to_json(record.attempt)}, durable=False
                )
            if not (self.folder / "project.json").exists():
                write_json(self.folder / "project.json", {"schema": SCHEMA, "root": os.path.realpath(self.root)})
            write_json(self.folder / record.name / "record.json", {"schema": SCHEMA, "record": to_json(record)})

    def next_revision(self, name: str) -> int:
        record = self._record(name)
        known = {record.revision.number} if record and record.revision else set()
        return max({0, *known, *_numbers(self.folder / name / "revisions")}) + 1

    def add_revision(self, name: str, revision: Revision) -> None:
        folder, record = self.folder / name / "revisions", self._record(name)
        with _refusals(self.folder):
            write_json(folder / f"{revision.number}.json", {"schema": SCHEMA, "revision": to_json(revision)})
            needed = {revision.number}
            needed |= {one.number for one in (record.revision, record.pin) if one} if record else set()
            for number in surplus(_numbers(folder), needed, REVISIONS_KEPT):
                (folder / f"{number}.json").unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """The lock's file stays: another process may wait on it."""
        with _refusals(self.folder):
            for path in sorted((self.folder / name).iterdir()):
                if path.name == "lock":
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def new_attempt(self, name: str) -> tuple[str, Path]:
        logs = self.folder / name / "logs"
        with _refusals(logs):
            make_folder(logs)
            kept = logs_in(logs)
            last = number(kept[-1]) if kept else 0
            attempt = f"{last + 1:05d}-{os.urandom(4).hex()}"
            log = logs / f"{attempt}.log"
            log.touch(mode=0o600)
            _point(self.folder / name / "latest.log", log)
            prune(logs, _spared(self._record(name)))
        return attempt, log

    def check_writable(self, name: str) -> None:
        """Raises HostError unless there is room now for all that a start writes."""
        folder = self.folder / name
        with _refusals(folder):
            write_text(folder / "logs" / ".probe", "x" * ROOM)
            (folder / "logs" / ".probe").unlink()

    @contextlib.contextmanager
    def lock(
        self, names: Iterable[str], claims: Iterable[str], events: Events, asker: Asker = "person"
    ) -> Iterator[None]:
        """One flock a deployment, in the order of their names, then one a claim. The watcher waits in silence: mostly
        for what it has itself sent."""
        say = events.say if asker != "watch" else _nothing
        with contextlib.ExitStack() as held:
            for name in sorted(set(names)):
                folder = self.folder / name
                with _refusals(folder):
                    make_folder(folder)
                    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
                    held.callback(os.close, handle)
                locks.hold(handle, name, say, partial(locks.asking, folder / f"asked-{asker}"))
                with _refusals(folder):
                    self._set_aside_damaged(name, events)
                for line in dict.fromkeys(tend_logs(folder)):
                    if line not in self._said:
                        events.say(f"warning: {line}")
                    self._said.add(line)
            held.enter_context(locks.claims(claims, say))
            yield

    def asked_by(self, name: str) -> Asker | None:
        pressing: tuple[Asker, ...] = get_args(Asker)[::-1]
        return next((one for one in pressing if locks.is_held(self.folder / name / f"asked-{one}", shared=True)), None)

    def _set_aside_damaged(self, name: str, events: Events) -> None:
        file = self.folder / name / "record.json"
        if file.exists() and read_record(file) is None:
            aside = file.replace(file.with_suffix(".damaged"))
            events.say(f"warning: the record of {name} cannot be read; it is set aside as {aside}")


def _nothing(_line: str) -> None:
    """For whom nobody waits."""


def read_record(path: Path) -> Record | None:
    document = read_json(path)
    if document is None or document.get("schema") != SCHEMA:
        return None
    return from_file(Record, document.get("record"))


def read_revision(path: Path) -> Revision | None:
    document = read_json(path)
    if document is None or document.get("schema") != SCHEMA:
        return None
    return from_file(Revision, document.get("revision"))


def read_attempt(path: Path) -> Attempt | None:
    document = read_json(path)
    if document is None or document.get("schema") != SCHEMA:
        return None
    return from_file(Attempt, document.get("attempt"))


def tend_logs(folder: Path) -> list[str]:
    """Keeps the logs of one deployment (its folder) within bounds, those of living engines too; answers what hindered
    it. Some 50 us where there is nothing to do."""
    logs, told = folder / "logs", []
    for log in too_long(logs):
        try:
            if rotate(log):
                prune(logs, _spared(read_record(folder / "record.json")))
        except HostError as error:
            told.append(str(error))
        except OSError as error:
            told.append(f"cannot remove old logs in {logs}: {error.strerror or error}")
    return told


def _spared(record: Record | None) -> set[str]:
    """The starts whose logs somebody may want next: the last one, and the last one that failed."""
    if record is None:
        return set()
    failed = [Path(one.log).stem for one in record.rejected] + [one.attempt for one in record.deaths]
    return {*sorted(failed)[-1:], *([record.attempt.id] if record.attempt else ())}


def _numbers(folder: Path) -> set[int]:
    """Of the revisions that have a file there, be it damaged: a number is never used again."""
    return {int(path.stem) for path in folder.glob("*.json") if _REVISION.fullmatch(path.name)}


def _point(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.relative_to(link.parent))
    fresh.replace(link)


@contextlib.contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        do = {
            errno.ENOSPC: "free some space, or name another folder with --state-dir",
            errno.EDQUOT: "free some space, or name another folder with --state-dir",
        }.get(error.errno or 0, "make it writable, or name another folder with --state-dir")
        raise HostError(f"write orch's state in {folder}", error.strerror or str(error), do) from error
