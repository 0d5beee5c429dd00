"""How long a CI waits for a thousand profiles: `orch validate`, which also checks what a schema cannot, beside
check-jsonschema on the same files with the same schema."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.load import schema_text

PROFILES = 1000
RUNS = 5
BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]
FLAGS = "    max-num-seqs: 64\n    enable_prefix_caching: true\n    kv_cache_dtype: fp8\n"


def measure_all() -> dict[str, object]:
    """Median seconds of each, taken in turns so that a drifting machine drifts for both."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        files = _project(project)
        schema = project / "profile.schema.json"
        schema.write_text(schema_text("profile"))
        commands = {
            "orch": [BIN / "orch", "validate"],
            "check-jsonschema": [BIN / "check-jsonschema", "--schemafile", schema, *files],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS):
            for name, command in commands.items():
                seconds[name].append(_seconds(command, project))
    medians = {name: statistics.median(all_of) for name, all_of in seconds.items()}
    return {
        name: {"files": PROFILES, "seconds": round(one, 2), "times orch": round(one / medians["orch"], 2)}
        for name, one in medians.items()
    }


def _project(root: Path) -> list[Path]:
    """The shipped profile with all its comments and some flags more, so many times under other names."""
    for name in ("profiles", "environments"):
        (root / name).mkdir()
    environment = (REPOSITORY / "environments/rtx6000-ada.yaml").read_text()
    environment = environment.replace("conda: llm", "requirements: [vllm==0.32.0]")
    (root / "environments/rtx6000-ada.yaml").write_text(environment)
    text = (REPOSITORY / "profiles/qwen32b-awq.yaml").read_text()
    files = []
    for index in range(PROFILES):
        named = text.replace("name: qwen32b-awq", f"name: p{index:04}").replace("port: 8000", f"port: {8000 + index}")
        files.append(root / f"profiles/p{index:04}.yaml")
        files[-1].write_text(named.replace("    use_tqdm_on_load: true\n", f"    use_tqdm_on_load: true\n{FLAGS}"))
    return files


def _seconds(command: list[Path | str], cwd: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return taken
