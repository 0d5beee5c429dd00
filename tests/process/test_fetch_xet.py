"""Xet through the real hf_xet, and the hf_transfer package for those who ask for it."""

import sys
from dataclasses import replace

import pytest
from fakes.hub_faults import On
from fakes.sandbox import wait_until
from fetch_kit import FAST, MIB, MODEL, Kit, noise

from orchestrator.hub.child.job import Tuning, Want
from orchestrator.hub.parts import CHUNK, fetched

SIZE = 24 * MIB + 777
FILES = {"config.json": b"{}", MODEL: noise(SIZE)}


@pytest.fixture
def want(kit: Kit) -> Want:
    return kit.add(FILES, xet=True)


def by_xet(kit: Kit) -> int:
    return kit.hub.sent(MODEL, "cas")


def by_http(kit: Kit) -> int:
    return kit.hub.sent(MODEL, "cdn")


@pytest.mark.parametrize("transfer", ["auto", "xet"])
def test_what_the_hub_stores_so_comes_by_xet(kit: Kit, want: Want, transfer: str) -> None:
    kit.run(want, transfer=transfer)
    assert kit.whole(want, FILES)
    assert SIZE < by_xet(kit) < SIZE + MIB  # headers between the chunks
    assert by_http(kit) == 0


@pytest.mark.parametrize("on", ["transfer", "variable"])
def test_it_can_be_turned_off(kit: Kit, want: Want, on: str) -> None:
    env = {"HF_HUB_DISABLE_XET": "1"} if on == "variable" else {}
    kit.run(want, env=env, transfer="ranged" if on == "transfer" else "auto")
    assert kit.whole(want, FILES)
    assert (by_xet(kit), by_http(kit)) == (0, SIZE)


def test_it_cannot_be_wanted_and_turned_off(kit: Kit, want: Want) -> None:
    error = kit.start(kit.job(want, transfer="xet"), {"HF_HUB_DISABLE_XET": "1"}).fails()
    assert error.why == "cache.transfer is xet and HF_HUB_DISABLE_XET is set"


def test_without_hf_xet(kit: Kit, want: Want, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hf_xet", None)
    error, _ = kit.fails(want, transfer="xet")
    assert error.why == "cache.transfer is xet and hf_xet is not installed where orch is"
    kit.fetch(want)
    assert kit.whole(want, FILES)
    assert by_http(kit) == SIZE


@pytest.mark.parametrize("signum", [9, 15, 2])
def test_it_goes_on_after_a_kill(kit: Kit, want: Want, signum: int) -> None:
    tuning = replace(FAST, run=1, connections=2, stall=10)
    kit.hub.rate = 40e6
    child = kit.start(kit.job(want, tuning=tuning))
    wait_until(lambda: fetched(kit.blob(want), SIZE) >= 2 * CHUNK)
    child.kill(signum)
    wait_until(lambda: not any(origin.living for origin in kit.hub.origins))
    kit.hub.rate = None
    held, sent = fetched(kit.blob(want), SIZE), by_xet(kit)
    kit.run(want, tuning=tuning)
    assert kit.whole(want, FILES)
    assert by_xet(kit) - sent < SIZE - held + MIB
    assert by_http(kit) == 0


@pytest.mark.parametrize(
    ("status", "on"), [(503, "cas"), (403, "cas"), (404, "cas"), (500, "body"), (403, "body"), (503, "api")]
)
def test_plain_http_where_it_fails(kit: Kit, want: Want, status: int, on: On) -> None:
    kit.hub.fault("status", "/xorbs/" if on == "body" else "", times=None, on=on, status=status)
    told = kit.run(want)
    assert kit.whole(want, FILES)
    assert (by_xet(kit), by_http(kit)) == (0, SIZE) or on == "body"
    assert [line for line in told.said if line.endswith("going on over plain HTTP")] == told.said[-1:]


@pytest.mark.parametrize("kind", ["down", "silent"])
def test_plain_http_where_nobody_is(kit: Kit, want: Want, kind: str) -> None:
    cas = next(origin for origin in kit.hub.origins if origin.name == "cas")
    if kind == "down":
        cas.stop()
    else:
        kit.hub.gate("/xorbs/", times=None)
    told = kit.run(want, tuning=replace(Tuning(), stall=0.5))
    assert kit.whole(want, FILES)
    assert by_http(kit) == SIZE
    assert told.said[-1].endswith("going on over plain HTTP")


def test_a_stream_that_breaks_goes_on_where_it_was(kit: Kit, want: Want) -> None:
    fault = kit.hub.fault("reset", "/xorbs/", times=2, after=200_000)
    kit.run(want)
    assert fault.hits == 2
    assert kit.whole(want, FILES)
    assert by_http(kit) == 0


def test_wrong_bytes_are_not_kept(kit: Kit, want: Want) -> None:
    """hf_xet compares nothing."""
    kit.hub.fault("corrupt", "/xorbs/", offset=100_000)
    told = kit.run(want)
    assert told.said == [f"{MODEL}: what came is not what the Hub says; fetching it again"]
    assert kit.whole(want, FILES)


def test_a_token_goes_to_the_hub_and_no_further(kit: Kit) -> None:
    want = kit.add(FILES, "org/private", xet=True, private=True, token="hf_secret")
    kit.run(want, token="hf_secret")
    assert kit.whole(want, FILES)
    assert by_http(kit) == 0
    assert {one.origin for one in kit.hub.requests if "hf_secret" in one.headers.get("authorization", "")} == {"hub"}


# --------------------------------------------------------------------------------------------------------- hf_transfer

LARGE = {"config.json": b"{}", MODEL: noise(25 * MIB + 7), "small.safetensors": noise(MIB, 2)}


def test_hf_transfer_is_called_for_large_files(kit: Kit) -> None:
    want = kit.add(LARGE, "org/private", private=True, token="hf_secret")
    told = kit.run(want, transfer="hf_transfer", token="hf_secret")
    assert kit.whole(want, LARGE)
    spans = {one.headers.get("range") for one in kit.hub.requests if MODEL in one.path and one.origin == "cdn"}
    assert f"bytes={10 * MIB}-{20 * MIB - 1}" in spans  # nobody else asks so
    assert {one.origin for one in kit.hub.requests if "authorization" in one.headers} == {"hub"}
    total = sum(map(len, LARGE.values()))
    assert told.pulls()[-1]["done"] == total
    assert told.result == {"fetched": total, "hashed": 0}


def test_wrong_bytes_of_hf_transfer_get_no_name(kit: Kit) -> None:
    want = kit.add(LARGE)
    kit.hub.fault("corrupt", MODEL, times=None, offset=15 * MIB)
    error = kit.start(kit.job(want, transfer="hf_transfer")).fails()
    assert error.why == "hf_transfer brought other bytes than the Hub says"
    assert not [path for path in kit.blob(want).parent.iterdir() if path.name.startswith(kit.blob(want).name)]


def test_the_progress_of_hf_transfer_is_told(kit: Kit) -> None:
    """It lets no other thread run but when it tells how far it is."""
    kit.hub.rate = 20e6
    told = kit.run(kit.add({MODEL: noise(45 * MIB)}), transfer="hf_transfer", tuning=replace(FAST, connections=1))
    done = {pull.get("done", 0) for pull in told.pulls()}
    assert len(done) >= 5
    assert max(done) == 45 * MIB


def test_without_hf_transfer(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hf_transfer", None)
    error, _ = kit.fails(kit.add(LARGE), transfer="hf_transfer")
    assert error.why == "cache.transfer is hf_transfer, and that package is not installed where orch is"
