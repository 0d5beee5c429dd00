"""How soon a killed engine is started again, and what it costs to watch ten that need nothing: `orch watch` beside
supervisord (PyPI) and pm2 (npm), side by side in one run, over the same stand-in engine.

The time is from the kill -9 until the first instruction of the successor has run, Python's own start included. orch
clears what the dead one left over, takes the locks, looks at the port and keeps records before it starts another; the
other two start the program again and know nothing of it.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fakes.runtime import make_fake_runtime
from fakes.sandbox import MODEL, Sandbox, free_ports, wait_until

KILLS = 15
WATCHED = 10  # deployments
IDLE = 30.0  # seconds
STEADY = 2.0  # seconds that an engine lives before it is killed: all three hold a quick second death against it
BIN = Path(sys.executable).parent
TICKS = os.sysconf("SC_CLK_TCK")
BORN = "import os, pathlib, sys, time\nwith open(pathlib.Path(sys.argv[0]).with_name('born'), 'a') as _born:\n"
BORN += "    _born.write(f'{os.getpid()} {time.monotonic_ns()}\\n')\n"


class Missing(Exception):
    """What this machine lacks for a row."""


class Engines:
    """``count`` of them for one supervisor; each writes down its birth as its first instruction."""

    def __init__(self, folder: Path, ports: Iterator[int], count: int) -> None:
        self.folder = folder
        self.runtime = make_fake_runtime(folder / "runtime")
        self.ports = {f"e{number}": next(ports) for number in range(count)}
        self._born = self.runtime / "bin" / "born"
        script = self.runtime / "bin" / "vllm"
        shebang, _, rest = script.read_text().partition("\n")
        script.write_text(f"{shebang}\n{BORN}{rest}")

    def command(self, name: str) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(self.ports[name])]
        return [str(self.runtime / "bin" / "vllm"), "serve", str(MODEL), *where, "--served-model-name", name]

    def births(self) -> list[tuple[int, int]]:
        """Pid and monotonic nanoseconds of each."""
        lines = self._born.read_text().splitlines() if self._born.exists() else []
        return [(int(pid), int(at)) for pid, at in (line.split() for line in lines)]

    def await_births(self, count: int) -> None:
        wait_until(lambda: len(self.births()) >= count, 60)

    def kill_last(self) -> float:
        """Seconds until there is another."""
        known = self.births()
        began = time.monotonic_ns()
        os.kill(known[-1][0], signal.SIGKILL)
        self.await_births(len(known) + 1)
        return (self.births()[-1][1] - began) / 1e9


# ----------------------------------------------------------------------------------------------------- the three


@contextmanager
def orch(engines: Engines) -> Iterator[int]:
    sandbox = Sandbox.create(engines.folder / "home")
    sandbox.allow_leftovers()
    sandbox.environment(engines.runtime)
    for name, port in engines.ports.items():
        sandbox.profile(name, port, restart={"window": "1s"})  # each death counts as a first one, as with the others
    try:
        applied = sandbox.orch("apply", "profiles", "--yes", timeout=120)
        if applied.code:
            raise SystemExit(f"orch apply ended with {applied.code}:\n{applied.stderr}")
        watcher = sandbox.start("watch", "profiles")
        wait_until(lambda: _watches(sandbox, watcher.process.pid), 30)
        yield watcher.process.pid
        if watcher.process.poll() is not None:
            raise SystemExit(f"orch watch ended:\n{watcher.output}")
    finally:
        sandbox.close()


def _watches(sandbox: Sandbox, pid: int) -> bool:
    """It has looked at the files, all of which it names."""
    found = [json.loads(file.read_text())["watcher"] for file in sandbox.home.glob("state/orch/*/*/watch.json")]
    return any(one["pid"] == pid and one.get("names") for one in found)


@contextmanager
def supervisord(engines: Engines) -> Iterator[int]:
    program = BIN / "supervisord"
    if not program.exists():
        raise Missing("supervisord is not in .venv/; `make setup` installs it")
    config = engines.folder / "supervisord.conf"
    sections = [f"[supervisord]\nnodaemon=true\nlogfile={engines.folder}/log\npidfile={engines.folder}/pid"]
    sections += [f"[program:{name}]\ncommand={' '.join(engines.command(name))}" for name in engines.ports]
    config.write_text("\n\n".join(sections) + "\n")
    process = _begin([str(program), "-c", str(config)], engines.folder, {})
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def pm2(engines: Engines) -> Iterator[int]:
    program = _pm2()
    env = {"PM2_HOME": str(engines.folder / "pm2")}

    def call(*args: str) -> None:
        if _begin([str(program), *args], engines.folder, env).wait():
            raise SystemExit(f"pm2 {args[0]} failed:\n{(engines.folder / 'out').read_text(errors='replace')}")

    try:
        for name in engines.ports:
            file, *args = engines.command(name)
            call("start", file, "--name", name, "--interpreter", "none", "--", *args)
        yield int((engines.folder / "pm2" / "pm2.pid").read_text())
    finally:
        call("kill")


def _pm2() -> Path:
    """Installed by this bench, once, into a folder of its own in the cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orch-bench"
    program = cache / "node_modules" / ".bin" / "pm2"
    if not program.exists():
        if not shutil.which("npm"):
            raise Missing("pm2 takes npm, which is not on PATH")
        cache.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--prefix", str(cache), "--no-audit", "--no-fund", "pm2"]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(f"npm cannot install pm2: {done.stderr.strip().splitlines()[-1:]}")
    return program


def _begin(command: Sequence[str], folder: Path, env: dict[str, str]) -> "subprocess.Popen[bytes]":
    with (folder / "out").open("ab") as out:
        return subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **env},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )


SUPERVISORS = {"orch": orch, "supervisord": supervisord, "pm2": pm2}


# ------------------------------------------------------------------------------------------------------- measuring


def measure_all() -> dict[str, object]:
    return {"crash to restarted": crash_to_restarted(), "idle cost": idle_cost()}


def crash_to_restarted(kills: int = KILLS) -> dict[str, object]:
    """Median seconds, the supervisors taken in turns so that a drifting machine drifts for all."""
    with _all_of_them(1) as (running, rows):
        seconds: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(kills):
            time.sleep(STEADY)
            for name, (engines, _) in running.items():
                seconds[name].append(engines.kill_last())
    medians = {name: statistics.median(all_of) for name, all_of in seconds.items()}
    for name, one in medians.items():
        rows[name] = {
            "seconds": round(one, 3),
            "longest": round(max(seconds[name]), 3),
            "times orch": round(one / medians["orch"], 2),
        }
    return rows


def idle_cost(seconds: float = IDLE) -> dict[str, object]:
    """Of the supervisor itself, with what it had done by children of its own that are gone again."""
    with _all_of_them(WATCHED) as (running, rows):
        time.sleep(STEADY)
        before = {name: _ticks(pid) for name, (_, pid) in running.items()}
        began = time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - began
        for name, (_, pid) in running.items():
            percent = (_ticks(pid) - before[name]) / TICKS / passed * 100
            rows[name] = {"MB": round(_resident(pid) / 1e6, 1), "percent of a core": round(percent, 2)}
    return rows


@contextmanager
def _all_of_them(count: int) -> Iterator[tuple[dict[str, tuple[Engines, int]], dict[str, object]]]:
    """What runs, by name, with its pid; and the rows, in which stands already what is missing."""
    rows: dict[str, object] = {}
    running: dict[str, tuple[Engines, int]] = {}
    ports = free_ports()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        for name, supervisor in SUPERVISORS.items():
            (folder / name).mkdir()
            engines = Engines(folder / name, ports, count)
            try:
                running[name] = engines, opened.enter_context(supervisor(engines))
            except Missing as why:
                rows[name] = {"missing": str(why)}
                continue
            engines.await_births(count)
        yield running, rows


def _ticks(pid: int) -> int:
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return sum(int(one) for one in fields[11:15])


def _resident(pid: int) -> int:
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024
