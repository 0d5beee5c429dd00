"""What a run happens in: a project of fake engines, a witness, an innocent bystander, and the story so far."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy_kit import Project, alive
from fakes.runtime import make_fake_runtime
from fakes.sandbox import Background, Result, Sandbox, free_ports, wait_until

from chaos.witness import Witness

BYSTANDER = """
import signal
catchable = set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}
signal.pthread_sigmask(signal.SIG_BLOCK, catchable)
print("here", flush=True)
while True:
    print(signal.sigwait(catchable).name, flush=True)
"""


@dataclass(frozen=True)
class Workshop:
    """What all runs share, for it takes its time to make: the fake runtime and what orch has learnt of it."""

    folder: Path
    runtime: Path
    free_port: Callable[[], int]

    @classmethod
    def open(cls, folder: Path) -> "Workshop":
        """Made anew, or as another process has left it."""
        ports, lock, runtime = free_ports(), threading.Lock(), folder / "runtime"

        def free_port() -> int:
            with lock:
                return next(ports)

        return cls(folder, runtime if runtime.is_dir() else make_fake_runtime(runtime), free_port)


class Scene(Project):
    """``seed`` decides everything that is drawn. ``story`` is what was done, to be told when it went wrong."""

    def __init__(self, sandbox: Sandbox, workshop: Workshop, name: str, seed: int) -> None:
        super().__init__(sandbox, workshop.free_port)
        self.workshop = workshop
        self.seed = seed
        self.random = random.Random(f"{name}:{seed}")
        self.began = time.monotonic()
        self.story: list[str] = []
        self.blank = True  # whether engines may have children without a mark
        self.attempts = 5  # `restart.attempts` of what is written
        self.ports: dict[str, int] = {}  # of what is wanted, by name
        self.recorded: set[str] = set()  # what has a record, and must not lose it
        self.lasting: dict[str, int] = {}  # the pids of engines that nobody may start anew
        self.commands: list[Background] = []
        self.witness = Witness(sandbox.home)
        self.bystander = sandbox.home.parent / "bystander.log"
        self.innocent = _bystander(self.bystander)
        wait_until(self.bystander.read_text)

    def tell(self, line: str) -> None:
        self.story.append(f"{time.monotonic() - self.began:6.1f} s  {line}")

    # ------------------------------------------------------------------------------------------------ what is drawn

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pause(self, longest: float) -> None:
        """Violence comes when it comes: a drawn time, which proves nothing and is waited for by nobody."""
        threading.Event().wait(self.random.uniform(0, longest))

    def nth(self, count: int) -> int:
        """Counts through 1..``count`` from seed to seed, where every one has to come up."""
        return 1 + self.seed % count

    # ------------------------------------------------------------------------------------------------- what is wanted

    def want(self, *names: str) -> None:
        """Their profiles, on ports of their own, with engines of a drawn shape."""
        for name in names:
            self.ports[name] = self.free_port()
            self.write(name)

    def write(self, name: str, **changed: object) -> None:
        shape: dict[str, object] = {"fake_children": self.random.randint(0, 2)}
        if self.chance(0.3 if self.blank else 0):
            shape["fake_blank_environ"] = True
        if self.chance(0.3):
            shape["fake_ready_after"] = 0.2
        if self.chance(0.2):
            shape["fake_late_listen"] = True
        restart = {"policy": self.random.choice(["on-failure", "always"]), "attempts": self.attempts}
        self.profile(name, self.ports[name], args=shape | changed, serve={"max_model_len": 256}, restart=restart)

    def edit(self, *names: str) -> None:
        """Something that takes a restart."""
        for name in names:
            file = self.sandbox.project / "profiles" / f"{name}.yaml"
            document = json.loads(file.read_text())
            document["serve"]["max_model_len"] += 1
            file.write_text(json.dumps(document))
        self.tell(f"edited {', '.join(names)}")

    def deploy(self, *names: str) -> None:
        """Wanted, and applied."""
        self.want(*names)
        self.apply(*names)
        self.recorded |= set(names)

    def guard(self, *names: str) -> None:
        for name in names:
            self.witness.guard(name, self.ports[name])

    # ------------------------------------------------------------------------------------------------------- commands

    def orch(self, *args: str, code: int | None = 0, input: str | None = None) -> Result:
        """``code`` None: however it ends."""
        done = self.sandbox.orch(*args, input=input)
        self.tell(f"orch {' '.join(args)} ended with {done.code}{_last_words(done.stderr)}")
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.code == code, f"orch {' '.join(args)} ended with {done.code}"
        return done

    def begin(self, *args: str) -> Background:
        """A command that is not waited for; it must never print a traceback."""
        self.commands.append(self.sandbox.start(*args))
        return self.commands[-1]

    def slay(self, command: Background, when: str) -> None:
        """kill -9, and its end."""
        self.tell(f"{when}: kill -9 of orch (it had said: {' | '.join(command.output.splitlines()) or 'nothing'})")
        command.process.kill()
        command.process.wait()

    def send(self, pid: int, number: signal.Signals, what: str) -> None:
        self.tell(f"{number.name} to {what} (pid {pid})")
        os.kill(pid, number)

    def kill(self, pid: int, what: str) -> None:
        """Returns when it is gone."""
        self.send(pid, signal.SIGKILL, what)
        wait_until(lambda: not alive(pid))

    def kill_all(self, name: str) -> None:
        """The engine with all its children, in any order."""
        family = self.family(name)
        self.random.shuffle(family)
        for pid in family:
            self.kill(pid, f"all of {name}")

    # -------------------------------------------------------------------------------------------------------- the end

    def close(self) -> None:
        self.witness.end()
        self.innocent.kill()
        self.innocent.wait()
        self.sandbox.close()


def _last_words(stderr: str) -> str:
    words = stderr.strip().splitlines()[-3:]
    return f": {' | '.join(words)}" if words else ""


def _bystander(log: Path) -> "subprocess.Popen[bytes]":
    """Somebody's process, which writes down every signal that it gets; nothing of it names the sandbox."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-Ic", BYSTANDER],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


@contextmanager
def opened(workshop: Workshop, name: str, seed: int) -> Iterator[Scene]:
    """An empty project; whatever lives in it is killed at the end."""
    with tempfile.TemporaryDirectory(dir=workshop.folder, ignore_cleanup_errors=True) as folder:
        sandbox = Sandbox.create(Path(folder) / "home")
        sandbox.env["ORCH_CACHE_DIR"] = str(workshop.folder / "known")
        sandbox.allow_leftovers()
        sandbox.environment(workshop.runtime)
        scene = Scene(sandbox, workshop, name, seed)
        try:
            yield scene
        finally:
            scene.close()
