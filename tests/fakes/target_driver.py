"""Drives a target from a process of its own, which may sit in another machine's namespaces: one JSON command a line on
its standard input, one JSON answer each. Run by ``python target_driver.py BACKEND``."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator import logfiles, proc
from orchestrator.backends import cgroups
from orchestrator.backends.local import Local
from orchestrator.backends.systemd import Systemd
from orchestrator.environ import MARK, write_marker
from orchestrator.errors import OrchError
from orchestrator.model import Instance, Launch, Marker
from orchestrator.ports import Target
from orchestrator.user_manager import UserManager

GRACE = 0.3  # seconds that anybody is given to leave
PROJECT = "contract-00000000"
MAKE: dict[str, Callable[[], Target]] = {
    "local": lambda: Local(GRACE, GRACE, elsewhere=cgroups.pids),
    "systemd": lambda: Systemd(UserManager(dict(os.environ)), GRACE, GRACE),
}


class Driver:
    def __init__(self, backend: str) -> None:
        self.target = MAKE[backend]()
        self.instances: dict[str, Instance] = {}

    def start(self, name: str, argv: Sequence[str], secrets: dict[str, str], folder: str) -> Any:
        marker = Marker(PROJECT, name, f"00001-{os.urandom(4).hex()}")
        log = Path(folder, f"{marker.attempt}.log")
        log.touch()
        env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], MARK: write_marker(marker)}
        self.instances[name] = self.target.start(marker, Launch(tuple(argv), env), secrets, log)
        return {"log": str(log), **described(self.instances[name])}

    def list(self) -> Any:
        return [described(one) for one in self.target.list(PROJECT, {})]

    def take(self, name: str) -> Any:
        """Knows from now on the instance that a look shows."""
        (self.instances[name],) = (one for one in self.target.list(PROJECT, {}) if one.name == name)

    def stop(self, name: str, drain: float) -> Any:
        self.target.stop(self.instances[name], drain)

    def wait(self, name: str, seconds: float) -> Any:
        ended = self.target.wait(self.instances[name], seconds)
        return None if ended is None else {"code": ended.code, "signal": ended.signal}

    def tail(self, log: str) -> Any:
        return logfiles.tail(Path(log), 100)

    def alive(self, pids: Sequence[int]) -> Any:
        rows = (proc.read(pid) for pid in pids)
        return [row.pid for row in rows if row and not row.zombie]

    def kill(self, pid: int, number: int) -> Any:
        os.kill(pid, number)

    def environ(self, pid: int) -> Any:
        return dict(proc.environ(pid))

    def command_lines(self) -> Any:
        """Of all processes there are."""
        found = []
        for row in proc.scan():
            try:
                found.append(Path(f"/proc/{row.pid}/cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
        return found


def described(instance: Instance) -> Any:
    return {
        "name": instance.name,
        "attempt": instance.marker.attempt,
        "leader": instance.leader.pid if instance.leader else 0,
        "children": [one.pid for one in instance.children],
        "backend": instance.backend,
    }


def main(backend: str) -> None:
    driver = Driver(backend)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer: Any = {"answer": getattr(driver, command.pop("do"))(**command)}
        except OrchError as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
