"""What orch remembers of a cache is believed only while it is so, and can be lost without harm."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.codec import to_json
from orchestrator.hub import memory as module
from orchestrator.hub.layout import Repo
from orchestrator.hub.memory import Memory, stamp
from orchestrator.model import Pull, RemoteFile
from orchestrator.proc import boot_id, process_start

NAME = "a" * 64
COMMIT = "c" * 40
FILES = (RemoteFile("config.json", 2, "b" * 40), RemoteFile("m.safetensors", 9, NAME, "e" * 64))


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "orch")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path / "hub", "org/m.1")
    blob = repo.blob(NAME)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"weights")
    return repo


def keep(memory: Memory, repo: Repo) -> None:
    memory.keep_verified(repo, {NAME: stamp(repo.blob(NAME))})


def believed(memory: Memory, repo: Repo) -> bool:
    return memory.verified(repo).get(NAME) == stamp(repo.blob(NAME))


def reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "boot_id", lambda: "another boot")


# ------------------------------------------------------------------------------------------------------ verified hashes


def test_a_hash_is_believed_while_the_file_is_the_same(memory: Memory, repo: Repo) -> None:
    assert not memory.verified(repo)
    keep(memory, repo)
    assert believed(memory, repo)
    blob = repo.blob(NAME)
    os.utime(blob, ns=(1, 1))
    assert not believed(memory, repo)
    keep(memory, repo)
    copy = blob.with_name("copy")
    copy.write_bytes(b"weights")
    os.utime(copy, ns=(1, 1))
    copy.replace(blob)
    assert not believed(memory, repo)  # another inode
    keep(memory, repo)
    memory.keep_verified(repo, {NAME: None})
    assert not memory.verified(repo)


def test_a_crash_may_have_lost_what_was_not_settled(
    memory: Memory, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(memory, repo)
    reboot(monkeypatch)
    assert not memory.verified(repo)


def test_what_is_settled_outlives_a_boot(memory: Memory, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(memory, repo)
    memory.keep_verified(repo, {"gone": stamp(repo.blob(NAME))})  # what cannot be flushed holds nothing up
    memory.settle(repo)
    reboot(monkeypatch)
    assert believed(memory, repo)
    assert set(memory.verified(repo)) == {NAME}
    keep(memory, repo)  # verified again in this very state: it is on the disk as before
    reboot(monkeypatch)
    monkeypatch.setattr(module, "boot_id", lambda: "a third")
    assert believed(memory, repo)
    os.utime(repo.blob(NAME))
    keep(memory, repo)
    monkeypatch.setattr(module, "boot_id", lambda: "a fourth")
    assert not memory.verified(repo)


def test_caches_are_told_apart_and_names_of_one_are_not(memory: Memory, repo: Repo, tmp_path: Path) -> None:
    keep(memory, repo)
    other = Repo(tmp_path / "other", repo.name)
    assert not memory.verified(other)
    (tmp_path / "link").symlink_to(repo.cache)
    assert believed(memory, Repo(tmp_path / "link", repo.name))
    assert not memory.verified(Repo(repo.cache, "org/m-1"))


def test_files_that_are_no_blobs_are_remembered_too(memory: Memory, repo: Repo) -> None:
    """Those of a snapshot without links."""
    memory.keep_verified(repo, {"d" * 64: stamp(repo.blob(NAME))})
    keep(memory, repo)
    assert set(memory.verified(repo)) == {NAME, "d" * 64}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
)


@given(held=st.fixed_dictionaries({}, optional={"schema": st.just(1) | JSON, "blobs": JSON, "files": JSON}))
def test_damage_is_forgotten_and_no_error(tmp_path_factory: pytest.TempPathFactory, held: object) -> None:
    top = tmp_path_factory.mktemp("damage")
    memory, repo = Memory(top / "orch"), Repo(top / "hub", "org/m")
    for file in (memory._verified(repo), memory._listing(repo, COMMIT), memory.pull_file(repo)):
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(held))
    memory.verified(repo)
    memory.listing(repo, COMMIT)
    assert memory.pulls() == ()
    memory.keep_verified(repo, {NAME: module.Stamp(1, 2, 3)})
    assert memory.verified(repo)[NAME] == module.Stamp(1, 2, 3)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0" * 100, '{"schema": 2, "blobs": {"x": [1, 2, 3, ""]}}'])
def test_what_is_cut_or_of_another_orch_is_forgotten(memory: Memory, repo: Repo, text: str) -> None:
    keep(memory, repo)
    memory._verified(repo).write_text(text)
    memory._listing(repo, COMMIT).parent.mkdir(parents=True)
    memory._listing(repo, COMMIT).write_text(text)
    assert not memory.verified(repo)
    assert memory.listing(repo, COMMIT) is None


# --------------------------------------------------------------------------------------------------------- file lists


def test_a_list_is_that_of_a_commit(memory: Memory, repo: Repo) -> None:
    assert memory.listing(repo, COMMIT) is None
    memory.keep_listing(repo, COMMIT, FILES)
    assert memory.listing(repo, COMMIT) == FILES
    assert memory.listing(repo, "d" * 40) is None
    assert memory.listing(replace(repo, cache=Path("/elsewhere")), COMMIT) == FILES  # it is the same everywhere


def test_the_list_of_the_hubs_own_client_will_do(memory: Memory, repo: Repo) -> None:
    tree = repo.folder / "trees" / f"{COMMIT}.json"
    tree.parent.mkdir()
    files = {
        "m.safetensors": {
            "size": 130,
            "blob_id": "f" * 40,
            "lfs_size": 9,
            "lfs_sha256": NAME,
            "xet_hash": "e" * 64,
        },
        "config.json": {"size": 2, "blob_id": "b" * 40},
    }
    tree.write_text(json.dumps({"format_version": 1, "files": files}))
    assert memory.listing(repo, COMMIT) == FILES
    for damaged in ({"a": None}, {"a": "text"}, {"a": {"size": "many", "blob_id": "b"}}, {"a": {"size": 1}}):
        tree.write_text(json.dumps({"format_version": 1, "files": damaged}))
        assert memory.listing(repo, COMMIT) is None


# ---------------------------------------------------------------------------------------------------- pulls in progress


def pull(pid: int, start: int, boot: str) -> Pull:
    return Pull("org/m", COMMIT, "/hub", pid, start, boot, total=9)


def test_a_pull_is_one_whose_process_lives(memory: Memory, repo: Repo) -> None:
    file, mine = memory.pull_file(repo), process_start(os.getpid())
    file.parent.mkdir(parents=True)
    for told, lives in [
        (pull(os.getpid(), mine, boot_id()), True),
        (pull(os.getpid(), mine + 1, boot_id()), False),  # another process has the number now
        (pull(os.getpid(), mine, "another boot"), False),
        (pull(4_000_000_000, 0, boot_id()), False),
    ]:
        file.write_text(json.dumps({"pull": to_json(told)}))
        assert memory.pulls() == ((told,) if lives else ())
