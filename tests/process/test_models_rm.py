"""`orch models rm`: what goes, what stays, and what is not to be had."""

import json
import os
import subprocess

import pytest
from deploy_kit import Project, serves
from fakes.hub import Hub
from fakes.sandbox import Sandbox
from models_kit import (
    BIG,
    COPY,
    FILES,
    NEXT,
    REPO,
    SCAN,
    WANTED,
    client,
    held,
    orch,
    repo_folder,
    rows,
    taken,
    verified_by_the_client,
)


@pytest.fixture
def two(home: Sandbox, hub: Hub) -> tuple[str, str]:
    """Two commits of one repository, whose small files are the same."""
    first = hub.add(REPO, FILES)
    orch(home, "pull", REPO)
    second = hub.add(REPO, NEXT)
    orch(home, "pull", REPO, "--refresh")
    return first, second


def test_rm_must_leave_what_another_commit_shares(home: Sandbox, two: tuple[str, str]) -> None:
    first, second = two
    before = taken(repo_folder(home))
    told = orch(home, "models", "rm", f"{REPO}@{first[:8]}", "--yes")
    freed = before - taken(repo_folder(home))
    assert freed >= 3 << 20
    assert told.splitlines()[-1].endswith(f": {freed / 1e6:.1f} MB came free")
    assert "another commit or a hard link holds" in told
    assert set(rows(home)) == {f"{REPO}@{second}"}
    assert held(home, second) == {path: NEXT[path] for path in WANTED}
    assert client(home, SCAN) == [[], [REPO]]
    assert verified_by_the_client(home, second) == len(WANTED)
    assert rows(home)[f"{REPO}@{second}"]["state"] == "complete"


def test_rm_must_free_everything_with_the_last_commit(home: Sandbox, two: tuple[str, str]) -> None:
    assert orch(home, "models", "rm", REPO, "--yes").count("removed org/model@") == 1
    assert not repo_folder(home).exists()
    assert client(home, SCAN) == [[], []]
    assert "No model is cached here" in orch(home, "models")


def test_rm_must_ask_and_do_nothing_without_a_yes(home: Sandbox, two: tuple[str, str]) -> None:
    home.profile("a", 18000, model={"repo": REPO})
    before = taken(repo_folder(home))
    asked = home.orch("models", "rm", f"{REPO}@main")
    assert asked.code == 64
    assert "there is no terminal; add --yes" in asked.stderr
    assert f"  {REPO} main ({two[1][:8]}), complete\n    profile a names it" in asked.stdout
    assert answer(home, "n", "models", "rm", REPO) == 1
    assert taken(repo_folder(home)) == before
    assert answer(home, "y", "models", "rm", REPO) == 0
    assert not repo_folder(home).exists()


def answer(home: Sandbox, word: str, *args: str) -> int:
    """The exit status of a command that asks at a terminal."""
    ours, theirs = os.openpty()
    try:
        os.write(ours, f"{word}\n".encode())
        done = subprocess.run(
            home.command(*args), env=home.env, cwd=home.project, stdin=theirs, capture_output=True, check=False
        )
        return done.returncode
    finally:
        os.close(ours)
        os.close(theirs)


def test_rm_must_name_what_it_does_not_know(home: Sandbox, two: tuple[str, str]) -> None:
    assert "did you mean org/model?" in orch(home, "models", "rm", "org/modle", code=1)
    assert f"there is main ({two[1][:8]}), {two[0][:8]}" in orch(home, "models", "rm", f"{REPO}@v9", code=1)
    orch(home, "models", "rm", code=64)
    assert len(rows(home)) == 2


def test_rm_must_take_only_the_repository_that_is_named(home: Sandbox, hub: Hub) -> None:
    """A renamed repository has the same commits as before."""
    commit = hub.add(REPO, FILES)
    orch(home, "pull", REPO)
    subprocess.run(["cp", "-a", str(repo_folder(home)), str(repo_folder(home, COPY))], check=True)
    orch(home, "models", "rm", COPY, "--yes")
    assert held(home, commit) == {path: FILES[path] for path in WANTED}
    assert not repo_folder(home, COPY).exists()


def test_rm_must_take_what_the_hubs_client_calls_damaged(home: Sandbox, two: tuple[str, str]) -> None:
    (repo_folder(home) / "snapshots" / two[0] / "model.safetensors").resolve().unlink()
    (repo_folder(home) / "refs" / "lost").write_text("c" * 40)
    warnings, repos = client(home, SCAN)
    assert (len(warnings), repos) == (1, [])
    orch(home, "models", "rm", f"{REPO}@{two[0]}", "--yes")
    assert held(home, two[1]) == {path: NEXT[path] for path in WANTED}
    orch(home, "models", "rm", REPO, "--yes")
    assert not repo_folder(home).exists()


def test_rm_must_let_go_of_what_repositories_share(home: Sandbox, hub: Hub) -> None:
    files = {"config.json": b"{}", "model.safetensors": BIG}
    commits = {repo: hub.add(repo, files, xet=True) for repo in (REPO, COPY)}
    for repo in commits:
        client(home, f"answer = snapshot_download({repo!r})")
    store = home.home / "hf/hub/blobs"
    payloads = [path for path in store.glob("??/*") if len(path.name) == 64]
    assert len(payloads) == 1
    size = json.loads(orch(home, "models", "--output", "json"))["on_disk_bytes"]
    assert len(BIG) < size < 2 * len(BIG)
    assert "21.0 MB stay" in orch(home, "models", "rm", REPO, "--yes")
    assert payloads[0].read_bytes() == BIG
    assert verified_by_the_client(home, commits[COPY], COPY) == 2
    assert "21.0 MB came free" in orch(home, "models", "rm", COPY, "--yes")
    assert not payloads[0].exists()
    assert taken(store) < 10_000


# ------------------------------------------------------------------------------------------------ what runs keeps it


@pytest.fixture
def served(project: Project, hub: Hub) -> Project:
    project.env["HF_ENDPOINT"] = hub.endpoint
    hub.add(REPO, FILES)
    project.profile(model={"repo": REPO})
    project.apply("a")
    return project


def test_rm_must_refuse_what_a_running_engine_was_started_from(served: Project, hub: Hub) -> None:
    one = served.orch("models", "--output", "json").json["models"][0]
    assert [(user["name"], user["as"]) for user in one["used_by"]] == [("a", "running"), ("a", "profile")]
    line = f"cannot remove {REPO}@{one['commit'][:8]}: a runs and was started from it; `orch stop a` first"
    assert line in served.orch("models", "rm", REPO, "--yes", code=1).stderr
    hub.add(REPO, NEXT)
    served.orch("pull", "a", "--refresh")
    table = served.orch("models").stdout
    assert "a (running)" in table
    served.orch("models", "rm", f"{REPO}@main", "--yes")
    assert line in served.orch("models", "rm", REPO, "--yes", code=1).stderr
    assert serves(served.port, "a")


def test_rm_must_refuse_what_runs_in_another_project(served: Project) -> None:
    other = served.sandbox.home / "elsewhere"
    (other / "profiles").mkdir(parents=True)
    command = ("models", "rm", REPO, "--yes", "--root", str(other))
    served.env["HF_HOME"] = str(served.sandbox.home / ".cache/huggingface")
    refused = served.orch(*command, code=1).stderr
    assert "a in project project-" in refused
    assert "runs and was started from it; stop it there first" in refused
    served.orch("stop", "a")
    served.orch(*command)


def test_what_is_stopped_must_be_removed_and_fetched_again_before_its_start(served: Project) -> None:
    served.orch("stop", "a")
    told = served.orch("models", "rm", REPO, "--yes").stdout
    assert "a, which is stopped, was started from it: it is fetched again before a starts" in told
    served.orch("start", "a")
    assert serves(served.port, "a")
