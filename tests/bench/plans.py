"""How long a plan of a thousand deployments takes: the arithmetic alone, and the command from end to end."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from orchestrator.codec import digest
from orchestrator.markdown import markdown
from orchestrator.model import (
    Attempt,
    Deployment,
    Instance,
    Marker,
    ModelRef,
    Observed,
    Phase,
    PortHolder,
    Process,
    Record,
    Revision,
    RuntimeSpec,
    Serve,
    Spec,
)
from orchestrator.reconcile import Options, reconcile
from orchestrator.render import plan_text
from orchestrator.saved import Origin, moved, replanned, save, write

COUNT = 1000
ORCH = [sys.executable, "-m", "orchestrator"]
FIRST_PORT = 10_000

T = TypeVar("T")


def measure_all() -> dict[str, dict[str, float]]:
    """Seconds."""
    return {"reconcile": in_process(), "orch plan": by_command()}


def in_process(count: int = COUNT) -> dict[str, float]:
    desired = [_wanted(number) for number in range(count)]
    nothing, world = Observed(), _world(desired)
    moved_on = [_with_length(one, 2048) for one in desired]
    found: dict[str, float] = {}
    _timed(found, "all as they should be", lambda: reconcile(desired, world))
    _timed(found, "all new", lambda: reconcile(desired, nothing))
    plan = _timed(found, "all changed", lambda: reconcile(moved_on, world))
    _timed(found, "all pruned", lambda: reconcile([], world, Options(prune=True)))
    _timed(found, "text of all changed", lambda: plan_text(plan, "bench"))
    _timed(found, "comment of all changed", lambda: markdown(plan, "bench"))
    kept = _timed(found, "saved", lambda: save(plan, moved_on, world, Options(), Origin("1", "p", "h"), 0.0))
    _timed(found, "written", lambda: write(kept))
    _timed(found, "compared", lambda: moved(kept, moved_on, world) or replanned(kept, plan))
    return found


def _timed(found: dict[str, float], name: str, work: Callable[[], T]) -> T:
    began = time.perf_counter()
    answer = work()
    found[name] = round(time.perf_counter() - began, 3)
    return answer


def _wanted(number: int) -> Deployment:
    name, port = f"d{number:05}", FIRST_PORT + number
    serve = Serve((name,), port=port, max_model_len=4096, args={"max_num_seqs": 64, "enforce_eager": True})
    spec = Spec(ModelRef(repo="org/model"), serve, RuntimeSpec("venv", "/opt/vllm"), env={"LEVEL": "INFO"})
    return Deployment(name, "bench", spec)


def _with_length(one: Deployment, length: int) -> Deployment:
    return replace(one, spec=replace(one.spec, serve=replace(one.spec.serve, max_model_len=length)))


def _world(desired: list[Deployment]) -> Observed:
    """All of them are up, with an engine of two processes each."""
    instances, records, holders = [], {}, {}
    for number, one in enumerate(desired):
        pid, marker = 100_000 + 2 * number, Marker("bench-1", one.name, f"00001-{number:08x}")
        leader = Process(pid, number, pid, "vllm", marker)
        child = Process(pid + 1, number, pid, "VLLM::EngineCore", marker, pid)
        instances.append(Instance(marker, Phase.READY, leader, (child,), one.spec, float(number)))
        attempt = Attempt(marker.attempt, pid, number, "boot", 0.0, one, ready_at=1.0)
        records[one.name] = Record(one.name, revision=Revision(1, digest(one.spec), one, 0.0), attempt=attempt)
        holders[FIRST_PORT + number] = PortHolder(FIRST_PORT + number, pid, "vllm", "u", marker)
    return Observed(tuple(instances), records, holders=holders)


def by_command(count: int = COUNT) -> dict[str, float]:
    """A folder of profiles against the host that their environment declares, as CI runs it."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_project(root, count)
        env = {**os.environ, "ORCH_STATE_DIR": str(root / "state"), "ORCH_CACHE_DIR": str(root / "cache")}
        for output in ("text", "json", "markdown"):
            args = ["plan", "profiles", "--host", "bench", "--output", output]
            _timed(found, " ".join(args[2:]), partial(_run, args, root, env))
    return found


def _run(args: list[str], root: Path, env: Mapping[str, str]) -> None:
    subprocess.run([*ORCH, *args], cwd=root, env=env, stdout=subprocess.DEVNULL, check=True)


def _write_project(root: Path, count: int) -> None:
    for kind in ("profiles", "environments"):
        (root / kind).mkdir()
    gpus = {"model": "RTX 6000 Ada Generation", "count": 8, "memory": "49140MiB"}
    environment = {"name": "bench", "runtime": {"venv": "/opt/vllm"}, "host": {"gpus": gpus}}
    (root / "environments" / "bench.yaml").write_text(json.dumps(environment))
    for number in range(count):
        name = f"d{number:05}"
        profile = {
            "name": name,
            "environment": "bench",
            "model": {"repo": "org/model"},
            "serve": {"names": [name], "port": FIRST_PORT + number, "max_model_len": 4096},
            "gpus": 0,
        }
        (root / "profiles" / f"{name}.yaml").write_text(json.dumps(profile, indent=1))
