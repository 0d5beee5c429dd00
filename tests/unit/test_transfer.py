"""The transfer against sources that fail in every way: what comes out is right, or it is an error; never a silence."""

import hashlib
import os
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import FetchFailed
from orchestrator.hub import parts
from orchestrator.hub.child import download, lanes
from orchestrator.hub.child.download import Transfer
from orchestrator.hub.child.job import Tuning
from orchestrator.hub.child.problems import Passing
from orchestrator.hub.child.sources import Remote, Sink
from orchestrator.hub.parts import Part
from orchestrator.model import RemoteFile

SMALL = 64
TUNING = Tuning(connections=4, run=4, attempts=5, backoff=1e-4, longest=1e-3)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (parts, download):
        monkeypatch.setattr(module, "CHUNK", SMALL)
    monkeypatch.setattr(lanes, "FEW", TUNING.connections)
    yield


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass(eq=False)
class Script:
    """Answers each request by the next of its acts; without any left, as it should."""

    contents: dict[str, bytes]
    acts: deque[str] = field(default_factory=deque)
    ranged: bool = True
    asked: list[tuple[int, int]] = field(default_factory=list)

    def read(self, remote: Remote, start: int, end: int, sink: Sink) -> None:
        self.asked.append((start, end))
        act = self.acts.popleft() if self.acts else ""
        if act == "refuses":
            raise Passing("not now")
        if act == "has no ranges":
            self.ranged = False
        remote.ranged = self.ranged
        data = bytearray(self.contents[remote.file.path])
        if act == "lies":
            data[(start + end) // 2] ^= 1
        if act == "sends more":
            end = min(len(data), end + 100)
        stop = (start + end) // 2 if act == "breaks" else end
        while start < stop:
            piece = min(stop, start + random.Random(start).randint(1, 150))
            sink(memoryview(data)[start:piece])
            start = piece
        if act == "breaks":
            raise Passing("it broke")


ACTS = st.sampled_from(["", "refuses", "breaks", "breaks", "sends more", "has no ranges"])


@dataclass
class World:
    """A folder, and what the transfer reported."""

    folder: Path
    bytes: int = 0
    peak: int = 0
    done: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on_bytes(self, count: int) -> None:
        with self.lock:
            self.bytes += count
            self.peak = max(self.peak, self.bytes)

    def on_file(self, file: RemoteFile, blob: Path) -> None:
        assert blob.exists()
        self.done.append(file.path)

    def transfer(self, fallback: Script | None = None, tuning: Tuning = TUNING) -> Transfer:
        return Transfer(tuning, self.on_bytes, self.on_file, self.said.append, fallback)

    def remote(self, path: str, data: bytes) -> tuple[Remote, Path]:
        digest = hashlib.sha256(data).hexdigest()
        return Remote("org/m", "c" * 40, RemoteFile(path, len(data), digest)), self.folder / digest


def bounded(run: Callable[[], None]) -> None:
    """A deadlock is a failure and no silence."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 (raised again below)
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 12 * SMALL), min_size=1, max_size=5),
    acts=st.lists(ACTS, max_size=12),
    had=st.sets(st.integers(0, 12)),
    ranged=st.booleans(),
)
def test_whatever_passes_ends_in_right_files(sizes: list[int], acts: list[str], had: set[int], ranged: bool) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        contents = {f"{index}": content(size, index) for index, size in enumerate(sizes)}
        contents = {path: data for data, path in {data: path for path, data in contents.items()}.items()}
        source = Script(contents, deque(acts), ranged)
        wanted = [(*world.remote(path, data), source) for path, data in contents.items()]
        here = sum(leave(blob, contents[remote.file.path], had) for remote, blob, _ in wanted)
        tuning = Tuning(connections=4, run=4, attempts=20, backoff=1e-5, longest=1e-4)
        bounded(lambda: world.transfer(tuning=tuning).fetch(wanted))
        for remote, blob, _ in wanted:
            assert blob.read_bytes() == contents[remote.file.path]
        assert sorted(world.done) == sorted(contents)
        assert world.bytes == world.peak == sum(map(len, contents.values())) - here
        assert {path.suffix for path in world.folder.iterdir()} == {""}


def leave(blob: Path, data: bytes, chunks: set[int]) -> int:
    """These chunks are there; the bytes of them."""
    part = Part(blob, len(data))
    for index in chunks & set(part.missing()):
        start, end = part.span(index)
        part.write(start, memoryview(data)[start:end])
        part.mark(index)
    part.close()
    return parts.fetched(blob, len(data))


@settings(deadline=None)
@given(acts=st.lists(st.sampled_from(["", "lies", "breaks", "refuses"]), max_size=20), size=st.integers(1, 9 * SMALL))
def test_wrong_bytes_never_get_a_name(acts: list[str], size: int) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        data = content(size, 1)
        remote, blob = world.remote("a", data)
        try:
            bounded(lambda: world.transfer().fetch([(remote, blob, Script({"a": data}, deque(acts)))]))
        except FetchFailed as error:
            assert "corrupt" in error.why or "tries" in error.why
            assert not blob.exists()
        else:
            assert blob.read_bytes() == data
            assert world.bytes == size
        assert world.peak <= size


def test_another_source_takes_over_for_all_files(tmp_path: Path) -> None:
    world, contents = World(tmp_path), {f"{index}": content(5 * SMALL, index) for index in range(6)}
    broken, plain = Script(contents, deque(["breaks", *["refuses"] * 1000])), Script(contents)
    bounded(
        lambda: world.transfer(plain).fetch([(*world.remote(path, data), broken) for path, data in contents.items()])
    )
    assert len(world.done) == 6
    assert world.said == [line for line in world.said if line.endswith("not now; going on over plain HTTP")]
    assert len(world.said) == 1
    assert len(broken.asked) < 6 * TUNING.attempts
    assert world.bytes == 30 * SMALL


def test_one_asks_first_and_the_others_wait_for_its_answer(tmp_path: Path) -> None:
    """A server without ranges would send the whole file to each."""
    world, data = World(tmp_path), content(10 * SMALL, 1)
    source = Script({"a": data}, ranged=False)
    bounded(lambda: world.transfer().fetch([(*world.remote("a", data), source)]))
    assert source.asked == [(0, SMALL), (SMALL, 10 * SMALL)]


def test_nothing_wanted_is_nothing_done(tmp_path: Path) -> None:
    World(tmp_path).transfer().fetch([])


@pytest.mark.parametrize("where", ["on_bytes", "on_file", "say"])
def test_an_error_anywhere_is_told(tmp_path: Path, where: str) -> None:
    def broken(*_: object) -> None:
        raise KeyError("of a test")

    world, data = World(tmp_path), content(10 * SMALL, 1)
    transfer = world.transfer()
    setattr(transfer, where, broken)
    with pytest.raises(FetchFailed) as caught:
        bounded(lambda: transfer.fetch([(*world.remote("a", data), Script({"a": data}, deque(["lies"])))]))
    assert caught.value.why == "KeyError inside orch: 'of a test'"


def test_a_part_that_is_cut_meanwhile_comes_again(tmp_path: Path) -> None:
    """Somebody frees space where he should not."""
    world, data = World(tmp_path), content(10 * SMALL, 1)
    remote, blob = world.remote("a", data)
    leave(blob, data, set(range(1, 10)))

    class Cutting(Script):
        def read(self, remote: Remote, start: int, end: int, sink: Sink) -> None:
            if not self.asked:
                os.truncate(parts.part_file(blob), 2 * SMALL)
            super().read(remote, start, end, sink)

    bounded(lambda: world.transfer().fetch([(remote, blob, Cutting({"a": data}))]))
    assert blob.read_bytes() == data
