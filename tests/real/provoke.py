"""Breaks a start as `failures` says, and sees how it ends: under `orch apply`, or the engine by itself."""

import json
import os
import re
import select
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import recording
from failures import Changes, Failure, Meddle
from fakes.hub import Hub
from fakes.sandbox import REPOSITORY, Sandbox, all_pids, belongs, command_line, wait_until

from orchestrator.yamldoc import parse

ENVIRONMENT = "environment."
LONGEST = 300.0  # seconds of a start, on a busy machine
MOST = 12  # lines that a failure is told in
LAG = 2.0  # seconds within which it is told


@dataclass(frozen=True, slots=True)
class Died:
    """``code`` is orch's, or the engine's where that ran ``alone``; ``said`` what `apply` said. ``ending``: of the
    engine, as orch remembers it. ``lag``: seconds from the end of the API server to that of `apply`, None where
    `apply` itself ended the engine."""

    code: int
    log: Path
    explained: Mapping[str, Any]
    said: str
    ending: Mapping[str, Any]
    lag: float | None = None


@dataclass(slots=True)
class Bench:
    """A project with a profile and an environment for each failure, by its id."""

    sandbox: Sandbox
    free_port: Callable[[], int]
    namespace: Callable[[], Callable[[str], list[str]]]
    ports: dict[str, int] = field(default_factory=dict)
    python: str = ""

    # ----------------------------------------------------------------------------------------------------- its files

    def file(self, failure: Failure, kind: str) -> Path:
        return self.sandbox.project / f"{kind}s" / f"{failure.id}.yaml"

    def folder(self, failure: Failure) -> Path:
        return self.sandbox.project / "broken" / failure.id

    def write(self, failure: Failure, hub: str = "") -> None:
        folder = self.folder(failure)
        model = folder / "tiny-qwen3"
        shutil.copytree(REPOSITORY / "profiles" / "models" / "tiny-qwen3", model)
        if failure.files:
            failure.files(folder, model)
        self.ports[failure.id] = self.free_port()
        own = {
            "profile": {"environment": failure.id, "model.path": str(model), "serve.port": self.ports[failure.id]},
            "environment": {},
        }
        for kind, shipped, wanted in (
            ("profile", "demo-cpu", failure.profile),
            ("environment", "cpu", failure.environment),
        ):
            filled = {path: fill(value, {"{folder}": str(folder), "{hub}": hub}) for path, value in wanted.items()}
            changes = {"name": failure.id, **own[kind], **filled}
            change(REPOSITORY / f"{kind}s" / f"{shipped}.yaml", changes, self.file(failure, kind))

    def cure(self, failure: Failure, changes: Changes) -> None:
        """Into the files goes what `orch explain` says, and nothing else."""
        for kind, mine in (("profile", False), ("environment", True)):
            file = self.file(failure, kind)
            change(
                file,
                {
                    path.removeprefix(ENVIRONMENT): value
                    for path, value in changes.items()
                    if path.startswith(ENVIRONMENT) is mine
                },
                file,
            )

    # ----------------------------------------------------------------------------------------------------- its starts

    def check(self, failure: Failure) -> None:
        """All that holds of any failure."""
        died = self.provoke(failure)
        assert died.code == (failure.ending["code"] if failure.alone else 1)
        assert {name: died.ending.get(name) for name in failure.ending} == failure.ending
        found = died.explained
        assert found["signature"] in (failure.id, failure.also or failure.id), found
        assert found["stage"] == failure.stage
        if not failure.alone:
            said = died.said[died.said.index(f"orch: cannot start {failure.id}: ") :].splitlines()
            assert len(said) <= MOST
            assert found["title"] in said[0] or found["means"].partition(". ")[0] in " ".join(" ".join(said).split())
        assert died.lag is None or died.lag < LAG
        recording.keep(failure, died.log, found, self._names(failure))
        if failure.cured:
            self.cure(failure, found["changes"])
            self.serve(failure)

    def provoke(self, failure: Failure) -> Died:
        with ExitStack() as stack:
            hub = stack.enter_context(Hub()) if failure.hub else None
            if failure.hub and hub:
                failure.hub(hub)
            self.write(failure, hub.endpoint if hub else "")
            if failure.id == "port-taken":
                stack.enter_context(socket.create_server(("127.0.0.1", self.ports[failure.id])))
            return self._alone(failure) if failure.alone else self._applied(failure)

    def serve(self, failure: Failure) -> None:
        """It becomes ready, and is stopped."""
        served = self.sandbox.orch("apply", failure.id, "--yes", timeout=LONGEST)
        assert served.code == 0, served.stderr
        (row,) = self.sandbox.orch("status", failure.id, "--output", "json").json["deployments"]
        assert row["phase"] == "ready"
        stopped = self.sandbox.orch("stop", failure.id, timeout=LONGEST)
        assert stopped.code == 0, stopped.stderr

    def explain(self, what: str) -> dict[str, Any]:
        done = self.sandbox.orch("explain", what, "--output", "json")
        assert done.code == 0, done.stderr
        return dict(done.json)

    def _alone(self, failure: Failure) -> Died:
        refused = self.sandbox.orch("apply", failure.id, "--yes", timeout=LONGEST)
        assert refused.code != 0
        assert not self._logs(failure), refused.stderr
        script = self.folder(failure) / "start.sh"
        script.write_text(self._export(failure))
        engine = self.sandbox.start_command([*self._under(failure), "bash", str(script)])
        code = engine.process.wait(LONGEST)
        return Died(code, engine.log, self.explain(str(engine.log)), refused.stderr, {"code": code})

    def _export(self, failure: Failure) -> str:
        made = self.sandbox.orch("export", failure.id)
        assert made.code == 0, made.stderr
        return made.stdout

    def _logs(self, failure: Failure) -> list[Path]:
        return list((self.sandbox.home / "state").glob(f"orch/*/*/{failure.id}/logs/0*.log"))

    def _applied(self, failure: Failure) -> Died:
        apply = self.sandbox.start_command([*self._under(failure), *Sandbox.command("apply", failure.id, "--yes")])

        def server() -> int:
            """orch starts the engine"""
            return self._server(failure) or -int(apply.process.poll() is not None)

        pid = wait_until(server, LONGEST)
        assert pid > 0, apply.output
        lag = None
        with handle(pid) as engine:
            if failure.meddle:
                self._meddle(failure.meddle, pid)
            if not failure.ending.get("timed_out"):
                assert select.select([engine], [], [], LONGEST)[0], apply.output
                died = time.monotonic()
                apply.process.wait(LONGEST)
                lag = time.monotonic() - died
        code = apply.process.wait(LONGEST)
        (log,) = self._logs(failure)
        attempt = json.loads(log.with_suffix(".json").read_text())["attempt"]
        ending = {**attempt.get("exit", {}), "timed_out": attempt.get("timed_out", False)}
        return Died(code, log, self.explain(failure.id), apply.output, ending, lag)

    def _under(self, failure: Failure) -> list[str]:
        """What comes before the command. A mount is seen by nobody else."""
        if not failure.mounts:
            return list(failure.under)
        include = "import sysconfig; print(sysconfig.get_path('include'))"
        headers = f'"$({self._python(failure)} -c "{include}")"'
        script = failure.mounts.format(folder=self.folder(failure), headers=headers)
        return [*self.namespace()(script), *failure.under]

    def _python(self, failure: Failure) -> str:
        """That of the runtime, which is the same for all."""
        if not self.python:
            found = re.search(r"(\S+/bin/python) -m vllm", self._export(failure))
            assert found
            self.python = found[1]
        return self.python

    def _names(self, failure: Failure) -> dict[str, str]:
        """What a recorded log calls the folders of this machine."""
        python = Path(self._python(failure))
        return {
            str(self.folder(failure)): "/srv/broken",
            str(self.sandbox.home): "/srv/project",
            str(python.parents[1]): "/opt/runtime",
            str(python.resolve().parents[1]): "/usr",
        }

    def _server(self, failure: Failure) -> int:
        """The pid of its API server, 0 before there is one."""
        flag = f" --port {self.ports[failure.id]} "
        lines = {pid: f"{command_line(pid)} " for pid in all_pids() if belongs(pid, str(self.sandbox.home))}
        return next((pid for pid, line in lines.items() if " -m vllm." in line and flag in line), 0)

    def _meddle(self, meddle: Meddle, server: int) -> None:
        def core() -> int:
            """its EngineCore is there"""
            home = str(self.sandbox.home)
            return next((pid for pid in all_pids() if "EngineCore" in command_line(pid) and belongs(pid, home)), 0)

        found = wait_until(core, LONGEST) if meddle.core or meddle.late else 0
        os.kill(found if meddle.core else server, meddle.signal)


@contextmanager
def handle(pid: int) -> Iterator[int]:
    """What becomes readable when that process ends."""
    found = os.pidfd_open(pid)
    try:
        yield found
    finally:
        os.close(found)


def fill(value: Any, places: Mapping[str, str]) -> Any:
    """A text, or a list of them, with what stands for a place of this machine replaced."""
    if isinstance(value, list):
        return [fill(one, places) for one in value]
    for name, place in places.items():
        value = value.replace(name, place) if isinstance(value, str) else value
    return value


def change(source: Path, changes: Changes, to: Path) -> None:
    """The YAML document with these fields set, or removed by None. JSON is YAML."""
    document: Any = parse(source.read_text(), str(source)).value
    for path, value in changes.items():
        *sections, leaf = path.split(".")
        at = document
        for section in sections:
            at = at.setdefault(section, {})
        if value is None:
            at.pop(leaf, None)
        else:
            at[leaf] = value
    to.write_text(json.dumps(document, indent=2))
