"""Where things lie in the Hub's cache, and how much of it may be believed."""

from pathlib import Path

import pytest

from orchestrator.hub import look
from orchestrator.hub.layout import Repo, repos
from orchestrator.hub.memory import stamp
from orchestrator.model import RemoteFile

COMMIT, BLOB = "c" * 40, "a" * 64
FILE = RemoteFile("sub/m.safetensors", 7, BLOB)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path / "hub", "org/na.me-1_2")
    repo.blob(BLOB).parent.mkdir(parents=True)
    repo.blob(BLOB).write_bytes(b"weights")
    return repo


def link(repo: Repo, to: str = f"../../../blobs/{BLOB}", path: str = FILE.path) -> Path:
    pointer = repo.pointer(COMMIT, path)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.symlink_to(to)
    return pointer


def test_folders_are_named_as_the_hubs_client_names_them(repo: Repo) -> None:
    (repo.folder / "snapshots").mkdir()
    assert repo.folder.name == "models--org--na.me-1_2"
    assert list(repos(repo.cache)) == [repo]
    assert list(repos(repo.cache / "nowhere")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [(COMMIT, COMMIT), (f"{COMMIT}\n", COMMIT), ("main", None), ("", None), (COMMIT[:-1], None), (f"{COMMIT}0", None)],
)
def test_a_ref_is_a_whole_commit_or_nothing(repo: Repo, text: str, expected: str | None) -> None:
    for place in ("refs", "refs/orch"):
        ref = repo.folder / place / "pr/1"
        ref.parent.mkdir(parents=True)
        ref.write_text(text)
    assert repo.ref("pr/1") == repo.pinned("pr/1") == expected
    assert repo.refs() == ({"pr/1": expected, "orch/pr/1": expected} if expected else {})
    assert repo.ref("pr") is None  # a folder


def test_bytes_that_are_no_text_are_no_ref(repo: Repo) -> None:
    ref = repo.folder / "refs" / "main"
    ref.parent.mkdir()
    ref.write_bytes(b"\xff" * 40)
    assert repo.ref("main") is None


def test_commits_are_those_with_a_snapshot(repo: Repo) -> None:
    assert repo.commits() == []
    for name in (COMMIT, "d" * 40, "main", ".tmp"):
        (repo.folder / "snapshots" / name).mkdir(parents=True)
    (repo.folder / "snapshots" / ("e" * 40)).touch()
    assert repo.commits() == [COMMIT, "d" * 40]


def test_a_snapshot_says_what_its_files_should_be(repo: Repo) -> None:
    link(repo)
    link(repo, "../../blobs/d41d8cd98f00b204e9800998ecf8427e", "md5.json")  # a mirror names them in its own way
    link(repo, "../../blobs/" + "b" * 40, "lost.json")
    repo.pointer(COMMIT, "plain.json").write_bytes(b"{}")
    assert repo.held(COMMIT) == (
        RemoteFile("lost.json", 0, "b" * 40),
        RemoteFile("md5.json", 0, ""),
        RemoteFile("plain.json", 2, ""),
        RemoteFile("sub/m.safetensors", 7, BLOB),
    )
    assert repo.held("d" * 40) == ()


# ------------------------------------------------------------------------------------------- the state of one file


def state(repo: Repo, file: RemoteFile = FILE, *, verified: bool = False) -> tuple[bool, bool, bool, int]:
    found = stamp(repo.blob(BLOB))
    one = look.states(repo, COMMIT, [file], {BLOB: found} if verified and found else {})[0]
    return one.linked, one.whole, one.verified, one.here


def test_a_file_is_linked_or_only_here_or_neither(repo: Repo) -> None:
    assert state(repo) == (False, True, False, 7)
    pointer = link(repo)
    assert state(repo) == (True, True, False, 7)
    assert state(repo, verified=True) == (True, True, True, 7)
    repo.blob(BLOB).unlink()
    assert state(repo) == (False, False, False, 0)  # a link to nothing
    pointer.unlink()
    assert state(repo) == (False, False, False, 0)


def test_a_file_of_another_size_is_not_there(repo: Repo) -> None:
    link(repo)
    repo.blob(BLOB).write_bytes(b"weig")
    assert state(repo, verified=True) == (False, False, False, 0)


def test_where_no_hash_is_known_there_is_nothing_to_verify(repo: Repo) -> None:
    repo.pointer(COMMIT, "sub").mkdir(parents=True)
    repo.pointer(COMMIT, FILE.path).write_bytes(b"weights")
    assert state(repo, RemoteFile(FILE.path, 7, "")) == (True, True, True, 7)
    assert state(repo, RemoteFile(FILE.path, 8, "")) == (False, False, False, 0)
