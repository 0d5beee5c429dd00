"""`orch rollback`: what served before serves again, and stays until a person ends that."""

import json
from pathlib import Path
from typing import Any

from deploy_kit import Project, alive, kill, serves
from fakes.hub import Hub
from fakes.sandbox import ask, wait_until

WEIGHTS = {"config.json": b'{"model_type": "qwen3"}', "model.safetensors": b"w" * 3_000_000}


def version(project: Project, length: int, **keys: Any) -> Path:
    """A profile that differs from the others in one field."""
    return project.profile(serve={"max_model_len": length}, **keys)


def served(project: Project) -> int:
    """The length that the engine was started with, as it says itself."""
    status, text = ask(project.port)
    assert status == 200
    found: int = json.loads(text)["data"][0]["max_model_len"]
    return found


def two(project: Project, **keys: Any) -> None:
    """Revisions 1 and 2, of lengths 128 and 256."""
    for length in (128, 256):
        version(project, length, **keys)
        project.apply("a")


def history(project: Project) -> dict[int, dict[str, Any]]:
    found = project.orch("history", "a", "--output", "json").json["revisions"]
    return {one["number"]: one for one in found}


def two_of_which_the_first_waits(project: Project) -> Path:
    """Revisions of 128 and of 256; the first one became ready, and comes up no more until the file that is answered is
    there again."""
    go = project.sandbox.home / "go"
    go.touch()
    version(project, 128, args={"fake_wait_for": str(go)})
    project.apply("a")
    version(project, 256)
    project.apply("a")
    go.unlink()
    return go


def test_what_was_rolled_back_must_stay_until_a_person_ends_it(project: Project) -> None:
    two(project)
    before = project.engine()
    assert "goes back to revision 1" in project.orch("rollback", "a", "--dry-run").stdout
    assert "there is no terminal; add --yes" in project.orch("rollback", "a", code=64).stderr
    assert project.engine() == before
    assert "a is ready." in project.orch("rollback", "a", "--yes").stdout
    assert served(project) == 128
    assert not alive(before)
    assert project.record()["pin"]["number"] == project.record()["revision"]["number"] == 1
    assert {number: (one["current"], one["pinned"]) for number, one in history(project).items()} == {
        1: (True, True),
        2: (False, False),
    }

    assert "pinned to revision 1, though its files differ in serve.max_model_len" in project.plan("a")
    version(project, 512)
    project.orch("plan", "a", "--detailed-exitcode")
    back = project.engine()
    assert "Nothing to change" in project.apply().stdout
    assert project.engine() == back
    row = project.row()
    assert (row["pinned"], row["drift"]) == (1, "serve.max_model_len")

    kill(back)
    project.apply("a")
    assert served(project) == 128
    project.orch("stop", "a")
    assert project.record()["pin"]["number"] == 1
    project.orch("start", "a")
    project.orch("restart", "a")
    assert served(project) == 128

    assert "its pin to revision 1 ends" in project.orch("apply", "a", "--unpin", "--yes").stdout
    assert served(project) == 512
    assert "pin" not in project.record()
    assert project.record()["revision"]["number"] == 3
    assert "Nothing to change" in project.plan("a")


def test_a_revision_that_does_not_come_up_must_leave_what_serves(project: Project) -> None:
    two_of_which_the_first_waits(project)
    failed = project.orch("rollback", "a", "--yes", "--timeout", "1s", code=1).stderr
    assert "it was not ready within 1s" in failed
    assert "brought back a" in failed
    assert served(project) == 256
    assert "pin" not in project.record()
    assert project.record()["revision"]["number"] == 2
    assert "Nothing to change" in project.plan("a")
    text = project.orch("history", "a").stdout
    assert "failed, and not tried again while something older serves" in text
    assert [line.endswith("current") for line in text.splitlines()[1:3]] == [True, False]


def test_files_that_do_not_come_up_must_leave_the_pin(project: Project) -> None:
    two(project)
    project.orch("rollback", "a", "--yes")
    version(project, 512, args={"fake_exit_code": 3})
    assert "brought back a" in project.orch("apply", "a", "--unpin", "--yes", code=1).stderr
    assert served(project) == 128
    assert project.record()["pin"]["number"] == 1
    assert "pinned to revision 1" in project.plan("a")


def test_a_rollback_that_is_killed_must_be_gone_on_with(project: Project) -> None:
    go = two_of_which_the_first_waits(project)
    rollback = project.sandbox.start("rollback", "a", "--yes")
    pid = project.asleep()
    wait_until(lambda: "await a" in rollback.output)
    kill(rollback.process.pid)
    go.touch()
    assert "goes back to revision 1" in project.plan("a")
    project.apply("a")
    assert project.engine() == pid
    assert project.record()["pin"]["number"] == 1
    assert "Nothing to change" in project.plan("a")


def test_going_back_must_fetch_nothing_that_is_here(project: Project, hub: Hub) -> None:
    project.env["HF_ENDPOINT"] = hub.endpoint
    commits = []
    for size in (1, 2):
        commits.append(hub.add("org/model", WEIGHTS | {"more.safetensors": b"w" * size}))
        project.profile(model={"repo": "org/model"})
        project.orch("apply", "a", "--yes", "--refresh")
    hub.requests.clear()
    shown = project.orch("rollback", "a", "--yes").stdout
    assert f"commits.model: {json.dumps(commits[1])} -> {json.dumps(commits[0])}" in shown
    assert "fetch " not in shown
    assert serves(project.port, "a")
    assert project.record()["attempt"]["deployment"]["spec"]["commits"] == {"model": commits[0]}
    assert "Nothing to change" in project.plan("a")
    assert [one.path for one in hub.requests] == []

    (used,) = (one["used_by"] for one in models(project) if one["commit"] == commits[1])
    assert {"name": "a", "as": "revision", "project": None, "revision": 2} in used
    told = project.orch("models", "rm", f"org/model@{commits[1]}", code=64).stdout
    assert "revision 2 of a is kept and needs it: it is fetched again before `orch rollback a --to 2`" in told


def models(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = project.orch("models", "--output", "json").json["models"]
    return found


def test_where_there_is_no_way_back_it_must_be_said(project: Project) -> None:
    project.env["KEY"] = "sk-1"
    project.profile()
    project.apply("a")
    assert "no earlier revision of it is kept" in project.orch("rollback", code=1).stderr
    project.sandbox.environment(runtime_of(project), secrets={"OTHER": {"env": "KEY"}})
    project.apply("a")
    assert "revision 7: it is not kept; kept are 1, 2" in project.orch("rollback", "a", "--to", "7", code=1).stderr
    assert "it is the current one" in project.orch("rollback", "a", "--to", "2", code=1).stderr
    file = project.folder() / "revisions/2.json"
    project.orch("rollback", "a", "--yes")
    document = json.loads(file.read_text())
    del document["revision"]["deployment"]["secret_refs"]
    file.write_text(json.dumps(document))
    said = project.orch("rollback", "a", "--to", "2", "--yes", code=1).stderr
    assert "where its secrets OTHER are kept is not known" in said
    file.write_text("{")
    assert list(history(project)) == [1]
    assert "it is not kept; kept are 1" in project.orch("history", "a", "--diff", "1", "2", code=1).stderr


def runtime_of(project: Project) -> Path:
    return Path(json.loads((project.sandbox.project / "environments/fake.yaml").read_text())["runtime"]["venv"])


def test_a_plan_that_was_kept_before_a_rollback_must_be_stale(project: Project) -> None:
    two(project)
    version(project, 512)
    project.orch("plan", "a", "--out", "p.json")
    project.orch("rollback", "a", "--yes")
    stale = project.orch("apply", "--plan", "p.json", "--yes", code=1).stderr
    assert "serve.max_model_len: 512 -> 128" in stale
    project.orch("plan", "a", "--unpin", "--out", "p.json")
    project.orch("apply", "--plan", "p.json", "--yes")
    assert served(project) == 512


def test_a_secret_that_is_rotated_must_reach_what_is_pinned(project: Project, fake_runtime: Path) -> None:
    project.env["KEY"] = "sk-1"
    project.sandbox.environment(fake_runtime, secrets={"VLLM_API_KEY": {"env": "KEY"}})
    two(project)
    project.orch("rollback", "a", "--yes")
    project.env["KEY"] = "sk-2"
    assert "secrets.VLLM_API_KEY: another value" in project.plan("a")
    project.apply("a")
    assert ask(project.port, key="sk-1")[0] == 401
    assert ask(project.port, key="sk-2")[0] == 200
    assert project.record()["pin"]["number"] == 1
