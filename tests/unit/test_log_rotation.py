"""What an engine wrote is moved behind its back: nothing is lost, nothing is said twice, and all stays bounded."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import log_parts, log_rotation
from orchestrator.errors import HostError
from orchestrator.log_parts import Written, before, copies, copy, first, parts
from orchestrator.log_rotation import prune, rotate, too_long

NAME = "00001-0123abcd.log"
KIB = 1024


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / NAME


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_parts, "LIMIT", 40 * KIB)
    monkeypatch.setattr(log_rotation, "HEAD", KIB)
    monkeypatch.setattr(log_rotation, "TOTAL", 200 * KIB)


@pytest.fixture(params=["taken out", "cut short"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As this file system does it, which may be the second one, and as those do that cannot take out a range."""
    if request.param == "cut short":
        monkeypatch.setattr(log_rotation, "_collapse", lambda _file, _size: False)


def lines(start: int, end: int) -> bytes:
    return b"".join(b"line %06d\n" % number for number in range(start, end))


def add(log: Path, text: bytes) -> None:
    with log.open("ab") as stream:
        stream.write(text)


def whole(log: Path, back: int | None = None) -> bytes:
    with closing(Written(log, back)) as written:
        return b"".join(written.all())


@pytest.mark.usefixtures("way")
def test_a_log_within_bounds_must_be_left_alone_and_a_longer_one_moved(log: Path) -> None:
    add(log, lines(0, 3000))
    assert too_long(log.parent) == []
    assert not rotate(log)
    add(log, lines(3000, 5000))
    assert too_long(log.parent) == [log]
    assert rotate(log)
    assert log.stat().st_size <= 4096
    assert parts(log) == [before(log)]
    assert whole(log) == lines(0, 5000)
    assert before(log).stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("way")
def test_how_it_began_must_outlive_any_number_of_rotations(log: Path) -> None:
    for at in range(0, 25_000, 5000):
        add(log, lines(at, at + 5000))
        assert rotate(log)
    assert parts(log) == [first(log), before(log)]
    shown = whole(log)
    head = first(log).read_bytes()
    assert KIB - 12 <= len(head) <= KIB
    assert head.endswith(b"\n")
    assert shown.startswith(head + before(log).read_bytes()[:100])
    assert lines(0, 25_000).startswith(head)
    assert lines(0, 25_000).endswith(shown[len(head) :])
    assert shown.endswith(lines(21_000, 25_000))


@pytest.mark.usefixtures("way")
def test_one_that_grew_unwatched_must_keep_how_it_began_and_its_end(log: Path) -> None:
    add(log, lines(0, 50_000))
    assert rotate(log)
    assert sum(path.stat().st_size for path in (log, *parts(log))) <= 41 * KIB
    assert whole(log).startswith(lines(0, 80))
    assert whole(log).endswith(lines(47_000, 50_000))


@pytest.mark.usefixtures("way")
def test_what_is_written_while_it_is_copied_must_not_be_lost(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(log, lines(0, 5000))
    pread, more = os.pread, iter(range(5000, 5010))

    def busy(file: int, count: int, at: int) -> bytes:
        if (number := next(more, None)) is not None:
            add(log, lines(number, number + 1))
        return pread(file, min(count, 20 * KIB), at)

    monkeypatch.setattr(os, "pread", busy)
    assert rotate(log)
    monkeypatch.undo()
    assert next(more, None) is None
    assert whole(log) == lines(0, 5010)


CUTS = st.tuples(st.integers(0, 600), st.integers(0, 600))


@settings(max_examples=60, deadline=None)
@given(text=st.text("ab\n", max_size=200), cuts=CUTS, back=st.none() | st.integers(0, 700), pending=st.integers(0, 3))
def test_whatever_the_split_the_parts_must_be_read_as_one(
    tmp_path_factory: pytest.TempPathFactory, text: str, cuts: tuple[int, int], back: int | None, pending: int
) -> None:
    """``pending``: whoever rotated was killed before the cut, after it, after the head was kept, or (0) not at all."""
    log = tmp_path_factory.mktemp("parts") / NAME
    said = text.encode() * 3
    one, two = sorted(min(cut, len(said)) for cut in cuts)
    gap = b"how it began\n"
    if pending == 0:
        pieces = [said[:one], said[one:two], said[two:]]
        for path, piece in zip((first(log), before(log), log), pieces, strict=True):
            if piece or path == log:
                path.write_bytes(piece)
    elif pending == 1:
        before(log).write_bytes(said[:one])
        copy(log, 0).write_bytes(said[one:two])
        log.write_bytes(said[one:])
    elif pending == 2:
        before(log).write_bytes(said[:one])
        copy(log, 0).write_bytes(b"c" + said[one:two])
        log.write_bytes(said[two:])
        said = said[:one] + b"c" + said[one:]
    else:
        first(log).write_bytes(gap)
        before(log).write_bytes(gap + said[:one])
        copy(log, 0).write_bytes(b"c" + said[one:two])
        log.write_bytes(said[two:])
        said = gap + said[:one] + b"c" + said[one:]
    assert whole(log, back) == (said if back is None else said[max(0, len(said) - back) :])


STEP = st.tuples(st.integers(0, 6000), st.booleans(), st.integers(0, 30))


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 6000), st.booleans(), st.integers(0, 30)), max_size=12), cut=st.booleans()
)
def test_whoever_follows_must_get_each_byte_once_however_often_it_is_rotated(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool, int]], cut: bool
) -> None:
    """It reads so many times after each step: it may lag behind, but by less than what a rotation drops."""
    log = tmp_path_factory.mktemp("followed") / NAME
    log.touch()
    wrote, heard = 0, b""
    with pytest.MonkeyPatch.context() as patch, closing(Written(log)) as reader:
        patch.setattr(log_parts, "MOST", 4 * KIB)
        if cut:
            patch.setattr(log_rotation, "_collapse", lambda _file, _size: False)
        for count, turns, reads in steps:
            add(log, lines(wrote, wrote + count))
            wrote += count
            if turns and log.stat().st_size <= 2 * log_parts.LIMIT and rotate(log):
                heard += b"".join(reader.all())
            for _ in range(reads):
                heard += reader.read()
        heard += b"".join(reader.all())
    assert heard == lines(0, wrote)


def test_a_follower_must_go_on_where_a_very_long_log_lost_its_middle(log: Path) -> None:
    with closing(Written(log)) as reader:
        add(log, lines(0, 50_000))
        assert b"".join(reader.all()) == lines(0, 50_000)
        assert rotate(log)
        add(log, lines(50_000, 50_010))
        assert b"".join(reader.all()) == lines(50_000, 50_010)


def killed_at(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(log_rotation, step, killed)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("step", ["_cut", "_name", "_keep_head"])
@pytest.mark.parametrize("times", [0, 1, 2])
@pytest.mark.parametrize("long", [False, True])
def test_a_rotation_that_was_killed_must_be_undone_or_done_by_the_next(
    log: Path, monkeypatch: pytest.MonkeyPatch, step: str, times: int, long: bool
) -> None:
    for at in range(times):
        add(log, lines(at * 5000, at * 5000 + 5000))
        assert rotate(log)
    end = times * 5000 + (50_000 if long else 5000)
    add(log, lines(times * 5000, end))
    seen = whole(log)
    with monkeypatch.context() as patch:
        killed_at(step, patch)
        try:
            rotate(log)
        except KeyboardInterrupt:
            assert whole(log) == seen or long
            assert len(copies(log)) == 1
            assert too_long(log.parent) == [log]
    rotate(log)
    assert copies(log) == []
    add(log, lines(end, end + 10))
    shown = whole(log)
    assert shown.startswith(lines(0, 80))
    assert shown.endswith(lines(end - 3000, end + 10))
    head = first(log).stat().st_size if first(log).exists() else 0
    assert lines(0, end + 10).endswith(shown[head:]), "a line is missing after the head, or is there twice"


def test_without_room_for_a_copy_all_must_stay_as_it_is(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(log, lines(0, 5000))
    monkeypatch.setattr(log_rotation, "free", lambda _: 50 * KIB)
    with pytest.raises(HostError, match=r"cannot rotate .*: No space left on device; it goes on growing; free some"):
        rotate(log)
    assert log.read_bytes() == lines(0, 5000)
    assert [path.name for path in log.parent.iterdir()] == [NAME]


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_disk_that_fills_up_meanwhile_must_cost_nothing(
    log: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    add(log, lines(0, 6000))
    with monkeypatch.context() as patch:
        fail_at(call, patch)
        with pytest.raises(HostError, match="No space left"):
            rotate(log)
    for _ in range(2):
        assert whole(log) == lines(0, 6000)
        rotate(log)
    assert before(log).exists()


def fail_at(call: int, patch: pytest.MonkeyPatch) -> None:
    """Writing to the copy fails at that call, after half of it was written."""
    write, calls = os.write, iter(range(1, 100))

    def full(file: int, chunk: bytes) -> int:
        if next(calls) >= call:
            write(file, chunk[: len(chunk) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, chunk)

    patch.setattr(os, "write", full)
    patch.setattr(log_rotation, "MOST", 20 * KIB)


def test_what_is_no_log_of_orchs_own_must_not_be_touched(tmp_path: Path) -> None:
    other, elsewhere = tmp_path / "mine.log", tmp_path / "elsewhere"
    elsewhere.write_bytes(lines(0, 5000))
    other.write_bytes(lines(0, 5000))
    (tmp_path / NAME).symlink_to(elsewhere)
    (tmp_path / "00002-0123abcd.log").write_bytes(b"journal:orch-x.service\n" + lines(0, 5000))
    for log in too_long(tmp_path):
        assert not rotate(log)
    assert elsewhere.read_bytes() == other.read_bytes() == lines(0, 5000)
    (tmp_path / "mine.log.1").write_text("of logrotate")
    assert whole(other) == lines(0, 5000)


def test_two_must_not_rotate_one_log_at_once(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(log, lines(0, 5000))
    cut, seen = log_rotation._cut, []

    def other_comes(file: int, made: int, start: int) -> None:
        seen.append(rotate(log))
        cut(file, made, start)

    monkeypatch.setattr(log_rotation, "_cut", other_comes)
    assert rotate(log)
    assert seen == [False]
    assert whole(log) == lines(0, 5000)


@pytest.fixture
def started(tmp_path: Path) -> Callable[[int, int], Path]:
    def make(number: int, size: int) -> Path:
        log = tmp_path / f"{number:05d}-0123abcd.log"
        log.write_bytes(b"x" * size)
        for name in (before(log), log.with_suffix(".json"), log.with_suffix(".dump")):
            name.write_bytes(b"y" * 10)
        return log

    return make


def kept(folder: Path) -> set[int]:
    """The numbers of the starts of which anything is kept."""
    return {int(path.name.lstrip(".")[:5]) for path in folder.iterdir()}


def test_the_oldest_starts_must_go_with_all_that_is_beside_them(
    tmp_path: Path, started: Callable[[int, int], Path]
) -> None:
    for number in range(1, 14):
        started(number, 10)
    (tmp_path / "00001-notes.txt").touch()
    prune(tmp_path, frozenset())
    assert kept(tmp_path) - {1} == set(range(4, 14))
    assert [path.name for path in tmp_path.glob("00001*")] == ["00001-notes.txt"]


def test_what_is_too_large_together_must_go_but_for_the_newest_and_the_spared(
    tmp_path: Path, started: Callable[[int, int], Path]
) -> None:
    logs = [started(number, 60 * KIB) for number in range(1, 7)]
    prune(tmp_path, {logs[1].stem})
    assert kept(tmp_path) == {2, 5, 6}
    logs[-1].write_bytes(b"x" * 300 * KIB)
    prune(tmp_path, {logs[1].stem})
    assert kept(tmp_path) == {2, 6}


@pytest.fixture
def elsewhere(other_disk: Path) -> Iterator[Path]:
    """A log on a file system that may not be able to take a range out of a file."""
    yield other_disk / NAME


def test_it_must_work_on_another_file_system_too(elsewhere: Path) -> None:
    for at in range(0, 15_000, 5000):
        add(elsewhere, lines(at, at + 5000))
        assert rotate(elsewhere)
    assert whole(elsewhere).endswith(lines(11_000, 15_000))
    assert first(elsewhere).exists()
