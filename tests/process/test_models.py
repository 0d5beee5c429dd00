"""`orch models`: what is on the disk, whole or not, and for whom."""

import json
import os

import pytest
from deploy_kit import ended
from fakes.hub import Hub
from fakes.sandbox import Sandbox, wait_until
from models_kit import BIG, COPY, FILES, NEXT, REPO, SIZE, client, held, orch, pulling, repo_folder, rows, taken


def test_models_must_tell_what_is_here_and_for_whom(home: Sandbox, hub: Hub) -> None:
    assert f"No model is cached here (looked in {home.home}/hf/hub" in orch(home, "models")
    first = hub.add(REPO, FILES)
    home.profile("a", 18000, model={"repo": REPO})
    orch(home, "pull", "a")
    second = hub.add(REPO, NEXT)
    client(home, f"answer = snapshot_download({REPO!r}, allow_patterns='*.json')")
    found = rows(home)
    one, other = found[f"{REPO}@{first}"], found[f"{REPO}@{second}"]
    assert (one["state"], one["revisions"], one["total_bytes"]) == ("complete", ["main"], SIZE)
    assert one["used_by"] == [{"name": "a", "as": "profile", "project": None}]
    assert one["on_disk_bytes"] >= SIZE
    assert (other["state"], other["revisions"], other["used_by"]) == ("metadata only", [], [])
    assert other["revisions_of_other_tools"] == ["main"]
    orch(home, "pull", "a", "--refresh")
    found = rows(home)
    assert (found[f"{REPO}@{second}"]["state"], found[f"{REPO}@{first}"]["used_by"]) == ("complete", [])
    table = orch(home, "models").splitlines()
    assert table[0].split()[:4] == ["REPO", "REVISION", "SIZE", "STATE"]
    assert table[1].startswith(f"{REPO}  main ({second[:8]})  3.2 MB  complete")


def test_models_must_not_ask_the_hub(home: Sandbox, hub: Hub) -> None:
    hub.add(REPO, FILES)
    orch(home, "pull", REPO)
    asked = len(hub.requests)
    orch(home, "models")
    assert len(hub.requests) == asked


def test_models_must_look_into_the_cache_of_each_environment(home: Sandbox, hub: Hub) -> None:
    other = {"name": "other", "runtime": {"self": True}, "cache": {"hf_home": str(home.home / "second")}}
    home.write("environments/other.yaml", json.dumps(other))
    hub.add(REPO, FILES)
    hub.add(COPY, FILES)
    orch(home, "pull", REPO)
    orch(home, "pull", COPY, "--environment", "other")
    assert {one["repo"]: one["place"] for one in rows(home).values()} == {
        REPO: str(home.home / "hf/hub"),
        COPY: str(home.home / "second/hub"),
    }
    only = json.loads(orch(home, "models", "--environment", "other", "--output", "json"))
    assert [one["repo"] for one in only["models"]] == [COPY]
    assert "there is no environments/third.yaml" in orch(home, "models", "-e", "third", code=1)


def test_a_profile_that_does_not_load_must_not_hide_the_models(home: Sandbox, hub: Hub) -> None:
    hub.add(REPO, FILES)
    orch(home, "pull", REPO)
    home.profile("a", 18000, model={"repo": REPO})
    home.write("profiles/broken.yaml", "name: [")
    done = home.orch("models")
    assert done.code == 0
    assert " a " in done.stdout
    assert "profiles/broken.yaml does not load, so what it uses is not shown" in done.stderr


def test_a_corrupt_file_must_be_told_and_mended_by_a_pull(home: Sandbox, hub: Hub) -> None:
    commit = hub.add(REPO, FILES)
    orch(home, "pull", REPO)
    weights = repo_folder(home) / "snapshots" / commit / "model.safetensors"
    os.truncate(weights, 1000)
    text = orch(home, "models")
    assert "corrupt" in text
    assert f"model.safetensors has 1000 bytes and the Hub lists {3 << 20}; `orch pull {REPO}` fetches it" in text
    weights.resolve().unlink()
    assert "model.safetensors is a link to nothing" in orch(home, "models")
    orch(home, "pull", REPO)
    assert rows(home)[f"{REPO}@{commit}"]["state"] == "complete"


@pytest.mark.parametrize("option", [("--output", "json"), ("--environment", "fake"), ("--root", ".")])
def test_an_option_before_the_sub_verb_must_not_be_lost(home: Sandbox, option: tuple[str, str]) -> None:
    told = orch(home, "models", *option, "rm", REPO, code=64)
    assert told == f"orch: cannot use {option[0]} there: it stands before rm; write it behind\n"


# ----------------------------------------------------------------------------------------------------- while it comes


def test_a_pull_must_be_seen_and_kept_from_under(home: Sandbox, hub: Hub) -> None:
    commit = hub.add(REPO, FILES | {"model.safetensors": BIG})
    pull = pulling(home, hub)
    row = wait_until(lambda: one if (one := rows(home)[f"{REPO}@{commit}"])["percent"] else None)
    assert row["state"] == "being fetched"
    assert 0 < row["percent"] < 100
    refused = orch(home, "models", "rm", REPO, "--yes", code=1)
    assert refused.startswith(f"orch: cannot remove {REPO}: an orch (pid ")
    hub.rate = None
    assert ended(pull) == 0, pull.output
    assert rows(home)[f"{REPO}@{commit}"]["state"] == "complete"


def test_what_a_killed_pull_left_must_be_shown_and_removed(home: Sandbox, hub: Hub, half: str) -> None:
    row = rows(home)[f"{REPO}@{half}"]
    assert (row["state"], row["revisions"]) == ("partial", ["main"])
    assert 0 < row["percent"] < 100
    before = taken(repo_folder(home))
    orch(home, "models", "rm", REPO, "--yes")
    assert before > 1 << 20
    assert not repo_folder(home).exists()
    assert rows(home) == {}
    orch(home, "pull", REPO)
    assert held(home, half)["model.safetensors"] == BIG
