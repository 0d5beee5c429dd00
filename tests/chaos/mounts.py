"""File systems of a run's own. A run that needs them takes place in a namespace, so that root's and anybody's mounts
are seen by nobody else and go with the run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
INSIDE = "CHAOS_INSIDE"  # set in the namespace
TIMEOUT = 120.0


class Missing(Exception):
    """What this machine lacks for a scenario."""


def inside() -> bool:
    return INSIDE in os.environ


def play_inside(name: str, seed: int, workshop: Path) -> None:
    """The run, in a namespace. Raises Missing where users may have none, AssertionError with what the run said."""
    enter = ["unshare", "-rm"]
    if not shutil.which("unshare") or subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        raise Missing("a file system of a run's own takes `unshare -rm`, and a kernel that lets users have it")
    run = ["-m", "tests.chaos", "--runs", "1", "--scenario", name, "--seed", str(seed), "--workshop", str(workshop)]
    env = {**os.environ, INSIDE: "1"}
    done = subprocess.run(
        [*enter, sys.executable, *run],
        cwd=REPOSITORY,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"in a namespace:\n{done.stdout}{done.stderr}")


def small_disk(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder))


def fill(folder: Path, leave: int) -> Path:
    """Answers the file whose removal gives the room back."""
    left = os.statvfs(folder)
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * max(0, left.f_bavail * left.f_frsize - leave))
    return ballast


def read_only(folder: Path) -> None:
    """Of what is open already, writing goes on."""
    _run("mount", "--bind", str(folder), str(folder))
    _run("mount", "-o", "remount,bind,ro", str(folder))


def writable_again(folder: Path) -> None:
    _run("umount", str(folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
