"""One project of fake engines, driven through the real command line and observed from outside: /proc, the port, and
the files. Nothing here asks orch how it is."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes.sandbox import Background, Result, Sandbox, all_pids, ask, wait_until

CLIENT = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], sys.argv[2].encode()).status)"


class Project:
    """``port`` is a free one; deployments are called by the name of their profile."""

    def __init__(self, sandbox: Sandbox, free_port: Callable[[], int]) -> None:
        self.sandbox, self.free_port = sandbox, free_port
        self.port = free_port()
        self.env = sandbox.env

    # -------------------------------------------------------------------------------------------------- commands

    def orch(self, *args: str, code: int = 0, input: str | None = None) -> Result:
        """Runs it to its end, which must be ``code`` and never a traceback of orch's own."""
        done = self.sandbox.orch(*args, input=input)
        assert not any(line.startswith("Traceback") for line in done.stderr.splitlines()), done.stderr
        assert done.code == code, f"orch {' '.join(args)} ended with {done.code}\n{done.stdout}\n{done.stderr}"
        return done

    def apply(self, *paths: str, code: int = 0) -> Result:
        return self.orch("apply", *(paths or ["profiles"]), "--yes", code=code)

    def plan(self, *paths: str, code: int = 0) -> str:
        return self.orch("plan", *(paths or ["profiles"]), code=code).stdout

    def up(self, name: str = "a", port: int = 0, **keys: Any) -> int:
        """Applies a profile and answers the engine's pid."""
        self.profile(name, port, **keys)
        self.apply(name)
        return self.engine(name)

    def profile(self, name: str = "a", port: int = 0, **keys: Any) -> Path:
        return self.sandbox.profile(name, port or self.port, **keys)

    def row(self, name: str = "a") -> dict[str, Any]:
        """What ``status`` says of it."""
        rows: list[dict[str, Any]] = self.orch("status", "--output", "json").json["deployments"]
        return next(row for row in rows if row["name"] == name)

    # ----------------------------------------------------------------------------------------------- observations

    def engine(self, name: str = "a") -> int:
        """The pid of the one engine that lives under that name, 0 without one."""
        found = [pid for pid in all_pids() if self.marked(pid, name) and os.getsid(pid) == pid]
        assert len(found) < 2, f"{len(found)} engines called {name}"
        return found[0] if found else 0

    def family(self, name: str = "a") -> list[int]:
        """The engine and all that shares its session."""
        return in_session(self.engine(name))

    def marked(self, pid: int, name: str) -> bool:
        mark = environ(pid).get("ORCH_MARK", "").split("/")
        return len(mark) == 4 and mark[1] == name and environ(pid).get("HOME") == str(self.sandbox.home)

    @property
    def state(self) -> Path:
        return Path(self.env["XDG_STATE_HOME"], "orch")

    def folder(self, name: str = "a") -> Path:
        return next(self.state.glob(f"*/*/{name}"))

    def record(self, name: str = "a") -> Any:
        return json.loads((self.folder(name) / "record.json").read_text())["record"]

    def watcher(self) -> int:
        """The pid of the one that says it watches this project, 0 without one."""
        found = [json.loads(path.read_text())["watcher"]["pid"] for path in self.state.glob("*/*/watch.json")]
        return int(found[0]) if found else 0

    def asleep(self, name: str = "a") -> int:
        """Waits for an engine that listens and is not ready; answers its pid."""
        wait_until(lambda: self.engine(name) and ask(self.port, "/health")[0] == 503)
        return self.engine(name)


def request_in_flight(project: Project, go: Path) -> Background:
    """A client whose request to ``a`` is being worked on until the file ``go`` is there; it prints the status."""
    chat = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "fake_wait_for": str(go)}
    url = f"http://127.0.0.1:{project.port}/v1/chat/completions"
    client = project.sandbox.start_command([sys.executable, "-c", CLIENT, url, json.dumps(chat)])
    wait_until(lambda: 'model_name="a"} 1.0' in ask(project.port, "/metrics")[1])
    return client


def left_starting(project: Project) -> Path:
    """Applies ``a``, and leaves it by Ctrl-C while it loads: it is ready once the file that is answered is there."""
    go = project.sandbox.home / "go"
    project.profile(args={"fake_wait_for": str(go)})
    apply = project.sandbox.start("apply", "a", "--yes")
    project.asleep()
    wait_until(lambda: "await a" in apply.output)
    apply.process.send_signal(signal.SIGINT)
    assert ended(apply) == 130
    return go


def serves(port: int, name: str) -> bool:
    status, text = ask(port)
    return status == 200 and [model["id"] for model in json.loads(text)["data"]] == [name]


def environ(pid: int) -> dict[str, str]:
    try:
        raw = Path("/proc", str(pid), "environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(item.split("=", 1) for item in raw.split("\0") if "=" in item)


def fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on; empty for one that is gone or a zombie."""
    try:
        found = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if found[0] in "ZX" else found


def alive(pid: int) -> bool:
    return bool(fields(pid))


def in_session(session: int) -> list[int]:
    return [pid for pid in all_pids() if session and fields(pid)[3:4] == [str(session)]]


def kill(pid: int) -> None:
    """As the out-of-memory killer does; returns when it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid))


def ended(command: Background) -> int:
    """Its exit status, once it has one."""
    wait_until(lambda: command.process.poll() is not None)
    return int(command.process.returncode)
