"""orch was killed after it had started an engine and before it had written that down: the record is of an earlier
start, and the engine is known by its mark alone."""

import json

import pytest
from deploy_kit import Project, alive, ended
from fakes.sandbox import wait_until


def fall_behind(project: Project) -> int:
    """Answers the pid of an engine that serves and is not in the record."""
    project.up()
    file = project.folder() / "record.json"
    before = file.read_text()
    project.orch("restart", "a")
    file.write_text(before)
    return project.engine()


@pytest.mark.parametrize("edited", [False, True])
def test_an_engine_that_is_not_recorded_must_be_by_the_next_apply(project: Project, edited: bool) -> None:
    pid = fall_behind(project)
    if edited:  # the record knows nothing of the revision either
        file = project.folder() / "record.json"
        document = json.loads(file.read_text())
        document["record"]["revision"]["deployment"]["spec"]["serve"]["max_model_len"] = 99
        file.write_text(json.dumps(document))
    done = project.apply()
    assert "record a: the engine goes on" in done.stderr
    assert project.engine() == pid
    attempt = project.record()["attempt"]
    assert attempt["pid"] == pid
    assert attempt["log"] == str(next((project.folder() / "logs").glob("00002-*.log")))
    assert attempt["ready_at"]
    assert "Nothing to change" in project.plan()


def test_an_engine_that_is_not_recorded_and_still_starts_must_be_awaited_and_recorded(project: Project) -> None:
    go = project.sandbox.home / "go"
    project.up(args={"fake_wait_for": str(project.profile())})
    file = project.folder() / "record.json"
    before = file.read_text()
    project.profile(args={"fake_wait_for": str(go)})
    command = project.sandbox.start("apply", "a", "--yes")
    pid = project.asleep()
    command.process.kill()
    ended(command)
    file.write_text(before)
    again = project.sandbox.start("apply", "a", "--yes")
    wait_until(lambda: project.record()["attempt"]["pid"] == pid)
    go.touch()
    assert ended(again) == 0, again.output
    assert project.engine() == pid
    assert alive(pid)
    assert "Nothing to change" in project.plan()
