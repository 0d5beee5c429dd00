"""A fetch that is ended at any moment goes on where it was, and loses no more than what was not yet marked."""

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from textwrap import dedent

import pytest
from fakes.sandbox import wait_until
from fetch_kit import FAST, MIB, MODEL, Kit, gone, noise

from orchestrator.codec import to_json
from orchestrator.hub.child.job import Want
from orchestrator.hub.parts import CHUNK, fetched
from orchestrator.model import RemoteFile

SIZE = 32 * MIB + 4321
WEIGHTS = noise(SIZE)
KILLS = 20
CONNECTIONS = 2
RATE = 60e6  # bytes a second on each connection
IN_SOCKETS = MIB
"""What a connection holds at most that was sent and not read: the reader keeps up, so that at this rate it is what
comes while it is not scheduled, for up to 17 ms."""
MOST = CONNECTIONS * (CHUNK + IN_SOCKETS)
"""Bytes that one kill may cost: of each connection a chunk that is not whole, and what its sockets hold."""
TUNING = replace(FAST, connections=CONNECTIONS, stall=10)
ENDS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


def test_twenty_kills_cost_a_chunk_a_connection_each(kit: Kit) -> None:
    want, rng = kit.add({MODEL: WEIGHTS}), random.Random(2024)
    kit.hub.rate = RATE
    costs: list[int] = []
    for cache in range(KILLS):
        kit.home = kit.home.with_name(f"home-{cache}")
        before, spent = kit.sent(), len(costs)
        while len(costs) < KILLS and here(kit, want) < SIZE:
            costs.append(ended_early(kit, want, rng.randint(1, 16 * MIB), rng.choice(ENDS)))
        kit.run(want, tuning=TUNING)
        assert sha256(kit.pointer(want).read_bytes()).hexdigest() == kit.blob(want).name
        assert kit.sent() - before == SIZE + sum(costs[spent:])  # what was marked has not come again
        if len(costs) == KILLS:
            break
    assert max(costs) <= MOST


def ended_early(kit: Kit, want: Want, after: int, signum: int) -> int:
    """Ends a fetch when so many more bytes were sent; the bytes that will have to be sent again."""
    sent, held = kit.sent(), here(kit, want)
    child = kit.start(kit.job(want, tuning=TUNING))
    wait_until(lambda: kit.sent() - sent >= min(after, SIZE - held))
    child.kill(signum)
    wait_until(lambda: not any(origin.living for origin in kit.hub.origins))  # the Hub has noticed
    return (kit.sent() - sent) - (here(kit, want) - held)


def here(kit: Kit, want: Want) -> int:
    return SIZE if kit.blob(want).exists() else fetched(kit.blob(want), SIZE)


# ---------------------------------------------------------------------------------------------- ended in other states


@pytest.mark.parametrize("signum", ENDS)
@pytest.mark.parametrize("state", ["held in a body", "waiting to try again", "waiting for another", "hashing"])
def test_it_ends_at_once_whatever_it_does(kit: Kit, signum: int, state: str) -> None:
    want = kit.add({MODEL: WEIGHTS})
    if state == "waiting to try again":
        kit.hub.fault("status", times=None, status=503, headers={"Retry-After": "60"})
    elif state == "hashing":  # gigabytes of nothing
        want = replace(want, files=(RemoteFile(MODEL, 4 << 30, "0" * 64),))
        kit.blob(want).parent.mkdir(parents=True)
        kit.blob(want).touch()
        os.truncate(kit.blob(want), 4 << 30)
    else:
        kit.hub.gate(MODEL, after=CHUNK + 1, times=None)
    child = kit.start(kit.job(want, tuning=TUNING))
    if state == "waiting for another":
        wait_until(lambda: child.told.lines)
        child = kit.start(kit.job(want, tuning=TUNING))
    wait_until(lambda: child.told.lines)
    child.kill(signum)
    assert child.noise == []  # no traceback
    assert child.answers.get() == ""


def test_it_does_not_outlive_its_parent(kit: Kit, tmp_path: Path) -> None:
    """Killed, so that it can tell nobody."""
    want = kit.add({MODEL: WEIGHTS})
    kit.hub.gate(MODEL, after=CHUNK, times=None)
    (tmp_path / "job.json").write_text(json.dumps(to_json(replace(kit.job(want, tuning=TUNING), parent=0))))
    script = """
        import json, os, sys
        from dataclasses import replace
        from orchestrator.codec import from_json
        from orchestrator.hub.child.job import Job
        from orchestrator.hub.talk import Child
        job = from_json(Job, json.load(open(sys.argv[1])))
        Child(dict(os.environ)).do(replace(job, parent=os.getpid()))
    """
    parent = subprocess.Popen([sys.executable, "-c", dedent(script), str(tmp_path / "job.json")], env=kit.env)
    wait_until(lambda: fetched(kit.blob(want), SIZE) >= CHUNK)
    (pull,) = wait_until(kit.memory.pulls)
    parent.kill()
    parent.wait()
    gone(pull.pid)
    assert kit.memory.pulls() == ()
    assert fetched(kit.blob(want), SIZE) >= CHUNK
