"""How fast weights come from a Hub on loopback, verified: orch beside `hf download` and `hf cache verify`, curl and
hf_transfer. The sha256 of what came is part of every row, as it is of orch's. ``capped``: so many bytes a second on
each connection, as a busy Hub has it.
"""

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fakes.hub import Hub

RUNS = 3
REPO, FILE = "org/model", "model.safetensors"
SIZES = {"uncapped": 2_000_000_000, "capped": 800_000_000}  # bytes; a shard of a large model, and what 20 s bring
CAP = 40_000_000  # bytes a second
BIN = Path(sys.executable).parent
HASH = "import hashlib,sys; print(hashlib.file_digest(open(sys.argv[1],'rb'),'sha256').hexdigest())"
TRANSFER = "import hf_transfer,sys; hf_transfer.download(sys.argv[1], sys.argv[2], max_files=8, chunk_size=10 << 20)"


@dataclass(frozen=True)
class Bench:
    """One Hub with one file, and a folder that is emptied before each row."""

    hub: Hub
    work: Path
    sha256: str

    @property
    def env(self) -> dict[str, str]:
        quiet = {
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }
        place = {"HOME": str(self.work), "HF_HOME": str(self.work / "hf"), "HF_ENDPOINT": self.hub.endpoint}
        return {"PATH": os.environ["PATH"], **quiet, **place}

    def run(self, *command: str | Path) -> str:
        done = subprocess.run(command, env=self.env, cwd=self.work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def orch(self) -> None:
        self.run(BIN / "orch", "pull", REPO)

    def hf(self) -> None:
        self.run(BIN / "hf", "download", REPO)
        self.run(BIN / "hf", "cache", "verify", REPO)

    def curl(self) -> None:
        self.run("curl", "-sSfL", "-o", "out", f"{self.hub.endpoint}/{REPO}/resolve/main/{FILE}")
        self.hashed(self.work / "out")

    def hf_transfer(self) -> None:
        self.run(sys.executable, "-c", TRANSFER, f"{self.hub.endpoint}/{REPO}/resolve/main/{FILE}", "out")
        self.hashed(self.work / "out")

    def hashed(self, file: Path) -> None:
        if self.run(sys.executable, "-c", HASH, file).strip() != self.sha256:
            raise SystemExit(f"{file} is not what was served")


def measure_all() -> dict[str, object]:
    return {name: _measure(name, size, CAP if name == "capped" else None) for name, size in SIZES.items()} | {
        "warm": _warm()
    }


def _measure(_name: str, size: int, cap: int | None) -> dict[str, object]:
    """Median seconds of each row, taken in turns so that a drifting machine drifts for all."""
    with tempfile.TemporaryDirectory() as folder, Hub() as hub:
        data = Path(folder) / "data"
        sha256 = _random_file(data, size)
        hub.add(REPO, {"config.json": b"{}", FILE: data})
        hub.rate = cap
        seconds: dict[str, list[float]] = {}
        for _ in range(RUNS):
            for row in ("orch", "hf", "curl", "hf_transfer"):
                with tempfile.TemporaryDirectory(dir=folder) as work:
                    bench = Bench(hub, Path(work), sha256)
                    seconds.setdefault(row, []).append(_seconds(getattr(bench, row)))
                    _check_orch(row, Path(work), sha256)
    medians = {row: statistics.median(all_of) for row, all_of in seconds.items()}
    return {
        row: {"seconds": round(one, 2), "MB/s": round(size / one / 1e6), "times orch": round(one / medians["orch"], 2)}
        for row, one in medians.items()
    }


def _warm() -> dict[str, object]:
    """What looking at complete weights adds to a start, and how often it asks the Hub."""
    from orchestrator.hub.memory import Memory
    from orchestrator.hub.store import HubReader
    from orchestrator.model import Deployment, ModelRef, RuntimeSpec, Serve, Spec

    with tempfile.TemporaryDirectory() as folder, Hub() as hub:
        shards = {f"model-{index:05d}-of-00017.safetensors": os.urandom(1 << 20) for index in range(1, 18)}
        hub.add(REPO, {"config.json": b"{}", "tokenizer.json": b"{}", **shards})
        bench = Bench(hub, Path(folder), "")
        bench.orch()
        asked = len(hub.requests)
        spec = Spec(ModelRef(repo=REPO), Serve(), RuntimeSpec("self"), hf_home=str(Path(folder) / "hf"))
        memory = Memory(Path(folder) / ".cache/orch/weights")

        def look() -> None:
            reader = HubReader(bench.env, memory, lambda *_: "", lambda _: {})
            wanted = reader.resolve(Deployment("a", "", spec), None)
            if not all(one.complete for one in reader.state(wanted)):
                raise SystemExit("a complete model does not look complete")

        milliseconds = statistics.median(_seconds(look) * 1000 for _ in range(20))
        return {"milliseconds": round(milliseconds, 1), "requests": len(hub.requests) - asked}


def _seconds(row: Callable[[], None]) -> float:
    began = time.perf_counter()
    row()
    return time.perf_counter() - began


def _check_orch(row: str, work: Path, sha256: str) -> None:
    """Outside the time: that orch's own verification is true."""
    if row == "orch":
        found = next(work.glob(f"hf/hub/models--*/snapshots/*/{FILE}"))
        with found.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                raise SystemExit("orch kept other bytes than were served")


def _random_file(path: Path, size: int) -> str:
    """A random megabyte, repeated with its number: gigabytes of randomness would take longer than the rows."""
    block, hashed = bytearray(os.urandom(1_000_000)), hashlib.sha256()
    with path.open("wb") as stream:
        for index in range(size // len(block)):
            block[:8] = index.to_bytes(8, "big")
            stream.write(block)
            hashed.update(block)
    return hashed.hexdigest()
