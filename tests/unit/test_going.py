"""What goes with commits, how much disk that frees, and that nothing else ever goes."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from caches import BIG, MODEL, WEIGHTS, A, B, Cache, everything, listed

from orchestrator.cached import Removal
from orchestrator.codec import from_json
from orchestrator.errors import FetchFailed, HostError
from orchestrator.hub.child.job import Job, Want
from orchestrator.hub.child.remove import remove
from orchestrator.hub.going import going
from orchestrator.hub.layout import Repo
from orchestrator.hub.parts import CHUNK

OTHER = MODEL | {"model.safetensors": b"v" * 200_000}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def delete(cache: Cache, repo: Repo, *commits: str) -> Removal:
    """As the child does; it must come to what was shown before."""
    shown = going(repo, commits, cache.memory)
    wants = tuple(Want(repo.name, one, one, ()) for one in commits or ("",))
    job = Job("remove", "", os.getpid(), cache=str(repo.cache), memory=str(cache.memory.folder), wants=wants)
    done = from_json(Removal, remove(job))
    assert (done.freed, done.stays, done.whole) == (shown.freed, shown.stays, shown.whole)
    return done


def on_disk(top: Path) -> int:
    """Bytes that the files below take, each content once; links are not followed."""
    seen = {}
    for path in top.rglob("*"):
        if path.is_file() and not path.is_symlink():
            state = path.stat()
            seen[state.st_ino] = state.st_blocks * 512
    return sum(seen.values())


def paths(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


# ------------------------------------------------------------------------------------------------------- the last one


def test_with_the_last_commit_the_whole_repository_goes(cache: Cache) -> None:
    repo = cache.commit(MODEL, refs=("main", "orch/main"), verified=True)
    cache.commit(MODEL, repo="org/other")
    blob = cache.part(repo, BIG, 1)
    blob.with_name("123.ab.incomplete").write_bytes(b"i" * 5000)
    blob.with_name("456.corrupt").write_bytes(b"c" * 5000)
    blob.with_name("789.hf_transfer").write_bytes(b"h" * 5000)
    taken = on_disk(repo.folder)
    done = delete(cache, repo, A)
    assert not repo.folder.exists()
    assert (done.whole, done.freed, done.stays) == (True, taken, 0)
    assert taken > CHUNK + len(WEIGHTS) + 15_000
    assert cache.repo("org/other").pointer(A, "model.safetensors").read_bytes() == WEIGHTS


def test_what_is_left_of_a_download_goes_without_any_commit(cache: Cache) -> None:
    repo = cache.repo()
    cache.part(repo, BIG, 2)
    done = delete(cache, repo)
    assert not repo.folder.exists()
    assert done.freed >= 2 * CHUNK


def test_nothing_is_remembered_of_it(cache: Cache) -> None:
    repo = cache.commit(MODEL, verified=True)
    assert cache.memory.verified(repo)
    assert cache.memory.listing(repo, A)
    delete(cache, repo, A)
    assert [path for path in cache.memory.folder.rglob("*") if path.is_file()] == []


def test_the_list_stays_that_another_cache_has_use_for(cache: Cache, tmp_path: Path) -> None:
    repo = cache.commit(MODEL, verified=True)
    elsewhere = Cache(tmp_path / "second")
    elsewhere.memory = cache.memory
    other = elsewhere.commit(MODEL, verified=True)
    delete(cache, repo, A)
    assert cache.memory.verified(repo) == {}
    assert len(cache.memory.verified(other)) == 2
    assert cache.memory.listing(other, A)


def _dangling(cache: Cache, repo: Repo) -> None:
    repo.blob(listed(MODEL)[1].blob).unlink()


def _ref_to_nowhere(cache: Cache, repo: Repo) -> None:
    cache.ref(repo, "gone", "c" * 40)


def _stray_file(cache: Cache, repo: Repo) -> None:
    (repo.folder / "snapshots" / "stray").write_bytes(b"x")


def _refs_is_a_file(cache: Cache, repo: Repo) -> None:
    (repo.folder / "refs").write_bytes(b"x")


@pytest.mark.parametrize("damage", [_dangling, _ref_to_nowhere, _stray_file, _refs_is_a_file])
def test_a_damaged_repository_can_be_removed(cache: Cache, damage: Callable[[Cache, Repo], None]) -> None:
    repo = cache.commit(MODEL)
    damage(cache, repo)
    delete(cache, repo, A)
    assert not repo.folder.exists()


def test_a_damaged_repository_keeps_the_other_commit(cache: Cache) -> None:
    repo = cache.commit(MODEL, A, refs=("main",))
    cache.commit(OTHER, B)
    _dangling(cache, repo)
    _ref_to_nowhere(cache, repo)
    delete(cache, repo, A)
    assert repo.commits() == [B]
    assert {path: repo.pointer(B, path).read_bytes() for path in OTHER} == OTHER


# ----------------------------------------------------------------------------------------------------- one of several


def test_blobs_that_another_commit_has_stay(cache: Cache) -> None:
    repo = cache.commit(MODEL, A, refs=("main", "orch/main", f"orch/{A}"), verified=True)
    cache.commit(OTHER, B, refs=("v2",), verified=True)
    (repo.folder / "trees").mkdir()
    for commit in (A, B):
        (repo.folder / "trees" / f"{commit}.json").write_text("{}")
    before = on_disk(repo.folder)
    done = delete(cache, repo, A)
    assert not done.whole
    assert on_disk(repo.folder) == before - done.freed
    assert done.freed >= len(WEIGHTS)
    assert 0 < done.stays <= 4096  # config.json
    assert repo.commits() == [B]
    assert repo.refs() == {"v2": B}
    assert {path: repo.pointer(B, path).read_bytes() for path in OTHER} == OTHER
    left = {one.blob for one in listed(OTHER)}
    assert {path.name for path in (repo.folder / "blobs").iterdir()} == left
    assert paths(repo.folder / "trees") == {f"{B}.json"}
    assert not (repo.folder / "refs" / "orch").exists()
    assert set(cache.memory.verified(repo)) == left


def test_unfinished_files_of_another_commit_stay(cache: Cache) -> None:
    mine, theirs = BIG, BIG[::-1]
    repo = cache.commit({"config.json": b"{}"}, A, knows={"config.json": b"{}", "model.safetensors": mine})
    cache.commit({"config.json": b"{}"}, B, knows={"config.json": b"{}", "model.safetensors": theirs})
    gone, kept = cache.part(repo, mine, 1), cache.part(repo, theirs, 1)
    (kept.parent / "0123.ab.incomplete").write_bytes(b"nobody's")
    delete(cache, repo, A)
    left = {path.name for path in kept.parent.iterdir()}
    assert {name for name in left if name.startswith(gone.name)} == set()
    assert {f"{kept.name}.part", f"{kept.name}.map", "0123.ab.incomplete"} < left


def test_an_unfinished_file_that_another_commit_lists_stays(cache: Cache) -> None:
    both = {"config.json": b"{}", "model.safetensors": BIG}
    repo = cache.commit({"config.json": b"{}"}, A, knows=both)
    cache.commit({"config.json": b"{}"}, B, knows=both)
    part = cache.part(repo, BIG, 1)
    assert delete(cache, repo, A).freed < CHUNK
    assert part.with_name(f"{part.name}.part").exists()
    assert delete(cache, repo, B).freed >= CHUNK


def test_a_link_by_another_way_to_the_same_blob_holds_it(cache: Cache, tmp_path: Path) -> None:
    repo = cache.commit(MODEL, A)
    (tmp_path / "road").symlink_to(cache.top)
    repo.snapshot(B).mkdir()
    blob = repo.blob(listed(MODEL)[1].blob)
    repo.pointer(B, "model.safetensors").symlink_to(tmp_path / "road" / blob.relative_to(cache.top))
    delete(cache, repo, A)
    assert repo.pointer(B, "model.safetensors").read_bytes() == WEIGHTS


def test_commits_that_are_not_there_take_nothing_along(cache: Cache, tmp_path: Path) -> None:
    repo = cache.commit(MODEL, A)
    before = everything(cache.top / repo.folder.name)
    done = delete(cache, repo, "c" * 40)
    assert (done.freed, done.whole) == (0, False)
    assert everything(cache.top / repo.folder.name) == before


# ------------------------------------------------------------------------------------------------ what only looks ours


def test_a_hard_link_is_somebody_elses_too(cache: Cache, tmp_path: Path) -> None:
    repo = cache.commit(MODEL, A)
    mine = tmp_path / "model.safetensors"
    os.link(repo.blob(listed(MODEL)[1].blob), mine)
    done = delete(cache, repo, A)
    assert mine.read_bytes() == WEIGHTS
    assert done.freed < 10_000
    assert done.stays >= len(WEIGHTS)


@pytest.mark.parametrize("others", [True, False], ids=["one of two", "the last"])
def test_what_a_link_leads_to_outside_of_the_cache_stays(cache: Cache, tmp_path: Path, others: bool) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "weights.safetensors").write_bytes(WEIGHTS)
    repo = cache.commit({"config.json": b"{}"}, A)
    if others:
        cache.commit(OTHER, B)
    repo.pointer(A, "model.safetensors").symlink_to(outside / "weights.safetensors")
    repo.pointer(A, "folder").symlink_to(outside)
    repo.blob("deadbeef").symlink_to(outside / "weights.safetensors")
    before = everything(outside)
    done = delete(cache, repo, A)
    assert everything(outside) == before
    assert done.freed < 10_000
    assert done.stays <= 4096
    assert repo.commits() == ([B] if others else [])


def test_a_snapshot_that_is_a_link_is_only_unlinked(cache: Cache, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "config.json").write_bytes(b"{}")
    repo = cache.commit(MODEL, B)
    repo.snapshot(A).symlink_to(outside)
    delete(cache, repo, A)
    assert (outside / "config.json").exists()
    assert repo.commits() == [B]


@pytest.mark.parametrize("part", ["", "blobs", "snapshots", "refs", "trees"])
def test_a_folder_that_is_a_link_is_not_touched(cache: Cache, tmp_path: Path, part: str) -> None:
    repo = cache.commit(MODEL, A, refs=("main",))
    (repo.folder / "trees").mkdir()
    place = repo.folder / part if part else repo.folder
    moved = place.rename(tmp_path / "moved")
    place.symlink_to(moved)
    before = everything(tmp_path)
    with pytest.raises(HostError, match=r"is a link to .*moved, which may be anybody's"):
        going(repo, [A], cache.memory)
    with pytest.raises(FetchFailed, match=f"cannot remove {repo.name}"):
        delete_blindly(cache, repo)
    after = {name: state for name, state in everything(tmp_path).items() if ".locks" not in name and name != "hf/hub"}
    assert after == {name: state for name, state in before.items() if name != "hf/hub"}


def delete_blindly(cache: Cache, repo: Repo) -> None:
    wants = (Want(repo.name, A, A, ()),)
    remove(Job("remove", "", os.getpid(), cache=str(repo.cache), memory=str(cache.memory.folder), wants=wants))


# --------------------------------------------------------------------------------------------------- the shared store


def test_a_payload_goes_with_its_last_link(cache: Cache) -> None:
    first, second = cache.commit({"config.json": b"{}"}, A), cache.commit({"config.json": b"{}"}, A, "org/copy")
    payload = cache.shared(first, A, "model.safetensors", WEIGHTS)
    cache.shared(second, A, "model.safetensors", WEIGHTS)
    done = delete(cache, first, A)
    assert payload.read_bytes() == WEIGHTS
    assert done.stays >= len(WEIGHTS)
    assert second.pointer(A, "model.safetensors").read_bytes() == WEIGHTS
    done = delete(cache, second, A)
    assert not payload.exists()
    assert done.freed >= len(WEIGHTS)
    assert done.stays == 0


def test_a_payload_without_a_manifest_stays(cache: Cache) -> None:
    repo = cache.commit({"config.json": b"{}"}, A)
    payload = cache.shared(repo, A, "model.safetensors", WEIGHTS)
    payload.with_name(f"{payload.name}.refs").unlink()
    done = delete(cache, repo, A)
    assert payload.exists()
    assert not repo.folder.exists()
    assert done.freed < 10_000 < done.stays


# -------------------------------------------------------------------------------------------------------- one at a time


@pytest.mark.parametrize("lock", ["orch.lock", "0123abcd.lock"], ids=["orch", "the Hub's client"])
def test_what_is_being_fetched_is_not_removed(cache: Cache, lock: str) -> None:
    repo = cache.commit(MODEL, A)
    file = repo.lock.with_name(lock)
    file.parent.mkdir(parents=True)
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        before = everything(repo.folder)
        with pytest.raises(FetchFailed, match="another process is fetching it at this moment"):
            delete_blindly(cache, repo)
        assert everything(repo.folder) == before
    delete(cache, repo, A)
    assert not repo.folder.exists()
    assert file.exists()
