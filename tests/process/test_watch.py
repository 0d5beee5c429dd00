"""`orch watch`: what crashes comes back, what is edited is applied once it is valid, and the rest is left alone."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from deploy_kit import Project, alive, ask, ended, kill, serves
from fakes.sandbox import Background, wait_until


@pytest.fixture
def watch(project: Project) -> Any:
    """Starts a watcher over what is deployed, or PATHs, and waits until it has looked around."""

    def start(*paths: str) -> Background:
        watcher = project.sandbox.start("watch", *paths)
        wait_until(lambda: project.watcher() == watcher.process.pid)
        return watcher

    return start


def stop(watcher: Background) -> None:
    watcher.process.send_signal(signal.SIGTERM)
    assert ended(watcher) == 0, watcher.output


def test_what_crashes_must_come_back_by_itself(project: Project, watch: Any) -> None:
    first = project.up()
    watcher = watch()
    kill(first)
    wait_until(lambda: project.engine() not in (0, first) and serves(project.port, "a"))
    wait_until(lambda: project.record()["attempt"].get("ready_at"))
    assert project.record()["attempt"]["by"] == "watch"
    second = project.engine()
    kill(second)
    wait_until(lambda: project.engine() not in (0, first, second) and serves(project.port, "a"))
    wait_until(lambda: len(project.record()["deaths"]) == 2)
    assert project.record()["deaths"][1]["why"] == "its API server ended by signal 9"
    stop(watcher)
    assert serves(project.port, "a")
