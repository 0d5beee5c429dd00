"""`orch status` and `orch --version` start fast because of what they do not import."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("jsonschema", "yaml", "huggingface_hub", "psutil", "sh", "uv", "httpx", "rich")
BEYOND_TYPER = 40
SCRIPT = """
import sys
import typer
before = set(sys.modules)
from orchestrator.cli.main import main
status = main(sys.argv[1:])
print("\\n" + "\\n".join(sorted(set(sys.modules) - before)), file=sys.stderr)
sys.exit(status)
"""


def imported(folder: Path, *args: str) -> set[str]:
    """Every module that the command imports beyond what ``import typer`` does."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    command = [sys.executable, "-c", SCRIPT, *args]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "profiles").mkdir()
    return tmp_path


@pytest.mark.parametrize("args", [["--version"], ["status"], ["status", "--output", "json"]], ids=" ".join)
def test_nothing_heavy_is_imported(folder: Path, args: list[str]) -> None:
    assert {name.partition(".")[0] for name in imported(folder, *args)} & set(HEAVY) == set()


def test_typer_itself_brings_nothing_heavy(folder: Path) -> None:
    script = "import sys, typer; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(HEAVY) == set()


def test_the_version_costs_typer_and_little_else(folder: Path) -> None:
    assert len(found := imported(folder, "--version")) < BEYOND_TYPER, sorted(found)
