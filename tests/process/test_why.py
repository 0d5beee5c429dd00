"""How far a start comes, and why one that fails does: in `apply`, in `status` from another terminal, in `explain`, and
what is kept of it. The engine is the fake; its lines are those of a real one."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from deploy_kit import Project, ended, kill
from fakes.sandbox import wait_until

LOADS = (
    "(APIServer pid=7) INFO 11-24 10:00:00 [api_utils.py:286] non-default args: {'model': 'x'}",
    "(EngineCore pid=8) INFO 11-24 10:00:20 [gpu_model_runner.py:5] Starting to load model x...",
)
BROKEN = "(EngineCore pid=8) ERROR 11-24 10:00:21 [core.py:1] ValueError: No available memory for the cache blocks."
NO_ROOM = "cannot start a: nothing is left for a KV cache"


def attempts(project: Project) -> list[dict[str, Any]]:
    """What is kept beside each log."""
    files = sorted((project.folder() / "logs").glob("*.json"))
    return [json.loads(file.read_text())["attempt"] for file in files]


def test_a_start_must_be_followed_from_here_and_from_another_terminal(project: Project) -> None:
    go = project.sandbox.home / "go"
    project.profile(args={"fake_wait_for": str(go), "fake_log": list(LOADS)})
    apply = project.sandbox.start("apply", "a", "--yes")
    project.asleep()
    wait_until(lambda: "a: load, " in apply.output)
    row = project.row()
    assert row["progress"]["stage"] == "load"
    assert set(row["progress"]["seconds"]) >= {"imports", "config", "load"}
    assert row["progress"]["seconds_left"] is None
    assert any(note.startswith("load, ") for note in row["notes"])
    go.touch()
    assert ended(apply) == 0
    revision = project.record()["revision"]
    assert {"config", "load"} <= set(revision["stages"])
    told = project.orch("history", "a", "--output", "json").json["revisions"][0]
    assert told["stages"] == revision["stages"]
    assert "where the time went" in project.orch("history", "a").stdout


def test_a_start_that_fails_must_say_why_with_the_cure_and_keep_how_it_ended(project: Project) -> None:
    project.profile(args={"fake_exit_code": 3, "fake_log": [*LOADS, BROKEN]})
    failed = project.apply("a", code=1)
    told = failed.stderr[failed.stderr.index("orch: cannot start") :].splitlines()
    assert told[0] == f"orch: {NO_ROOM} (while loading the weights, exit status 3)"
    assert len(told) <= 12
    assert any("gpu_memory_utilization" in line for line in told)
    assert any(BROKEN.partition("] ")[2] in line for line in told)
    (kept,) = attempts(project)
    assert (kept["exit"]["code"], kept["stage"]) == (3, "load")
    for said in (project.orch("status", "a").stdout, project.orch("explain", "a").stdout):
        assert "a: nothing is left for a KV cache (while loading the weights, exit status 3)" in said
    document = project.orch("status", "a", "--output", "json").json
    assert document["failures"]["a"]["signature"] == "no-kv-cache"
    plain = project.orch("apply", "a", "--yes", "--output", "json", code=1).json["failed"]
    assert plain["message"].startswith(NO_ROOM)
    assert any("gpu_memory_utilization" in line for line in plain["detail"])


def test_what_is_in_no_catalogue_must_be_told_with_a_signature_to_begin_with(project: Project) -> None:
    said = "(EngineCore pid=8) ERROR 11-24 10:00:21 [core.py:1] FluxError: capacitor 1 is at 87%"
    project.profile(args={"fake_exit_code": 3, "fake_log": [*LOADS, said]})
    told = project.apply("a", code=1).stderr
    assert "cannot start a: its API server exited with 3 before it was ready (while loading the weights)" in told
    assert "FluxError: capacitor 1 is at 87%" in told
    own = Path(project.env.get("XDG_CONFIG_HOME") or Path(project.env["HOME"], ".config"), "orch", "signatures")
    own.mkdir(parents=True)
    lesson = told[told.index("[[signature]]") :].replace("what went wrong, in a few words", "the capacitor is full")
    (own / "flux.toml").write_text("\n".join(line.strip() for line in lesson.splitlines()))
    assert "cannot start a: the capacitor is full" in project.apply("a", code=1).stderr


def test_of_an_edit_that_failed_the_reason_must_be_found_while_the_old_one_serves(project: Project) -> None:
    project.up()
    project.profile(args={"fake_exit_code": 3, "fake_log": [*LOADS, BROKEN]})
    failed = project.apply("a", code=1)
    assert NO_ROOM in failed.stderr
    assert "brought back a" in failed.stderr
    row = project.row()
    assert row["phase"] == "ready"
    assert any("`orch explain a` tells more" in note for note in row["notes"])
    told = project.orch("explain", "a", "--output", "json").json
    assert (told["signature"], told["attempt"]) == ("no-kv-cache", 2)
    kept = {one["id"][:5]: one.get("exit") for one in attempts(project)}
    assert list(kept) == ["00001", "00002", "00003"]
    assert kept["00002"]["code"] == 3
    assert project.orch("explain", "a", "--attempt", "3").stderr.startswith("a: its engine (pid ")


def test_one_that_was_killed_must_not_be_blamed_on_what_it_said_before(project: Project) -> None:
    pid = project.up(args={"fake_log": [BROKEN]})
    kill(pid)
    told = project.orch("status", "a").stdout
    assert "gone without a word" in told
    assert "nothing is left" not in told


def test_the_deadline_must_tell_where_it_stood(project: Project) -> None:
    project.profile(args={"fake_never_ready": True, "fake_log": list(LOADS)})
    told = project.orch("apply", "a", "--yes", "--timeout", "1s", code=1).stderr
    assert "cannot start a: it was still loading its weights when its time was up" in told
    (kept,) = attempts(project)
    assert kept["timed_out"] is True
    assert project.orch("explain", "a", "--output", "json").json["stage"] == "load"


def test_a_deployment_that_was_stopped_must_not_be_said_to_have_failed(project: Project) -> None:
    pid = project.up()
    os.kill(pid, signal.SIGCONT)
    project.orch("stop", "a")
    assert "is stopped on purpose" in project.orch("explain", "a").stderr


def test_what_a_person_had_stopped_must_stay_so_when_an_edit_of_it_fails(project: Project) -> None:
    project.up()
    project.orch("stop", "a")
    project.profile(args={"fake_exit_code": 3, "fake_log": [*LOADS, BROKEN]})
    assert "brought back" not in project.apply("a", code=1).stderr
    assert project.engine() == 0


def test_a_broken_signature_of_ones_own_must_not_hide_the_reason(project: Project) -> None:
    own = Path(project.env.get("XDG_CONFIG_HOME") or Path(project.env["HOME"], ".config"), "orch", "signatures")
    own.mkdir(parents=True)
    (own / "x.toml").write_text("nonsense = [")
    project.profile(args={"fake_exit_code": 3, "fake_log": [*LOADS, BROKEN]})
    told = project.apply("a", code=1).stderr
    assert NO_ROOM in told
    assert f"warning: cannot read {own / 'x.toml'}" in told
    assert attempts(project)[0]["exit"]["code"] == 3
    assert "x.toml" in project.orch("explain", "a").stderr
    assert "x.toml" in project.orch("explain", "-", input=BROKEN, code=1).stderr


def test_a_last_word_must_be_told_without_its_secrets(project: Project) -> None:
    pid = project.up(args={"fake_log": ["Authorization: Bearer abcdefghijklmnop0123456789"]})
    log = Path(project.row()["log"])
    kill(pid)
    log.write_text("Authorization: Bearer abcdefghijklmnop0123456789\n")
    told = project.orch("status").stdout + project.orch("explain", "a").stdout
    assert "its last word: Authorization: Bearer ***" in told
    assert "abcdefghijklmnop" not in told


def test_one_that_comes_up_late_must_be_rid_of_what_was_said_of_it(project: Project) -> None:
    go = project.sandbox.home / "go"
    project.profile(args={"fake_wait_for": str(go), "fake_log": list(LOADS)})
    project.orch("apply", "a", "--yes", "--timeout", "1s", code=1)
    assert project.record()["attempt"]["timed_out"]
    go.touch()
    project.apply("a")
    kept = project.record()["attempt"]
    assert {"timed_out", "ended", "exit"}.isdisjoint(kept)
    assert kept["stage"] == "serving"


def test_what_is_no_text_must_be_read_as_far_as_it_is(project: Project, tmp_path: Path) -> None:
    log = tmp_path / "odd.log"
    log.write_bytes(b"\xff\xfe\x00\n" * 1000 + BROKEN.encode())
    assert "nothing is left for a KV cache" in project.orch("explain", str(log)).stdout
    assert "line 1001" in project.orch("explain", str(log)).stdout
