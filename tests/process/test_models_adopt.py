"""`orch models adopt`: a flat folder in the Hub's cache, without a byte fetched, copied or changed."""

import os
import shutil
from pathlib import Path

import pytest
from fakes.hub import Hub
from fakes.sandbox import Sandbox
from models_kit import (
    BIG,
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
def flat(home: Sandbox, hub: Hub) -> Path:
    """What `hf download --local-dir $HF_HOME/models--org--model` left, of main as it was then."""
    hub.add(REPO, FILES)
    folder = home.home / "hf" / "models--org--model"
    client(home, f"answer = snapshot_download({REPO!r}, local_dir={str(folder)!r})")
    return folder


def commit_of(hub: Hub) -> str:
    return hub.api.repos[REPO].branches["main"]


def state_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in files}


def test_a_flat_folder_must_be_adopted_without_a_byte(home: Sandbox, hub: Hub, flat: Path) -> None:
    before, sent, commit = state_of(flat), hub.sent(), commit_of(hub)
    row = rows(home)["models--org--model"]
    assert (row["state"], row["repo"], row["commit"]) == ("unverified", REPO, commit)
    size = taken(home.home / "hf")
    told = orch(home, "models", "adopt", str(flat))
    assert told == f"{REPO}@{commit[:8]} is adopted: 3 files, 3.1 MB, verified, in {home.home}/hf/hub\n"
    assert hub.sent() == sent
    assert state_of(flat) == before
    assert taken(home.home / "hf") - size < 100_000
    assert held(home, commit) == {path: FILES[path] for path in WANTED}
    found = rows(home)[f"{REPO}@{commit}"]
    assert (found["state"], found["revisions"]) == ("complete", ["main"])
    assert client(home, SCAN)[0] == []
    assert verified_by_the_client(home, commit) == len(WANTED)
    asked = len(hub.requests)
    orch(home, "pull", REPO)
    assert len(hub.requests) == asked
    assert "is in " in orch(home, "models", "adopt", str(flat))


def test_a_profile_must_serve_what_was_adopted(home: Sandbox, hub: Hub, flat: Path) -> None:
    home.profile("a", 18000, model={"repo": REPO})
    orch(home, "models", "adopt", str(flat))
    asked = len(hub.requests)
    assert "fetch" not in orch(home, "plan", "a")
    assert len(hub.requests) == asked


def test_what_is_lacking_or_differs_must_be_told_and_not_fetched(home: Sandbox, hub: Hub, flat: Path) -> None:
    commit, sent = commit_of(hub), hub.sent()
    (flat / "tokenizer.json").unlink()
    (flat / "config.json").write_bytes(b"[]")
    before = state_of(flat)
    told = orch(home, "models", "adopt", str(flat))
    assert told.startswith(f"{REPO}@{commit[:8]}: 1 of 3 files, 3.1 MB of 3.1 MB, are in {home.home}/hf/hub now")
    assert f"`orch pull {REPO}` fetches the rest\n  config.json is not what the Hub has, and is left out" in told
    assert (hub.sent(), state_of(flat)) == (sent, before)
    assert rows(home)[f"{REPO}@{commit}"]["state"] == "partial"
    orch(home, "pull", REPO)
    assert hub.sent() - sent == len(FILES["config.json"]) + len(FILES["tokenizer.json"])
    assert held(home, commit) == {path: FILES[path] for path in WANTED}


def test_a_folder_of_another_model_must_not_be_adopted(home: Sandbox, hub: Hub, flat: Path) -> None:
    hub.add("org/other", {"config.json": b"{ }", "model.safetensors": os.urandom(3 << 20)})
    told = orch(home, "models", "adopt", str(flat), "--repo", "org/other", "--revision", "main", code=1)
    assert "none of its files is what the Hub has of org/other" in told
    assert "serve the folder as it is (model.path)" in told
    assert not repo_folder(home, "org/other").exists()


def test_what_main_was_for_the_client_must_be_adopted_as_main(home: Sandbox, hub: Hub, flat: Path) -> None:
    """It wrote so in the cache, when it made the folder; an upstream commit changes nothing here."""
    commit = commit_of(hub)
    hub.add(REPO, NEXT)
    orch(home, "models", "adopt", str(flat))
    assert (rows(home)[f"{REPO}@{commit}"]["state"], rows(home)[f"{REPO}@{commit}"]["revisions"]) == (
        "complete",
        ["main"],
    )
    home.profile("a", 18000, model={"repo": REPO})
    assert "fetch" not in orch(home, "plan", "a")


def test_what_main_has_left_must_be_adopted_at_its_own_commit(home: Sandbox, hub: Hub, flat: Path) -> None:
    commit = commit_of(hub)
    shutil.rmtree(repo_folder(home))  # a folder from another machine
    meanwhile = hub.add(REPO, NEXT)
    told = orch(home, "models", "adopt", str(flat))
    assert f"{REPO}@{commit[:8]} is adopted" in told
    assert f"a profile serves this commit with `revision: {commit}`" in told
    assert (rows(home)[f"{REPO}@{commit}"]["state"], rows(home)[f"{REPO}@{commit}"]["revisions"]) == ("complete", [])
    home.profile("a", 18000, model={"repo": REPO, "revision": commit})
    assert "fetch" not in orch(home, "plan", "a")
    told = orch(home, "models", "adopt", str(flat), "--revision", "main")
    assert f"{REPO}@{meanwhile[:8]}: 2 of 3 files" in told
    assert f"`orch pull {REPO}` fetches the rest\n  model.safetensors is not what" in told


def test_a_folder_that_tells_no_commit_must_be_compared_with_main(home: Sandbox, hub: Hub, flat: Path) -> None:
    shutil.rmtree(flat / ".cache")
    commit = commit_of(hub)
    assert f"{REPO}@{commit[:8]} is adopted: 3 files" in orch(home, "models", "adopt", str(flat))


def test_a_half_finished_download_must_be_filled_from_the_folder(home: Sandbox, hub: Hub, half: str) -> None:
    folder = home.home / "mine"
    folder.mkdir()
    for path, data in (FILES | {"model.safetensors": BIG}).items():
        (folder / path).write_bytes(data)
    orch(home, "models", "adopt", str(folder), "--repo", REPO)
    assert held(home, half)["model.safetensors"] == BIG
    assert [path.name for path in repo_folder(home).glob("blobs/*") if "." in path.name] == []
    assert rows(home)[f"{REPO}@{half}"]["state"] == "complete"


def test_removing_what_was_adopted_must_leave_the_folder(home: Sandbox, flat: Path) -> None:
    orch(home, "models", "adopt", str(flat))
    before = state_of(flat)
    told = orch(home, "models", "rm", REPO, "--yes")
    assert "3.2 MB stay, which another commit or a hard link holds" in told
    assert state_of(flat) == before
    assert f"{flat} is a folder, and none that orch made" in orch(home, "models", "rm", REPO, "--yes", code=1)
    assert state_of(flat) == before


def test_a_folder_with_its_list_must_be_adopted_without_the_hub(home: Sandbox, hub: Hub, flat: Path) -> None:
    commit = commit_of(hub)
    hub.stop()
    assert f"{REPO}@{commit[:8]} is adopted: 3 files" in orch(home, "models", "adopt", str(flat))
    assert held(home, commit) == {path: FILES[path] for path in WANTED}


def test_a_hub_that_is_down_must_leave_no_trace(home: Sandbox, hub: Hub, flat: Path) -> None:
    shutil.rmtree(repo_folder(home))
    shutil.rmtree(flat / ".cache/huggingface/trees")
    hub.stop()
    assert "connection refused" in orch(home, "models", "adopt", str(flat), code=1)
    assert not repo_folder(home).exists()


def test_another_disk_must_be_told_before_anything_is_read(home: Sandbox, hub: Hub, other_disk: Path) -> None:
    hub.add(REPO, FILES)
    for path, data in FILES.items():
        (other_disk / path).write_bytes(data)
    told = orch(home, "models", "adopt", str(other_disk), "--repo", REPO, code=1)
    assert f"it is on another disk than the cache {home.home}/hf/hub; serve the folder as it is (model.path)" in told
    assert rows(home) == {}
    assert not repo_folder(home).exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nowhere",), "there is no such folder"),
        (("plain",), "its name does not tell whose files these are; add --repo OWNER/NAME"),
        (("plain", "--repo", "no repo"), "no repo is no repository's name"),
        (("hf/hub/models--org--model",), "it is in the Hub's cache already"),
    ],
)
def test_a_folder_that_cannot_be_adopted_must_be_told(
    home: Sandbox, hub: Hub, args: tuple[str, ...], message: str
) -> None:
    hub.add(REPO, FILES)
    orch(home, "pull", REPO)
    (home.home / "plain").mkdir()
    assert message in orch(home, "models", "adopt", str(home.home / args[0]), *args[1:], code=1)


def test_files_of_another_repository_must_not_be_adopted_by_the_folders_own_word(
    home: Sandbox, hub: Hub, flat: Path
) -> None:
    hub.add("org/other", NEXT)
    told = orch(home, "models", "adopt", str(flat), "--repo", "org/other", code=1)
    assert told.startswith("orch: cannot ")
    assert not list((home.home / "hf/hub").glob("models--org--other/snapshots/*/*"))
