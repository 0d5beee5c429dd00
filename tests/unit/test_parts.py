"""A file on its way believes what was written and marked, and nothing else, whatever happens to it."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.hub import parts
from orchestrator.hub.parts import CHUNK, Part, fetched, map_file, part_file

SMALL = 64  # bytes a chunk, for files of many chunks


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(parts, "CHUNK", SMALL)
    yield


def spans(size: int) -> list[tuple[int, int]]:
    return [(start, min(start + SMALL, size)) for start in range(0, size, SMALL)]


class Life(RuleBasedStateMachine):
    """A part through writes, marks, crashes and damage, beside what was truly done to it."""

    @initialize(size=st.integers(0, 20 * SMALL))
    def begin(self, size: int) -> None:
        self.folder = TemporaryDirectory()
        self.blob, self.size, self.truth = Path(self.folder.name, "blobs", "b"), size, set[int]()
        self.content = random.Random(size).randbytes(size)
        self.part = Part(self.blob, size)

    def teardown(self) -> None:
        if hasattr(self, "part"):
            self.part.close()
            self.folder.cleanup()

    @precondition(lambda self: self.size)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """Anywhere, without a mark."""
        start = data.draw(st.integers(0, self.size - 1))
        end = data.draw(st.integers(start, self.size))
        self.part.write(start, memoryview(self.content)[start:end])

    @precondition(lambda self: self.size)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(spans(self.size)) - 1))
        start, end = self.part.span(index)
        self.part.write(start, memoryview(self.content)[start:end])
        self.part.mark(index)
        self.truth.add(index)

    @rule()
    def crash(self) -> None:
        """What was in memory is gone."""
        self.part.close()
        self.part = Part(self.blob, self.size)

    @rule()
    def forget(self) -> None:
        self.part.forget()
        self.truth.clear()

    @rule(noise=st.binary(min_size=1, max_size=12), where=st.integers(0, 100), zero=st.booleans())
    def damage(self, noise: bytes, where: int, zero: bool) -> None:
        """The map is overwritten in part; what it says no more has to come again. A mark made by chance is found by the
        hash, not here."""
        noise = noise.replace(b"\1", b"\2")
        self.part.close()
        held = bytearray(map_file(self.blob).read_bytes())
        noise = (bytes(len(noise)) if zero else noise)[: max(0, len(held) - where)]
        held[where : where + len(noise)] = noise
        map_file(self.blob).write_bytes(held)
        self.reopen()

    @rule(length=st.integers(0, 100), file=st.sampled_from([map_file, part_file]))
    def cut(self, length: int, file: object) -> None:
        path = map_file(self.blob) if file is map_file else part_file(self.blob)
        self.part.close()
        os.truncate(path, min(length, path.stat().st_size))
        self.reopen()

    def reopen(self) -> None:
        self.part = Part(self.blob, self.size)
        believed = set(range(len(spans(self.size)))) - set(self.part.missing())
        assert believed <= self.truth
        self.truth = believed

    @invariant()
    def it_believes_what_is_true(self) -> None:
        if not hasattr(self, "part"):
            return
        every = spans(self.size)
        assert self.part.missing() == [index for index in range(len(every)) if index not in self.truth]
        assert fetched(self.blob, self.size) == sum(every[index][1] - every[index][0] for index in self.truth)
        for index in self.truth:
            start, end = every[index]
            buffer = bytearray(end - start)
            assert self.part.has(index)
            assert self.part.read(start, memoryview(buffer)) == len(buffer)
            assert bytes(buffer) == self.content[start:end]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, deadline=None)


@given(size=st.integers(1, 10 * SMALL), other=st.integers(1, 10 * SMALL))
def test_marks_are_of_one_size_of_file(size: int, other: int) -> None:
    with TemporaryDirectory() as folder:
        blob = Path(folder, "b")
        part = Part(blob, size)
        for index in part.missing():
            part.mark(index)
        part.close()
        os.truncate(part_file(blob), other)
        assert fetched(blob, other) == (size if other == size else 0)


def test_marks_are_of_one_size_of_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part(tmp_path / "b", 40)
    part.mark(0)
    part.close()
    monkeypatch.setattr(parts, "CHUNK", 2 * SMALL)
    assert fetched(tmp_path / "b", 40) == 0


@given(noise=st.binary(min_size=40, max_size=40))
def test_noise_is_no_map(noise: bytes) -> None:
    with TemporaryDirectory() as folder:
        blob = Path(folder, "b")
        Part(blob, 10 * SMALL).close()
        map_file(blob).write_bytes(noise)
        assert fetched(blob, 10 * SMALL) == 0


def test_a_finished_part_is_the_blob_and_leaves_nothing(tmp_path: Path) -> None:
    for size in (0, 1, SMALL, SMALL + 1):
        blob = tmp_path / f"{size}"
        part = Part(blob, size)
        part.write(0, memoryview(bytes(size)))
        part.finish()
        assert blob.read_bytes() == bytes(size)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "64", "65"]


def test_a_map_that_outlived_its_part_is_not_believed(tmp_path: Path) -> None:
    """Killed between giving the blob its name and deleting the map; later the blob is found corrupt."""
    blob = tmp_path / "b"
    part = Part(blob, 3 * SMALL)
    for index in part.missing():
        part.mark(index)
    part.close()
    part_file(blob).replace(blob)
    assert fetched(blob, 3 * SMALL) == 0
    again = Part(blob, 3 * SMALL)
    assert again.missing() == [0, 1, 2]
    again.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]


def test_it_takes_no_more_of_the_disk_than_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "CHUNK", CHUNK)
    part = Part(tmp_path / "b", 1 << 34)
    part.write(1 << 33, memoryview(b"x"))
    part.close()
    assert part_file(tmp_path / "b").stat().st_blocks * 512 < 1 << 20
