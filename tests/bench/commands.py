"""How much the commands cost, as ratios to `python -c "import typer"` in one run."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 15
BASE = [sys.executable, "-c", "import typer"]
ORCH = str(Path(sys.executable).with_name("orch"))


def measure(commands: dict[str, list[str]], cwd: str) -> dict[str, float]:
    """Median wall seconds of each command, taken in turns so that a drifting machine drifts for all."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(all_of) for name, all_of in seconds.items()}


def measure_all() -> dict[str, dict[str, float]]:
    commands = {
        "import typer": BASE,
        "orch --version": [ORCH, "--version"],
        "orch status": [ORCH, "status"],
    }
    repository = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as state:
        commands["orch validate"] = [ORCH, "validate", "--root", str(repository)]
        commands["orch status"] += ["--state-dir", state]
        found = measure(commands, str(repository))
    base = found["import typer"]
    return {name: {"seconds": round(one, 3), "ratio": round(one / base, 2)} for name, one in found.items()}
