"""How the tests of the fetch build a job, and have it done: by the child process as orch starts it, or in this one."""

import json
import os
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from fakes.hub import Hub
from fakes.sandbox import wait_until

from orchestrator.codec import to_json
from orchestrator.errors import FetchFailed
from orchestrator.hub.child.fetch import fetch
from orchestrator.hub.child.job import Job, Tuning, Want, failure
from orchestrator.hub.layout import Repo
from orchestrator.hub.memory import Memory
from orchestrator.hub.talk import COMMAND
from orchestrator.model import RemoteFile

MIB = 1 << 20
REPO, MODEL = "org/m", "model.safetensors"
FAST = Tuning(connections=4, run=4, attempts=4, backoff=0.01, longest=0.04, stall=1.0)


@cache
def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


SIZE = 20 * MIB + 99
WEIGHTS = noise(SIZE)
FILES = {"config.json": b'{"a": 1}', MODEL: WEIGHTS}
Namespace = Callable[[str], list[str]]


@dataclass(slots=True)
class Told:
    """What a fetch said while it worked; ``result`` once it is done."""

    lines: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def said(self) -> list[str]:
        return [event["say"] for event in map(json.loads, self.lines) if "say" in event]

    def pulls(self, doing: str = "fetching") -> list[dict[str, Any]]:
        """Every report of a phase; fields that equal their default are left out, as in JSON."""
        told = [event["pull"] for event in map(json.loads, self.lines) if "pull" in event]
        return [pull for pull in told if pull.get("doing", "fetching") == doing]


@dataclass(slots=True)
class Child:
    """The real program. What it says comes into ``told`` as it is said."""

    process: "subprocess.Popen[str]"
    told: Told = field(default_factory=Told)
    noise: list[str] = field(default_factory=list)  # what is none of its events
    answers: "Queue[str]" = field(default_factory=Queue)
    threads: list[Thread] = field(default_factory=list)

    def listen(self) -> None:
        def events() -> None:
            for line in self.process.stderr or ():
                (self.told.lines if line.startswith("{") else self.noise).append(line)

        def answers() -> None:
            for line in self.process.stdout or ():
                self.answers.put(line)
            self.answers.put("")

        self.threads = [Thread(target=run, daemon=True) for run in (events, answers)]
        for thread in self.threads:
            thread.start()

    def ask(self, job: Job) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(to_json(job)) + "\n")
        self.process.stdin.flush()

    def answer(self, timeout: float = 30.0) -> Told:
        """Once it is done; what went wrong is raised."""
        line = self.answers.get(timeout=timeout)
        assert line, f"it ended instead of answering: {self.noise}"
        told = json.loads(line)
        if not told["ok"]:
            raise failure(told["error"])
        self.told.result = told["result"]
        return self.told

    def fails(self, timeout: float = 30.0) -> FetchFailed:
        with pytest.raises(FetchFailed) as caught:
            self.answer(timeout)
        return caught.value

    def kill(self, signum: int) -> None:
        """To its process group; it is to be gone at once."""
        os.killpg(self.process.pid, signum)
        assert self.process.wait(timeout=2) == -signum

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]


@dataclass
class Kit:
    hub: Hub
    home: Path
    children: list[Child] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.home / "hf" / "hub"

    @property
    def memory(self) -> Memory:
        return Memory(self.home / "orch")

    def repo(self, name: str = REPO) -> Repo:
        return Repo(self.cache, name)

    def blob(self, want: Want, path: str = MODEL) -> Path:
        return self.repo(want.repo).blob(next(file.blob for file in want.files if file.path == path))

    def pointer(self, want: Want, path: str = MODEL) -> Path:
        return self.repo(want.repo).pointer(want.commit, path)

    # ------------------------------------------------------------------------------------------------------ its jobs

    def add(self, files: Mapping[str, bytes | Path], repo: str = REPO, **more: Any) -> Want:
        """A commit on the Hub, as orch wants it."""
        commit = self.hub.add(repo, files, **more)
        held = self.hub.api.repos[repo].commits[commit].files.values()
        files_ = tuple(RemoteFile(one.path, one.size, one.etag, one.xet) for one in held)
        return Want(repo, more.get("revision", "main"), commit, files_)

    def job(self, *wants: Want, **more: Any) -> Job:
        told = {"cache": str(self.cache), "memory": str(self.memory.folder), "tuning": FAST} | more
        return Job("fetch", self.hub.endpoint, os.getpid(), wants=wants, **told)

    def fetch(self, *wants: Want, **more: Any) -> Told:
        """In this process."""
        told = Told()
        told.result = fetch(self.job(*wants, **more), told.lines.append)
        return told

    def fails(self, *wants: Want, **more: Any) -> tuple[FetchFailed, Told]:
        told = Told()
        with pytest.raises(FetchFailed) as caught:
            fetch(self.job(*wants, **more), told.lines.append)
        return caught.value, told

    # ------------------------------------------------------------------------------------------------- the real child

    @property
    def env(self) -> dict[str, str]:
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONUNBUFFERED": "1"}
        place = {"HOME": str(self.home), "HF_HOME": str(self.home / "hf"), "HF_HUB_CACHE": str(self.cache)}
        return {"PATH": os.environ["PATH"], "HF_ENDPOINT": self.hub.endpoint, **quiet, **place}

    def start(self, job: Job, env: Mapping[str, str] | None = None, within: Sequence[str] = ()) -> Child:
        """It goes on to the next job until the test ends. ``within`` is a command that runs it."""
        process = subprocess.Popen(
            [*within, *COMMAND],
            env=self.env | dict(env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        child = Child(process)
        child.listen()
        self.children.append(child)
        child.ask(job)
        return child

    def run(self, *wants: Want, env: Mapping[str, str] | None = None, **more: Any) -> Told:
        return self.start(self.job(*wants, **more), env).answer()

    def close(self) -> None:
        for child in self.children:
            child.close()

    # --------------------------------------------------------------------------------------------------- what came

    def sent(self, path: str = MODEL) -> int:
        """Bytes of the file, without those that refuse it."""
        return sum(one.sent for one in self.hub.requests if path in one.path and one.status in (200, 206))

    def urls(self) -> list[str]:
        told = {origin.name: origin.url for origin in self.hub.origins}
        return [f"{told[one.origin]}{one.path}" for one in self.hub.requests]

    def requests(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.hub.requests]

    def whole(self, want: Want, files: Mapping[str, bytes]) -> bool:
        """Every file is there with its bytes, under its blob's name, and nothing is left of the way to it."""
        assert {file.path for file in want.files} == set(files)
        for path, data in files.items():
            assert self.pointer(want, path).read_bytes() == data
            assert self.pointer(want, path).resolve() == self.blob(want, path).resolve()
        blobs = {path.name for path in (self.repo(want.repo).folder / "blobs").iterdir()}
        assert {file.blob for file in want.files} <= blobs
        assert not [name for name in blobs if name.endswith((".part", ".map"))]
        assert not self.memory.pull_file(self.repo(want.repo)).exists()
        return True


def gone(pid: int) -> None:
    def ended() -> bool:
        """the process is gone"""
        return not Path("/proc", str(pid)).exists()

    wait_until(ended)
