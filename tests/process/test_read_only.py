"""What only looks must leave no trace: no file made, none changed, none touched."""

from pathlib import Path

import pytest
from deploy_kit import Project
from fakes.sandbox import Sandbox

VERBS = (
    ("plan", "profiles"),
    ("plan", "profiles", "--output", "json"),
    ("validate",),
    ("status",),
    ("models",),
    ("models", "--output", "json"),
    ("apply", "profiles", "--dry-run"),
    ("--version",),
    ("schema", "profile"),
)


def snapshot(home: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every path under the sandbox, but the logs of commands that the test itself started."""
    found = [path for path in home.rglob("*") if not path.is_symlink()]
    return {str(path): (*times(path), path.read_bytes() if path.is_file() else b"") for path in found}


def times(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_mode


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_look_at_nothing_yet_must_write_nothing(sandbox: Sandbox, verb: tuple[str, ...]) -> None:
    sandbox.profile("a", 18000)
    before = snapshot(sandbox.home)
    assert sandbox.orch(*verb).code == 0
    assert snapshot(sandbox.home) == before


def test_a_look_at_what_runs_must_write_nothing(project: Project) -> None:
    project.up()
    project.profile(serve={"max_model_len": 512})
    before = snapshot(project.sandbox.home)
    for verb in (*VERBS, ("logs", "a"), ("status", "a", "--check"), ("history", "a"), ("history", "--diff", "1", "1")):
        project.orch(*verb)
    assert snapshot(project.sandbox.home) == before


def test_a_look_with_secrets_must_write_no_key(project: Project, fake_runtime: Path) -> None:
    project.env["TOKEN"] = "do-not-tell"
    project.sandbox.environment(fake_runtime, secrets={"HF_TOKEN": {"env": "TOKEN"}})
    project.profile()
    project.orch("plan", "a")
    project.orch("apply", "a", "--dry-run")
    assert not project.state.exists()
