"""A project and a home of their own for one test, and proof that nothing the test started is left alive."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = REPOSITORY / "profiles" / "models" / "tiny-qwen3"
POLL = 0.02
GRACE = 1.0  # seconds a process that was told to end may take to be gone
FIRST_PORT, LAST_PORT = 18000, 30000  # below Linux's ephemeral range, so that no client's socket takes one meanwhile

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout: float = 10.0) -> T:
    """The first true answer of ``predicate``, asked every 20 ms. The only place where tests wait."""
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            what = predicate.__doc__ or getattr(predicate, "__qualname__", predicate)
            raise AssertionError(f"still not so after {timeout:g} s: {what}")
        time.sleep(POLL)
    return answer


def ask(port: int, path: str = "/v1/models", body: Any = None, key: str = "", timeout: float = 5.0) -> tuple[int, str]:
    """(status, text); status 0 for a connection that is refused or reset."""
    data = None if body is None else json.dumps(body).encode()
    headers = {} if data is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (urllib.error.URLError, ConnectionResetError):
        return 0, ""


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True, slots=True)
class Background:
    """A command that goes on; both its streams are in ``log``."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass(slots=True)
class Sandbox:
    """``home`` holds everything: HOME, the XDG folders, TMPDIR and the ``project`` with its two folders of files.

    ``env`` is all that a command sees; a test adds to it by ``sandbox.env["NAME"] = ...``.
    """

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    background: list[Background] = field(default_factory=list)
    leftovers_allowed: bool = False

    @classmethod
    def create(cls, home: Path, extra: Mapping[str, str] | None = None) -> "Sandbox":
        home = home.resolve()
        folders = {"XDG_STATE_HOME": "state", "XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp"}
        env = {name: str(home / folder) for name, folder in folders.items()}
        env |= {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        sandbox = cls(home, env | dict(extra or {}))
        for folder in (home / "tmp", sandbox.project / "profiles", sandbox.project / "environments"):
            folder.mkdir(parents=True)
        return sandbox

    @property
    def project(self) -> Path:
        return self.home / "project"

    # ------------------------------------------------------------------------------------------------- its files

    def write(self, path: str, text: str) -> Path:
        """A file of the project; the text's common indentation goes."""
        file = self.project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
        return file

    def environment(self, runtime: Path, name: str = "fake", **keys: Any) -> Path:
        """``environments/NAME.yaml`` for a virtual environment. JSON is YAML."""
        text = json.dumps({"name": name, "runtime": {"venv": str(runtime)}} | keys, indent=2)
        return self.write(f"environments/{name}.yaml", text)

    def profile(self, name: str, port: int, args: Mapping[str, Any] | None = None, **keys: Any) -> Path:
        """``profiles/NAME.yaml`` in the environment ``fake``; ``args`` are the engine's flags, the fake's too."""
        serve = {"port": port, "names": [name], "args": dict(args or {})} | keys.pop("serve", {})
        base = {"name": name, "environment": "fake", "model": {"path": str(MODEL)}, "gpus": 0, "drain": "5s"}
        text = json.dumps(base | {"readiness": {"timeout": "20s"}, "serve": serve} | keys, indent=2)
        return self.write(f"profiles/{name}.yaml", text)

    # ---------------------------------------------------------------------------------------------- its commands

    def orch(self, *args: str, input: str | None = None, timeout: float = 60.0) -> Result:
        """The command line as a user runs it, in the project, without a terminal."""
        stdin = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        done = subprocess.run(
            self.command(*args),
            env=self.env,
            cwd=self.project,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **stdin,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def start(self, *args: str) -> Background:
        """A command that does not end by itself (``watch``, ``run``, ``logs -f``); the sandbox ends it."""
        return self.start_command(self.command(*args))

    def start_command(self, command: list[str], env: Mapping[str, str] | None = None) -> Background:
        log = self.home / f"background-{len(self.background)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                env=self.env | dict(env or {}),
                cwd=self.project,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.background.append(Background(process, log))
        return self.background[-1]

    @staticmethod
    def command(*args: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", *args]

    # ------------------------------------------------------------------------------------------------ its remains

    def allow_leftovers(self) -> None:
        """The test leaves processes alive on purpose; they are killed in silence."""
        self.leftovers_allowed = True

    def living(self) -> dict[int, str]:
        """The command lines of all that lives and belongs here, by pid."""
        mine = str(self.home)
        found = {pid: command_line(pid) for pid in all_pids() if pid != os.getpid() and belongs(pid, mine)}
        return {pid: command for pid, command in found.items() if command}

    def close(self) -> None:
        """Kills what is left, then fails if the test had not said so."""
        left = self.lingering()
        wait_until(self.all_killed)
        for command in self.background:
            command.process.wait()
        if left and not self.leftovers_allowed:
            raise AssertionError(f"left alive by this test: {left}")

    def lingering(self) -> dict[int, str]:
        deadline = time.monotonic() + GRACE
        while (left := self.living()) and not self.leftovers_allowed and time.monotonic() < deadline:
            time.sleep(POLL)
        return left

    def all_killed(self) -> bool:
        """everything of the sandbox is killed"""
        left = self.living()
        for pid in left:
            kill(pid)
        return not left


def copy_project(sandbox: Sandbox, profile: str, environment: str, port: int) -> None:
    """The shipped files as they are, but for the port."""
    shutil.copytree(REPOSITORY / "profiles" / "models", sandbox.project / "profiles" / "models")
    shutil.copy(REPOSITORY / "environments" / f"{environment}.yaml", sandbox.project / "environments")
    text = (REPOSITORY / "profiles" / f"{profile}.yaml").read_text()
    assert text.count("port: 8000") == 1
    (sandbox.project / "profiles" / f"{profile}.yaml").write_text(text.replace("port: 8000", f"port: {port}"))


def free_ports() -> Iterator[int]:
    """Ports that nobody listens on, never the same one twice in a process, and others than those of the test runner's
    other workers."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    first = FIRST_PORT + (os.getpid() * 20 + worker * 2500) % 10000
    return (port for port in range(first, LAST_PORT) if is_free(port))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def belongs(pid: int, folder: str) -> bool:
    """By its environment; or, for one that blanked it, by its command line, its folder or where its output goes."""
    proc = Path("/proc", str(pid))
    try:
        texts = [(proc / name).read_bytes().decode(errors="replace") for name in ("environ", "cmdline")]
        links = [str((proc / name).readlink()) for name in ("cwd", "fd/1", "fd/2")]
    except OSError:  # gone meanwhile, a zombie, or another user's
        return False
    return any(folder in text for text in texts) or any(link.startswith(folder) for link in links)


def command_line(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
