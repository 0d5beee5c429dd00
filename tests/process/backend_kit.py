"""A target as its contract sees it: driven from a process of its own, here or in a systemd's namespaces."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fakes.systemd import Systemd

DRIVER = Path(__file__).parents[1] / "fakes" / "target_driver.py"
CHILD = "import signal, sys, time; signal.signal(15, int(sys.argv[1])); print('child', flush=True); time.sleep(600)"
ENGINE = f"""
import json, os, signal, subprocess, sys, time
plan = json.loads(sys.argv[1])
signal.alarm(600)
for child in plan["children"]:
    command = [sys.executable, "-S", "-c", {CHILD!r}, str(int(signal.SIG_IGN if "deaf" in child else signal.SIG_DFL))]
    subprocess.Popen(command, start_new_session="escapes" in child, env={{}} if "blank" in child else None)
signal.signal(signal.SIGTERM, signal.SIG_IGN if plan["deaf"] else lambda *_: sys.exit(0))
print("the engine is up", flush=True)
while not os.path.exists(plan["until"]):
    time.sleep(0.01)
sys.exit(plan["code"])
"""


class Refused(Exception):
    """What the target raised."""


class Driven:
    """One process that holds a target, and the folder of its logs."""

    def __init__(self, backend: str, home: Path, system: Systemd | None) -> None:
        self.home = home
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
        command = [sys.executable, str(DRIVER), backend]
        if system:
            command = system.command(command, home, env | {"XDG_RUNTIME_DIR": system.runtime_dir})
        self.process = subprocess.Popen(
            command, env=env, cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, do: str, **command: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"do": do, **command}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["answer"]

    def engine(
        self,
        name: str = "a",
        children: Sequence[str] = (),
        secrets: dict[str, str] | None = None,
        *,
        deaf: bool = False,
        code: int = 0,
    ) -> Any:
        """Starts one. Each child is told in words: it "escapes" into a session of its own, is "deaf" to TERM, has a
        "blank" environment. With ``code`` it ends by itself once the file ``until`` is there."""
        plan = {"children": list(children), "deaf": deaf, "code": code, "until": str(self.until)}
        argv = [sys.executable, "-S", "-c", ENGINE, json.dumps(plan)]
        return self("start", name=name, argv=argv, secrets=secrets or {}, folder=str(self.home))

    @property
    def until(self) -> Path:
        return self.home / "until"

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=30)
        assert self.process.stdout
        self.process.stdout.close()
