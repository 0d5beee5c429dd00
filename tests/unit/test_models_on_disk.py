"""What `orch models` finds in caches made by hand."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from caches import BIG, MODEL, WEIGHTS, A, B, Cache, everything, index, listed, shard

from orchestrator.cached import Cached, Found
from orchestrator.codec import to_json
from orchestrator.files import write_json
from orchestrator.hub.models import Place, models
from orchestrator.hub.parts import CHUNK
from orchestrator.model import Pull, RepoUse
from orchestrator.proc import boot_id, process_start


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def find(cache: Cache, *uses: RepoUse, folders: Sequence[Path] = ()) -> Found:
    def of(_: str, repo: str) -> list[RepoUse]:
        return [use for use in uses if use.repo == repo]

    return models([Place(cache.top, cache.top.parent)], folders, of, cache.memory)


def only(cache: Cache, *uses: RepoUse) -> Cached:
    (one,) = find(cache, *uses).models
    return one


# -------------------------------------------------------------------------------------------------------------- states


def test_complete_is_what_was_hashed(cache: Cache) -> None:
    repo = cache.commit(MODEL)
    assert only(cache).state == "unverified"
    cache.verify(repo, *MODEL.values())
    one = only(cache)
    assert (one.state, one.percent, one.total, one.here) == ("complete", 100, 300_002, 300_002)


def test_files_that_nobody_loads_are_not_lacking(cache: Cache) -> None:
    cache.commit(MODEL, knows=MODEL | {"README.md": b"# hello", "pytorch_model.bin": b"b" * 1000}, verified=True)
    assert only(cache).state == "complete"


def test_an_unfinished_download_is_partial_by_its_chunks(cache: Cache) -> None:
    repo = cache.commit({"config.json": b"{}"}, knows=MODEL | {"model.safetensors": BIG})
    cache.part(repo, BIG, 2)
    one = only(cache)
    assert (one.state, one.percent) == ("partial", 100 * 2 * CHUNK // (len(BIG) + 2))
    assert one.missing == 1


def test_a_sparse_file_counts_by_what_it_takes(cache: Cache) -> None:
    repo = cache.commit({}, knows={"model.safetensors": BIG})
    blob = cache.part(repo, BIG, 0)
    assert blob.with_name(f"{blob.name}.part").stat().st_size == len(BIG)
    assert only(cache).size < CHUNK


def test_a_blob_that_is_not_linked_yet_is_not_complete(cache: Cache) -> None:
    repo = cache.commit({"config.json": b"{}"}, knows=MODEL)
    cache.blob(repo, WEIGHTS)
    one = only(cache)
    assert (one.state, one.percent, one.missing) == ("partial", 99, 1)


def test_texts_alone_are_metadata(cache: Cache) -> None:
    cache.commit({"config.json": b"{}", "tokenizer.json": b"{}"}, knows=MODEL | {"tokenizer.json": b"{}"})
    assert only(cache).state == "metadata only"


def test_texts_alone_are_complete_where_nobody_wants_more(cache: Cache) -> None:
    cache.commit(
        {"tokenizer.json": b"[]"}, knows=MODEL | {"config.json": b"[]", "tokenizer.json": b"[]"}, verified=True
    )
    assert only(cache).state == "metadata only"
    cache.commit({"config.json": b"[]"}, knows=(), verified=True)
    assert only(cache, RepoUse("tokenizer", "org/model", wants="texts")).state == "complete"


def test_a_repository_without_any_weights_can_be_complete(cache: Cache) -> None:
    texts = {"tokenizer.json": b"{}", "vocab.json": b"[]"}
    cache.commit({"tokenizer.json": b"{}"}, knows=texts, verified=True)
    assert (only(cache).state, only(cache).percent) == ("partial", 50)
    cache.commit({"vocab.json": b"[]"}, knows=texts, verified=True)
    assert only(cache).state == "complete"


def test_nothing_at_all_is_empty(cache: Cache) -> None:
    cache.commit({}, knows=MODEL)
    assert only(cache).state == "empty"


def _cut(cache: Cache) -> None:
    repo = cache.commit(MODEL)
    os.truncate(repo.blob(listed(MODEL)[1].blob), 1000)


def _dangling(cache: Cache) -> None:
    repo = cache.commit(MODEL)
    repo.blob(listed(MODEL)[1].blob).unlink()


def _set_aside(cache: Cache) -> None:
    repo = cache.commit({"config.json": b"{}"}, knows=MODEL)
    blob = cache.blob(repo, WEIGHTS)
    blob.rename(blob.with_name(f"{blob.name}.corrupt"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_cut, "model.safetensors has 1000 bytes and the Hub lists 300000"),
        (_dangling, "model.safetensors is a link to nothing"),
        (_set_aside, "model.safetensors was not what the Hub lists, and is set aside"),
    ],
)
def test_corrupt_says_what_is_wrong(cache: Cache, spoil: Callable[[Cache], None], why: str) -> None:
    spoil(cache)
    one = only(cache)
    assert (one.state, one.corrupt) == ("corrupt", (why,))


def test_what_was_set_aside_and_fetched_again_is_whole(cache: Cache) -> None:
    _set_aside(cache)
    repo = cache.repo()
    cache.link(repo, A, "model.safetensors", cache.blob(repo, WEIGHTS))
    assert only(cache).state == "unverified"


def test_what_was_set_aside_and_is_being_fetched_again_is_partial(cache: Cache) -> None:
    repo = cache.commit({"config.json": b"{}"}, knows={"config.json": b"{}", "model.safetensors": BIG})
    blob = cache.part(repo, BIG, 1)
    blob.with_name(f"{blob.name}.corrupt").write_bytes(b"wrong")
    assert only(cache).state == "partial"


# --------------------------------------------------------------------------------------------------- without any list


def test_without_a_list_the_index_tells(cache: Cache) -> None:
    files = {"config.json": b"{}", "model.safetensors.index.json": index(4, 1000)}
    repo = cache.commit(files | {shard(one, 4): bytes([one]) * 1010 for one in (1, 2, 3)}, knows=())
    one = only(cache)
    assert (one.state, one.missing) == ("partial", 1)
    assert one.percent == 100 * one.here // (one.here + 4000 - 3 * 1010)
    cache.link(repo, A, shard(4, 4), cache.blob(repo, b"4" * 1010))
    assert only(cache).state == "unverified"


def test_an_index_that_tells_no_size_leaves_the_share_open(cache: Cache) -> None:
    named = json.dumps({"weight_map": {"a": shard(1, 2), "b": shard(2, 2)}}).encode()
    cache.commit({"config.json": b"{}", "model.safetensors.index.json": named, shard(1, 2): b"1"}, knows=())
    one = only(cache)
    assert (one.state, one.percent) == ("partial", None)


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ({"config.json": b"{}", "model.safetensors": WEIGHTS}, "unverified"),
        ({"model-Q4.gguf": WEIGHTS}, "unverified"),
        ({"config.json": b"{}"}, "metadata only"),
        ({}, "empty"),
    ],
)
def test_without_list_or_index_what_is_here_tells(cache: Cache, files: dict[str, bytes], state: str) -> None:
    cache.commit(files, knows=())
    assert only(cache).state == state


def test_the_hubs_own_list_is_as_good_as_ours(cache: Cache) -> None:
    repo = cache.commit({"config.json": b"{}"}, knows=())
    tree = {
        one.path: {"size": 1, "blob_id": "x", "lfs_size": one.size, "lfs_sha256": one.blob} for one in listed(MODEL)
    }
    write_json(repo.folder / "trees" / f"{A}.json", {"format_version": 1, "files": tree})
    one = only(cache)
    assert (one.state, one.total) == ("metadata only", 300_002)


# --------------------------------------------------------------------------------------------------- how it is used


def test_a_profile_says_which_files_are_wanted(cache: Cache) -> None:
    files = MODEL | {"pytorch_model.bin": b"b" * 1000}
    cache.commit(files, knows=files | {"m-Q4.gguf": b"4" * 1000}, verified=True)
    assert only(cache, RepoUse("model", "org/model", load_format="npcache")).total == 1002
    assert only(cache, RepoUse("model", "org/model", variant="Q4")).state == "metadata only"
    both = only(cache, RepoUse("model", "org/model"), RepoUse("model", "org/model", variant="Q4"))
    assert (both.state, both.total, both.here) == ("partial", 301_002, 300_002)


def test_of_several_models_those_that_are_here_are_meant(cache: Cache) -> None:
    quants = {f"m-{name}.gguf": name.encode() * 1000 for name in ("Q4", "Q8", "F16")}
    cache.commit({"m-Q4.gguf": quants["m-Q4.gguf"]}, knows=quants, verified=True)
    one = only(cache)
    assert (one.state, one.total) == ("complete", 2000)
    cache.commit({}, B, knows=MODEL | quants)
    cache.link(cache.repo(), B, "m-Q4.gguf", cache.blob(cache.repo(), quants["m-Q4.gguf"]))
    assert [one.state for one in find(cache).models] == ["complete", "complete"]


# ------------------------------------------------------------------------------------------------- names and commits


def test_revisions_lead_where_orch_takes_them(cache: Cache) -> None:
    repo = cache.commit(MODEL, A, refs=("orch/main", f"orch/{A}", "v1"))
    cache.commit(MODEL | {"config.json": b"[]"}, B, refs=("main",))
    found = {one.commit: one for one in find(cache).models}
    assert (found[A].names, found[A].others) == (("main", "v1"), ())
    assert (found[B].names, found[B].others) == ((), ("main",))
    assert repo.commits() == [A, B]


def test_a_shared_blob_is_in_each_row_and_once_in_the_sum(cache: Cache) -> None:
    cache.commit(MODEL, A)
    cache.commit(MODEL, B)
    found = find(cache)
    assert {one.size for one in found.models} == {found.size}
    assert found.size >= 300_002


def test_each_cache_is_looked_into_once(cache: Cache, tmp_path: Path) -> None:
    cache.commit(MODEL)
    (tmp_path / "link").symlink_to(cache.top.parent)
    places = [Place(cache.top, cache.top.parent), Place(tmp_path / "link/hub", tmp_path / "link")]
    found = models(places, (), lambda *_: (), cache.memory)
    assert [(one.place, one.cache) for one in found.models] == [(str(cache.top), os.path.realpath(cache.top))]
    assert found.places == (str(cache.top),)


def test_a_repository_without_a_commit_is_what_is_left_of_a_download(cache: Cache) -> None:
    repo = cache.repo()
    (repo.folder / "blobs").mkdir(parents=True)
    (repo.folder / "blobs" / "123.45.incomplete").write_bytes(b"x" * 5000)
    one = only(cache)
    assert (one.repo, one.commit, one.state) == ("org/model", "", "partial")
    assert one.size >= 5000


def test_downloads_that_nothing_goes_on_with_are_told_apart(cache: Cache) -> None:
    repo = cache.commit(MODEL)
    mine = listed(MODEL)[1].blob
    (repo.folder / "blobs" / f"{mine}.7f.incomplete").write_bytes(b"x" * 8192)
    before = only(cache).size
    (repo.folder / "blobs" / "0123.7f.incomplete").write_bytes(b"x" * 4096)
    found = find(cache)
    assert before >= 308_192
    assert found.models[0].size == before
    assert found.leftovers == {("org/model", os.path.realpath(cache.top)): 4096}
    assert found.size == before + 4096


# ------------------------------------------------------------------------------------------------------------- pulls


def being_pulled(cache: Cache, pull: Pull) -> None:
    write_json(cache.memory.pull_file(cache.repo(pull.repo)), {"pull": to_json(pull)})


def test_a_pull_whose_process_lives_is_shown(cache: Cache) -> None:
    repo = cache.commit({"config.json": b"{}"}, knows=MODEL | {"model.safetensors": BIG})
    cache.commit(MODEL, B, verified=True)
    cache.part(repo, BIG, 1)
    mine = Pull("org/model", A, str(cache.top), os.getpid(), process_start(os.getpid()), boot_id())
    being_pulled(cache, mine)
    assert {one.commit: one.state for one in find(cache).models} == {A: "being fetched", B: "complete"}
    being_pulled(cache, replace(mine, doing="verifying"))
    assert {one.commit: one.state for one in find(cache).models} == {A: "being verified", B: "complete"}
    being_pulled(cache, replace(mine, start=mine.start + 1))
    assert {one.commit: one.state for one in find(cache).models} == {A: "partial", B: "complete"}


def test_a_pull_of_another_cache_is_not(cache: Cache, tmp_path: Path) -> None:
    cache.commit({"config.json": b"{}"}, knows=MODEL)
    mine = Pull("org/model", A, str(tmp_path), os.getpid(), process_start(os.getpid()), boot_id())
    being_pulled(cache, mine)
    assert only(cache).state == "metadata only"


# ------------------------------------------------------------------------------------------------------ flat folders


def make_flat(folder: Path, files: dict[str, bytes], commits: Sequence[str] = (A,)) -> Path:
    """As `hf download --local-dir` leaves it."""
    notes = folder / ".cache/huggingface/download"
    notes.mkdir(parents=True)
    for number, (path, data) in enumerate(files.items()):
        (folder / path).write_bytes(data)
        note = f"{commits[number % len(commits)]}\n{hashlib.sha256(data).hexdigest()}\n1700000000.0\n"
        (notes / f"{path}.metadata").write_text(note)
    return folder


def test_flat_folders_are_found_where_people_put_them(cache: Cache) -> None:
    home = cache.top.parent
    make_flat(home / "models--org--flat", MODEL)
    make_flat(cache.top / "mine", MODEL, (A, B))
    (home / "models--org--bare").mkdir()
    (home / "models--org--bare" / "model.gguf").write_bytes(WEIGHTS)
    (home / "datasets").mkdir()
    (home / "no-notes").mkdir()
    (home / "no-notes" / "config.json").write_bytes(b"{}")
    found = {Path(one.place).name: one for one in find(cache).models}
    assert set(found) == {"models--org--flat", "mine", "models--org--bare"}
    assert {one.kind for one in found.values()} == {"folder"}
    assert [(one.repo, one.commit) for _, one in sorted(found.items())] == [
        ("", ""), ("org/bare", ""), ("org/flat", A)
    ]  # fmt: skip
    assert {one.state for one in found.values()} == {"unverified"}


def test_a_flat_folder_lacks_what_its_index_names(cache: Cache) -> None:
    files = {"config.json": b"{}", "model.safetensors.index.json": index(4, 1000), shard(1, 4): b"1" * 1000}
    folder = make_flat(cache.top.parent / "models--org--flat", files)
    one = only(cache)
    assert (one.state, one.missing) == ("partial", 3)
    assert one.percent == 100 * one.here // (one.here + 3000)
    for number in (2, 3, 4):
        (folder / shard(number, 4)).write_bytes(b"2" * 1000)
    assert only(cache).state == "unverified"
    (folder / ".cache/huggingface/download/x.incomplete").write_bytes(b"x")
    assert only(cache).state == "partial"


def test_a_flat_folder_of_texts_is_metadata(cache: Cache) -> None:
    make_flat(cache.top.parent / "models--org--flat", {"config.json": b"{}"})
    assert only(cache).state == "metadata only"


def test_folders_and_files_that_profiles_name_are_shown(cache: Cache, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "one.gguf").write_bytes(WEIGHTS)
    named = [folder, tmp_path / "one.gguf", tmp_path / "gone"]
    found = find(cache, folders=named).models
    assert [(one.place, one.state) for one in found] == [
        (str(folder), "unverified"), (str(tmp_path / "one.gguf"), "unverified")
    ]  # fmt: skip


def test_a_snapshot_that_a_profile_names_by_path_is_one_row(cache: Cache) -> None:
    repo = cache.commit(MODEL)
    (one,) = find(cache, folders=[repo.snapshot(A)]).models
    assert (one.kind, one.path) == ("cache", os.path.realpath(repo.snapshot(A)))


def test_a_hard_link_into_the_cache_is_counted_once(cache: Cache) -> None:
    repo = cache.commit(MODEL)
    folder = make_flat(cache.top.parent / "models--org--model", {"config.json": b"{}"})
    os.link(repo.blob(listed(MODEL)[1].blob), folder / "model.safetensors")
    found = find(cache)
    assert len(found.models) == 2
    assert found.size < sum(one.size for one in found.models)


# -------------------------------------------------------------------------------------------------------- only a look


def test_a_look_changes_nothing(cache: Cache, tmp_path: Path) -> None:
    _set_aside(cache)
    cache.commit(MODEL, B, refs=("orch/main", "main"), verified=True)
    cache.part(cache.repo("org/half"), BIG, 1)
    make_flat(cache.top.parent / "models--org--flat", MODEL)
    before = everything(tmp_path)
    assert len(find(cache).models) == 4
    assert everything(tmp_path) == before


def test_what_cannot_be_read_is_no_reason_to_fail(cache: Cache, tmp_path: Path) -> None:
    cache.top.joinpath("models--org--file").write_bytes(b"no folder")
    (cache.repo("org/refs").folder).mkdir()
    (cache.repo("org/refs").folder / "refs").write_bytes(b"no folder")
    loop = cache.commit(MODEL, repo="org/loop").pointer(A, "loop.json")
    loop.symlink_to(loop)
    broken = cache.commit(MODEL | {"model.safetensors.index.json": b"\xff{"}, repo="org/index", knows=())
    assert broken.commits() == [A]
    states = {one.repo: one.state for one in find(cache).models}
    assert states == {"org/loop": "corrupt", "org/index": "unverified"}
    assert models([Place(tmp_path / "none", tmp_path)], (), lambda *_: (), cache.memory).models == ()
