"""From a Hub into its cache: what is there already, what two fetches share, and every shape of file and name."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.sandbox import wait_until
from fetch_kit import FAST, FILES, MIB, MODEL, SIZE, WEIGHTS, Kit, Namespace, noise

from orchestrator.hub import look
from orchestrator.hub.child.job import Want
from orchestrator.hub.parts import CHUNK, Part, fetched
from orchestrator.model import RepoUse


def fresh(kit: Kit) -> None:
    """The Hub forgets what it saw."""
    kit.hub.requests.clear()


# --------------------------------------------------------------------------------------------------- shapes and names


def test_files_of_every_size_and_name(kit: Kit) -> None:
    files = {
        "empty.txt": b"",
        "empty.safetensors": b"",
        "one.bin": b"x",
        "chunk.bin": noise(CHUNK, 1),
        "chunk-and-one.bin": noise(CHUNK + 1, 2),
        "chunk-less-one.bin": noise(CHUNK - 1, 3),
        "with space #1 100%.json": b"a",
        "ünï/日本/[x](y)?&=+;.json": b"b",
        "ünï/日本/[x](y)?&=+;.bin": noise(1000, 4),
        "%41%2F.bin": b"not decoded",
        "a/b/c/d/e.json": b"deep",
        "twin/1.bin": noise(100_000, 5),
        "twin/2.bin": noise(100_000, 5),
    }
    want = kit.add(files, "org/na.me-1_2.5B")
    told = kit.fetch(want)
    assert kit.whole(want, files)
    assert kit.blob(want, "twin/1.bin") == kit.blob(want, "twin/2.bin")
    wanted = sum(map(len, files.values())) - 100_000  # the twin comes once
    assert told.result["fetched"] == kit.hub.sent() == wanted
    last = told.pulls()[-1]
    assert (last["done"], last["total"], last["files_done"], last["files"]) == (wanted, wanted, 12, 12)


def test_hundreds_of_files_take_few_handles(kit: Kit) -> None:
    """An unlucky host allows no more than this."""
    files = {f"{index:03d}.json": b"%d" % index for index in range(300)}
    want = kit.add(files)
    limited = ["sh", "-ec", 'ulimit -n 96; exec "$@"', "sh"]
    kit.start(kit.job(want), within=limited).answer()
    assert kit.whole(want, files)
    assert len(kit.hub.requests) == 300


def test_several_repositories_in_one_go(kit: Kit) -> None:
    wants = [kit.add({"config.json": b"%d" % index, MODEL: WEIGHTS}, f"org/{index}") for index in range(3)]
    kit.fetch(*wants)
    for index, want in enumerate(wants):
        assert kit.whole(want, {"config.json": b"%d" % index, MODEL: WEIGHTS})


@pytest.mark.parametrize("path", ["../../../x.json", "/etc/x.json", "a/../../x.json"])
def test_a_hub_does_not_choose_where_files_are_written(kit: Kit, want: Want, path: str) -> None:
    strange = replace(want, files=(replace(want.files[0], path=path),))
    error, _ = kit.fails(strange)
    assert "names no file of a cache" in error.why
    outside = replace(want, files=(replace(want.files[0], blob="../../x"),))
    assert "names no file of a cache" in kit.fails(outside)[0].why
    assert not kit.hub.requests
    assert not kit.cache.exists() or not list(kit.cache.rglob("blobs"))


# ---------------------------------------------------------------------------------- what others make of what we made


def client(kit: Kit, code: str, **env: str) -> str:
    """What the real huggingface_hub says."""
    done = subprocess.run(
        [sys.executable, "-c", f"import huggingface_hub as h\n{code}"],
        env=kit.env | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_hubs_own_client_finds_it_whole(kit: Kit, want: Want) -> None:
    kit.fetch(want)
    fresh(kit)
    folder = client(kit, f"print(h.snapshot_download('org/m', revision={want.commit!r}, local_files_only=True))")
    assert Path(folder) == kit.repo().snapshot(want.commit)
    assert not kit.hub.requests
    assert client(kit, "print(h.snapshot_download('org/m'))") == folder
    assert kit.sent() == 0
    told = "i = h.scan_cache_dir(); print(len(i.warnings), *(r.nb_files for r in i.repos))"
    assert client(kit, told) == f"0 {len(FILES)}"
    checked = f"print(h.HfApi().verify_repo_checksums('org/m', revision={want.commit!r}).checked_count)"
    assert client(kit, checked) == "2"
    prune = "print(len([r for p in h.scan_cache_dir().repos for r in p.revisions if not r.refs]))"
    assert client(kit, prune) == "0"


def test_what_it_fetched_is_hashed_once_and_not_fetched(kit: Kit) -> None:
    want = kit.add(FILES, xet=True)
    client(kit, "h.snapshot_download('org/m')")
    assert kit.blob(want).is_symlink()  # into the store that the repositories of a cache share
    fresh(kit)
    assert kit.fetch(want).result == {"fetched": 0, "hashed": SIZE + 8}
    assert kit.fetch(want).result == {"fetched": 0, "hashed": 0}
    assert not kit.hub.requests
    assert kit.blob(want).is_symlink()


def test_a_shared_blob_that_is_corrupt(kit: Kit) -> None:
    want = kit.add(FILES, xet=True)
    client(kit, "h.snapshot_download('org/m')")
    stored = kit.blob(want).resolve()
    damage(stored)
    told = kit.fetch(want)
    assert kit.whole(want, FILES)
    assert told.result == {"fetched": SIZE, "hashed": SIZE + 8}
    assert stored.with_name(f"{stored.name}.corrupt").stat().st_size == SIZE


# ------------------------------------------------------------------------------------------------------ what is there


def damage(file: Path) -> None:
    """One bit, and nobody notices by its size or its time."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(before.st_size // 2)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_twice_asks_for_nothing_and_reads_nothing(kit: Kit, want: Want) -> None:
    kit.fetch(want)
    fresh(kit)
    told = kit.fetch(want)
    assert told.result == {"fetched": 0, "hashed": 0}
    assert not kit.hub.requests
    assert not told.lines


@pytest.mark.parametrize("path", list(FILES))
def test_damage_is_found_when_it_is_looked_for(kit: Kit, want: Want, path: str) -> None:
    kit.fetch(want)
    blob = kit.blob(want, path)
    damage(blob)
    assert kit.fetch(want).result == {"fetched": 0, "hashed": 0}
    told = kit.fetch(want, rehash=True)
    assert kit.whole(want, FILES)
    assert told.result == {"fetched": len(FILES[path]), "hashed": SIZE + 8}
    aside = blob.with_name(f"{blob.name}.corrupt")
    assert aside.read_bytes() != FILES[path]
    assert told.said == [f"{path} of org/m is corrupt; it is set aside as {aside}, to be deleted by you"]
    assert (told.pulls("verifying")[-1]["done"], told.pulls("verifying")[-1]["total"]) == (SIZE + 8, SIZE + 8)
    assert kit.fetch(want).result == {"fetched": 0, "hashed": 0}


def test_a_file_that_was_touched_is_hashed_again(kit: Kit, want: Want) -> None:
    kit.fetch(want)
    os.utime(kit.blob(want))
    fresh(kit)
    assert kit.fetch(want).result == {"fetched": 0, "hashed": SIZE}
    assert not kit.hub.requests


def test_a_blob_that_was_cut_comes_anew(kit: Kit, want: Want) -> None:
    kit.fetch(want)
    os.truncate(kit.blob(want), 1000)
    told = kit.fetch(want)
    assert told.result["fetched"] == SIZE
    assert kit.whole(want, FILES)


def test_a_link_to_nothing_leads_somewhere_again(kit: Kit, want: Want) -> None:
    kit.fetch(want)
    kit.blob(want).unlink()
    assert kit.fetch(want).result["fetched"] == SIZE
    assert kit.whole(want, FILES)
    kit.pointer(want).unlink()
    kit.pointer(want).symlink_to("/nowhere")
    fresh(kit)
    assert kit.fetch(want).result["fetched"] == 0
    assert kit.whole(want, FILES)
    assert not kit.hub.requests


def test_a_snapshot_of_files_instead_of_links(kit: Kit, want: Want) -> None:
    """As copies of a cache have it, and file systems without links."""
    kit.fetch(want)
    for path, data in FILES.items():
        kit.pointer(want, path).unlink()
        kit.pointer(want, path).write_bytes(data)
        kit.blob(want, path).unlink()
    fresh(kit)
    assert kit.fetch(want).result == {"fetched": 0, "hashed": SIZE + 8}
    assert kit.fetch(want).result == {"fetched": 0, "hashed": 0}
    assert not kit.hub.requests
    os.truncate(kit.pointer(want), 5)  # damaged, and somebody's
    kit.fetch(want)
    assert kit.pointer(want).read_bytes() == WEIGHTS
    assert kit.pointer(want).with_name(f"{MODEL}.corrupt").stat().st_size == 5


def test_a_disk_that_has_no_links(kit: Kit, want: Want, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "symlink_to", refuse)
    kit.fetch(want)
    assert {path: kit.pointer(want, path).read_bytes() for path in FILES} == FILES
    fresh(kit)
    assert kit.fetch(want).result == {"fetched": 0, "hashed": SIZE + 8}
    assert kit.fetch(want).result == {"fetched": 0, "hashed": 0}
    assert not kit.hub.requests


def test_files_without_a_known_hash_are_left_alone(kit: Kit, want: Want) -> None:
    """A copy of a snapshot without its list: nobody knows what its files should be."""
    snapshot = kit.repo().snapshot(want.commit)
    snapshot.mkdir(parents=True)
    for path, data in FILES.items():
        (snapshot / path).write_bytes(data)
    (snapshot / "tokenizer.json").symlink_to("../../blobs/md5-of-a-mirror")
    (snapshot / "../../blobs").resolve().mkdir()
    (snapshot / "../../blobs/md5-of-a-mirror").write_bytes(b"{}")
    found = look.whole_by_itself(kit.repo(), want.commit, RepoUse("org/m", "main", "model"))
    assert found
    itself = replace(want, files=found.files)
    assert look.weights(RepoUse("org/m", "main", "model"), kit.repo(), want.commit, found, kit.memory).complete
    for rehash in (False, True):
        assert kit.fetch(itself, rehash=rehash).result == {"fetched": 0, "hashed": 0}
    assert (snapshot / MODEL).read_bytes() == WEIGHTS


def test_what_is_not_in_the_cache_stays_where_it_is(kit: Kit, want: Want, tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    own.write_bytes(bytes(SIZE))
    kit.pointer(want).parent.mkdir(parents=True)
    kit.pointer(want).symlink_to(own)
    told = kit.fetch(want)
    assert told.said == [f"{MODEL} of org/m is corrupt; the link to {own} is gone"]
    assert own.stat().st_size == SIZE
    assert kit.whole(want, FILES)


def test_what_was_hashed_before_an_end_is_not_hashed_again(kit: Kit, want: Want) -> None:
    """Hashing hundreds of gigabytes takes an hour, and somebody closes the lid."""
    kit.fetch(want)
    wrong = kit.add({"b.safetensors": noise(MIB, 7)}, "org/n")
    kit.fetch(wrong)
    kit.blob(wrong, "b.safetensors").unlink()
    kit.blob(wrong, "b.safetensors").mkdir()
    kit.blob(wrong, "b.safetensors").chmod(0o755)
    size = kit.blob(wrong, "b.safetensors").stat().st_size
    folder = replace(wrong, files=(replace(wrong.files[0], size=size),))  # what cannot be read at all
    for blob in (kit.blob(want), kit.blob(want, "config.json")):
        os.utime(blob)
    error, _ = kit.fails(want, folder)
    assert "is a directory" in error.why
    assert kit.fetch(want).result == {"fetched": 0, "hashed": 0}


def test_a_part_of_another_size_is_not_gone_on_with(kit: Kit, want: Want) -> None:
    """A hash names one size; a part that differs is damaged."""
    part = Part(kit.blob(want), SIZE)
    part.mark(0)
    part.close()
    os.truncate(kit.blob(want).with_name(f"{kit.blob(want).name}.part"), SIZE - 1)
    assert kit.fetch(want).result["fetched"] == SIZE + 8
    assert kit.whole(want, FILES)


def test_a_map_that_lies_is_found_by_the_hash(kit: Kit, want: Want) -> None:
    part = Part(kit.blob(want), SIZE)
    part.mark(1)  # and nothing was written: a power cut
    part.close()
    told = kit.fetch(want)
    assert kit.whole(want, FILES)
    assert told.said == [f"{MODEL}: what came is not what the Hub says; fetching it again"]
    pulls = told.pulls()
    assert pulls[0]["done"] == CHUNK
    assert pulls[-1]["done"] == pulls[-1]["total"] == SIZE + 8


def test_the_rate_is_of_what_comes_now(kit: Kit, want: Want) -> None:
    part = Part(kit.blob(want), SIZE)
    for index in part.missing()[:-1]:
        start, end = part.span(index)
        part.write(start, memoryview(WEIGHTS)[start:end])
        part.mark(index)
    part.close()
    told = kit.fetch(want)
    assert told.pulls()[0]["done"] == SIZE - 99
    assert all(pull.get("rate", 0) < CHUNK for pull in told.pulls())
    assert told.result["fetched"] == 99 + 8


def test_a_rate_falls_while_nothing_comes(kit: Kit, want: Want) -> None:
    gate = kit.hub.gate(MODEL, after=CHUNK, times=None)
    child = kit.start(kit.job(want, tuning=replace(FAST, stall=20)))
    assert gate.reached.wait(10)
    wait_until(lambda: fell([pull.get("rate", 0.0) for pull in child.told.pulls()]))
    (pull,) = kit.memory.pulls()
    assert (pull.repo, pull.total, pull.pid) == ("org/m", SIZE + 8, child.process.pid)
    gate.release()
    child.answer()
    assert not kit.memory.pulls()


def fell(rates: list[float]) -> bool:
    return bool(rates) and 0 < rates[-1] < max(rates) / 2


# ----------------------------------------------------------------------------------------------------------- offline


def test_offline_with_all_there_asks_for_nothing(kit: Kit, want: Want) -> None:
    kit.fetch(want)
    kit.pointer(want).unlink()  # a fetch that was ended after its last byte
    fresh(kit)
    kit.fetch(want, offline=True)
    assert kit.whole(want, FILES)
    assert not kit.hub.requests


def test_offline_with_something_missing(kit: Kit, want: Want) -> None:
    error, _ = kit.fails(want, offline=True)
    assert error.why == f"HF_HUB_OFFLINE is set and 2 files are missing (config.json, {MODEL})"
    assert "unset HF_HUB_OFFLINE" in error.do
    assert not kit.hub.requests


# ------------------------------------------------------------------------------------------------------ several at once


def test_two_fetches_of_one_repository_share_the_work(kit: Kit, want: Want) -> None:
    gate = kit.hub.gate(MODEL, after=1000)
    first = kit.start(kit.job(want, tuning=replace(FAST, stall=20)))
    assert gate.reached.wait(10)
    second = kit.start(kit.job(want))
    wait_until(lambda: second.told.said)
    assert second.told.said == ["waiting: another orch is fetching org/m"]
    gate.release()
    assert first.answer().result["fetched"] == SIZE + 8
    assert second.answer().result == {"fetched": 0, "hashed": 0}
    assert kit.sent() == SIZE
    assert kit.whole(want, FILES)


def test_another_repository_does_not_wait(kit: Kit, want: Want) -> None:
    gate = kit.hub.gate(MODEL, after=1000)
    first = kit.start(kit.job(want, tuning=replace(FAST, stall=20)))
    assert gate.reached.wait(10)
    other = kit.add({"config.json": b"other"}, "org/other")
    kit.run(other)
    assert kit.whole(other, {"config.json": b"other"})
    gate.release()
    first.answer()


def test_who_waited_for_one_that_was_killed_goes_on_with_its_part(kit: Kit, want: Want) -> None:
    gate = kit.hub.gate(MODEL, after=CHUNK, times=None)
    first = kit.start(kit.job(want, tuning=replace(FAST, stall=20)))
    wait_until(lambda: fetched(kit.blob(want), SIZE) >= CHUNK)
    second = kit.start(kit.job(want))
    wait_until(lambda: second.told.said)
    first.kill(9)
    gate.release()
    assert second.answer().result["fetched"] <= SIZE - CHUNK + 8
    assert kit.whole(want, FILES)


def test_a_lock_of_another_user(kit: Kit, want: Want, namespace: Namespace) -> None:
    kit.repo().lock.parent.mkdir(parents=True)
    kit.repo().lock.touch()
    kit.repo().lock.chmod(0o444)
    if os.getuid() == 0:  # who may do anything, but not to the files of users unknown in its namespace
        os.chown(kit.repo().lock, 12345, 12345)
    kit.start(kit.job(want), within=namespace("")).answer()
    assert kit.whole(want, FILES)


def test_a_cache_that_may_only_be_read(kit: Kit, want: Want, namespace: Namespace) -> None:
    client(kit, "h.snapshot_download('org/m')")
    lacking = kit.add({"config.json": b"new"}, "org/new")
    script = f"mount --bind {kit.cache} {kit.cache}; mount -o remount,bind,ro {kit.cache}"
    child = kit.start(kit.job(want), within=namespace(script))
    assert child.answer().result == {"fetched": 0, "hashed": SIZE + 8}
    child.ask(kit.job(want))
    assert child.answer().result == {"fetched": 0, "hashed": 0}
    child.ask(kit.job(lacking))
    error = child.fails()
    assert "read-only file system" in error.why
    assert "models--org--new" in error.why


def test_hashes_are_those_of_the_hub(kit: Kit, want: Want) -> None:
    kit.fetch(want)
    assert kit.blob(want).name == hashlib.sha256(WEIGHTS).hexdigest()
    header = b"blob 8\0"
    assert kit.blob(want, "config.json").name == hashlib.sha1(header + FILES["config.json"]).hexdigest()
