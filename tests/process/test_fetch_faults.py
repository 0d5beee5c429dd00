"""Whatever goes wrong between the Hub and the disk: what came is kept, what is whole is right, and one hears of it."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from fakes.hub_faults import Kind, On
from fakes.sandbox import wait_until
from fetch_kit import FAST, FILES, MIB, MODEL, REPO, SIZE, WEIGHTS, Kit, Namespace, noise

from orchestrator.hub.child import download
from orchestrator.hub.child.job import Tuning, Want
from orchestrator.hub.parts import CHUNK, fetched, part_file

# ------------------------------------------------------------------------------------------------ what passes by itself


@pytest.mark.parametrize("kind", ["reset", "close", "stall", "truncate"])
@pytest.mark.parametrize("after", [0, 700_000, CHUNK, 2 * CHUNK + 1])
def test_a_body_that_ends_early_goes_on_where_it_was(kit: Kit, want: Want, kind: Kind, after: int) -> None:
    fault = kit.hub.fault(kind, MODEL, times=3, after=after)
    told = kit.fetch(want, tuning=replace(FAST, stall=0.2))
    assert fault.hits
    assert kit.whole(want, FILES)
    assert told.result["fetched"] == SIZE + len(FILES["config.json"])
    if kind != "reset":
        assert kit.sent() == SIZE  # a reset takes what the reader had not seen yet


def test_a_connection_that_never_lasts_a_megabyte_still_gets_there(kit: Kit, want: Want) -> None:
    fault = kit.hub.fault("reset", MODEL, times=None, after=200_000)
    kit.fetch(want, tuning=replace(FAST, backoff=0.001))
    assert fault.hits > 90
    assert kit.whole(want, FILES)


@pytest.mark.parametrize("on", ["head", "resolve", "body"])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(kit: Kit, want: Want, status: int, on: On) -> None:
    kit.hub.fault("status", times=3, on=on, status=status)
    kit.fetch(want)
    assert kit.whole(want, FILES)
    assert kit.sent() == SIZE


def dated(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize("header", [lambda: "1", lambda: dated(2)])
def test_who_says_when_to_come_back_is_not_asked_before(kit: Kit, want: Want, header: Callable[[], str]) -> None:
    kit.hub.fault("status", MODEL, on="resolve", status=429, headers={"Retry-After": header()})
    began = time.monotonic()
    told = kit.fetch(want)
    assert time.monotonic() - began >= 0.9  # a date has whole seconds
    assert kit.whole(want, FILES)
    assert sum("/resolve/" in line and MODEL in line for line in kit.requests()) == 2
    assert not told.said


def test_a_long_wait_is_announced(kit: Kit, want: Want) -> None:
    kit.hub.fault("status", MODEL, on="resolve", status=429, headers={"Retry-After": "120"})
    child = kit.start(kit.job(want))
    wait_until(lambda: child.told.said)
    assert child.told.said == [f"{MODEL}: {netloc(kit)} answers 429 Too Many Requests; trying again in 120 s"]
    child.kill(9)


def netloc(kit: Kit) -> str:
    return kit.hub.endpoint.removeprefix("http://")


def test_signed_addresses_that_expire_are_signed_anew(kit: Kit, want: Want) -> None:
    gate = kit.hub.gate(MODEL, after=CHUNK + 1000, times=None)
    child = kit.start(kit.job(want, tuning=replace(FAST, stall=10)))
    assert gate.reached.wait(10)
    kit.hub.expire()
    gate.release()
    child.answer()
    assert kit.whole(want, FILES)
    assert kit.sent() == SIZE
    assert {one.status for one in kit.hub.requests} == {206, 302, 403}
    assert not child.told.said


def test_a_hub_that_goes_down_is_waited_for(kit: Kit, want: Want) -> None:
    gate = kit.hub.gate(MODEL, after=CHUNK + 1000, times=None)
    child = kit.start(kit.job(want, tuning=replace(FAST, attempts=1000)))
    assert gate.reached.wait(10)
    kit.hub.stop()
    wait_until(lambda: child.told.said)
    assert "there is no way to" in child.told.said[0]
    assert "connection refused; trying again" in child.told.said[0]
    kit.hub.faults.clear()
    kit.hub.start()
    child.answer()
    assert kit.whole(want, FILES)
    assert len(child.told.said) == 1


def test_slow_connections_are_no_dead_ones(kit: Kit) -> None:
    files = {MODEL: noise(400_000)}
    want = kit.add(files)
    kit.hub.rate = 300_000
    told = kit.fetch(want, tuning=replace(FAST, stall=0.3))
    assert kit.whole(want, files)
    assert len(kit.hub.requests) == 2
    assert 100_000 < told.pulls()[-1]["rate"] < 600_000


# ------------------------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize("resume", [False, True])
def test_a_server_without_ranges_is_read_from_its_start(kit: Kit, want: Want, resume: bool) -> None:
    if resume:  # with holes, among them one below what is there
        leave_part(kit, want, [1, 3])
    kit.hub.fault("no_range")
    told = kit.fetch(want)
    assert kit.whole(want, FILES)
    assert told.result["fetched"] == SIZE + 8 - (2 * CHUNK if resume else 0)
    assert kit.sent() < 2 * SIZE + 2 * MIB


def test_a_server_without_ranges_that_resets(kit: Kit, want: Want) -> None:
    kit.hub.fault("no_range")
    kit.hub.fault("reset", MODEL, times=4, after=2 * CHUNK + 1000)
    told = kit.fetch(want, tuning=replace(FAST, attempts=20))
    assert kit.whole(want, FILES)
    assert told.result["fetched"] == SIZE + 8


def test_what_is_hashed_is_never_written_again(kit: Kit, want: Want) -> None:
    """A server that loses its ranges in the middle sends what is there once more, and wrong."""
    leave_part(kit, want, [0, 1])
    kit.hub.fault("no_range")
    kit.hub.fault("corrupt", MODEL, times=None, offset=CHUNK + 5)
    kit.fetch(want)
    assert kit.whole(want, FILES)


@pytest.mark.parametrize("times", [1, None])
def test_another_range_than_was_asked_for_is_not_taken(kit: Kit, want: Want, times: int | None) -> None:
    fault = kit.hub.fault("wrong_range", MODEL, times=times)
    leave_part(kit, want, [0])
    if times:
        kit.fetch(want)
        assert kit.whole(want, FILES)
    else:
        error, _ = kit.fails(want)
        assert "sent another range than was asked for: bytes 0-" in error.why
        assert error.why.endswith("(3 tries)")
        assert fault.hits <= 3 * FAST.connections


def leave_part(kit: Kit, want: Want, chunks: list[int]) -> None:
    """What a killed process left: these chunks of the weights."""
    from orchestrator.hub.parts import Part

    part = Part(kit.blob(want), SIZE)
    for index in chunks:
        start, end = part.span(index)
        part.write(start, memoryview(WEIGHTS)[start:end])
        part.mark(index)
    part.close()


# ------------------------------------------------------------------------------------------------------- wrong bytes


@pytest.mark.parametrize("path", [MODEL, "config.json"])
def test_wrong_bytes_of_the_right_size_are_fetched_again(kit: Kit, want: Want, path: str) -> None:
    fault = kit.hub.fault("corrupt", path, offset=3)
    told = kit.fetch(want)
    assert fault.hits == 1
    assert kit.whole(want, FILES)
    assert told.said == [f"{path}: what came is not what the Hub says; fetching it again"]
    done = [pull.get("done", 0) for pull in told.pulls()]
    assert max(done) <= SIZE + 8
    assert done[-1] == SIZE + 8


def test_bytes_that_stay_wrong_get_no_name(kit: Kit, want: Want) -> None:
    kit.hub.fault("corrupt", MODEL, times=None, offset=2 * CHUNK)
    error, _ = kit.fails(want)
    assert "corrupt" in error.why
    assert "HF_ENDPOINT" in error.do
    blob = kit.blob(want)
    assert not blob.exists()
    assert not part_file(blob).exists()
    assert not kit.pointer(want).exists()
    assert kit.pointer(want, "config.json").is_symlink() is False  # no half of a snapshot
    kit.hub.faults.clear()
    kit.fetch(want)
    assert kit.whole(want, FILES)


def test_a_page_in_the_files_place_is_not_taken_for_it(kit: Kit, want: Want) -> None:
    kit.hub.api.repos[REPO].commits[want.commit].files[MODEL]
    kit.hub.fault("no_range")
    kit.hub.fault("truncate", MODEL, times=None, after=1000)
    wrong = replace(want, files=tuple(replace(file, size=file.size + 1) for file in want.files))
    error, _ = kit.fails(wrong)
    assert "bytes of it, and the Hub lists" in error.why


# ----------------------------------------------------------------------------------------------------- what lasts


def test_a_token_that_may_not_read_is_told_apart(kit: Kit) -> None:
    gated = kit.add(FILES, "org/gated", gated=True, token="granted")
    private = kit.add(FILES, "org/private", private=True, token="granted")
    for want, token, why in [
        (gated, None, "it is gated, and no token was sent"),
        (gated, "known", "its owners have not granted access to the account of this token"),
        (private, None, "the Hub wants a token for it (401)"),
    ]:
        error, _ = kit.fails(want, token=token)
        assert error.why == why
    assert len(kit.hub.requests) <= 3 * len(FILES)  # asked once
    kit.hub.revoke("old")
    assert kit.fails(private, token="old")[0].why == "the Hub refuses this token (401)"
    kit.fetch(gated, private, token="granted")
    assert kit.whole(gated, FILES)
    assert kit.whole(private, FILES)


@pytest.mark.parametrize(
    ("status", "on", "why"),
    [
        (404, "resolve", "the Hub lists model.safetensors and does not have it"),
        (416, "resolve", "answers 416 Requested Range Not Satisfiable (3 tries)"),
        (418, "resolve", "answers 418 I'm a Teapot"),
        (403, "body", "answers 403 Forbidden (3 tries)"),
        (404, "body", "answers 404 Not Found (3 tries)"),
        (503, "body", "answers 503 Service Unavailable (4 tries)"),
        (503, "resolve", "answers 503 Service Unavailable (4 tries)"),
    ],
)
def test_what_lasts_ends_it(kit: Kit, want: Want, status: int, on: On, why: str) -> None:
    kit.hub.fault("status", MODEL, times=None, on=on, status=status)
    error, _ = kit.fails(want)
    assert why in error.why
    assert MODEL in error.what or REPO in error.what
    assert not kit.memory.pull_file(kit.repo()).exists()
    kit.hub.faults.clear()
    kit.fetch(want)
    assert kit.whole(want, FILES)
    assert kit.sent() == SIZE


def test_a_body_that_never_begins_ends_it_by_and_by(kit: Kit, want: Want) -> None:
    kit.hub.fault("stall", MODEL, times=None, after=0)
    error, told = kit.fails(want, tuning=replace(FAST, stall=0.1, attempts=3))
    assert error.why == "nothing came for 0.1 s (3 tries)"
    assert "check the network" in error.do
    assert not told.said  # it took less than anybody would wonder


def test_redirects_in_a_circle(kit: Kit, want: Want, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit.hub.api, "cdn", kit.hub.endpoint)
    kit.hub.fault("status", "/lfs/", times=None, on="any", status=302, headers={"Location": "/lfs/0/again"})
    error, _ = kit.fails(want)
    assert error.why == f"{kit.hub.endpoint} redirects in a circle"


def test_an_error_is_told_while_other_connections_hang(kit: Kit, want: Want) -> None:
    kit.hub.fault("stall", MODEL, times=None, after=1000)
    other = kit.add({"x.safetensors": noise(2 * CHUNK, 1)}, "org/gated", gated=True)
    began = time.monotonic()
    error, _ = kit.fails(want, other, tuning=replace(FAST, stall=20))
    assert "gated" in error.why
    assert time.monotonic() - began < 5
    kit.hub.faults.clear()


def test_trouble_is_told_before_it_ends_anything(kit: Kit, want: Want) -> None:
    """With the tunings that are shipped."""
    kit.hub.fault("status", MODEL, times=None, status=503)
    began = time.monotonic()
    child = kit.start(kit.job(want, tuning=Tuning()))
    wait_until(lambda: child.told.said)
    assert time.monotonic() - began < 5
    assert "answers 503 Service Unavailable; trying again in" in child.told.said[0]
    kit.hub.faults.clear()
    child.answer()
    assert kit.whole(want, FILES)


def test_a_bug_in_a_thread_is_an_error_and_no_silence(kit: Kit, want: Want, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of a test")

    for place in ("download.new_hash", "sources._pour"):
        with monkeypatch.context() as patch:
            patch.setattr(f"orchestrator.hub.child.{place}", broken)
            error, _ = kit.fails(want)
        assert error.why == "ZeroDivisionError inside orch: of a test"
    kit.fetch(want)
    assert kit.whole(want, FILES)


def test_a_host_without_threads_to_spare(kit: Kit, want: Want, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the processes of a container are counted."""
    made: list[Thread] = []

    class Counted(Thread):
        def start(self) -> None:
            made.append(self)
            if len(made) > 3:
                raise RuntimeError("can't start new thread")
            super().start()

    with monkeypatch.context() as patch:
        patch.setattr(download, "threading", SimpleNamespace(**{**vars(threading), "Thread": Counted}))
        error, _ = kit.fails(want)
    assert error.why == "RuntimeError inside orch: can't start new thread"
    kit.fetch(want)
    assert kit.whole(want, FILES)


# --------------------------------------------------------------------------------------------------------------- disk


def test_a_disk_that_is_too_small_is_told_before_anything_comes(kit: Kit) -> None:
    want = kit.add(FILES, sizes={MODEL: 10**15})
    error, _ = kit.fails(want)
    assert "are still to come and" in error.why
    assert "`orch models`" in error.do
    assert not kit.hub.requests


def test_a_disk_that_fills_up_keeps_what_came(kit: Kit, want: Want, namespace: Namespace) -> None:
    """Another writer takes the space that was there at the start."""
    kit.cache.mkdir(parents=True)
    script = f"mount -t tmpfs -o size=40m none {kit.cache}"
    gate = kit.hub.gate(MODEL, after=CHUNK // 2, times=None)
    child = kit.start(kit.job(want, tuning=replace(FAST, stall=10)), within=namespace(script))
    assert gate.reached.wait(10)
    inside = Path(f"/proc/{child.process.pid}/root{kit.cache}")
    (inside / "other").write_bytes(bytes(28 * MIB))
    gate.release()
    error = child.fails()
    assert "is full" in error.why
    assert error.do.endswith("repeat: what came is kept")
    held = fetched(inside / kit.blob(want).relative_to(kit.cache), SIZE)
    assert 0 < held < SIZE
    sent = kit.sent()
    (inside / "other").unlink()
    child.ask(kit.job(want))
    assert child.answer().result["fetched"] in (SIZE - held, SIZE - held + 8)
    assert kit.sent() - sent == SIZE - held
    assert (inside / kit.pointer(want).relative_to(kit.cache)).read_bytes() == WEIGHTS
