"""What `orch status` prints. The texts are in golden/status; UPDATE_GOLDEN=1 writes them anew."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import golden
import pytest
from builders import NOW, leftovers, pinned, pull, refused, remembered, running, seen, wanted

from orchestrator.model import Deployment, Intent, Observed, Phase
from orchestrator.render import pull_text, status_text
from orchestrator.status import Row, rows

Q = wanted(names=("qwen3-32b",))
CHANGED = replace(wanted(names=("qwen3-32b",), port=8001, max_model_len=4096))
B = wanted("llama", port=8001, repo="meta-llama/Llama-3.1-8B-Instruct", host="0.0.0.0")
DEAD = "its API server (pid 4000) is gone without a word: killed, or out of memory"


def _rows(observed: Observed, *desired: Deployment | tuple[str, str]) -> Sequence[Row]:
    return rows(observed, dict((one.name, one) if isinstance(one, Deployment) else one for one in desired), NOW)


CASES: dict[str, Callable[[], Sequence[Row]]] = {
    "nothing": lambda: _rows(seen()),
    "ready": lambda: _rows(seen([running(Q)], [remembered(Q)]), Q),
    "drifted": lambda: _rows(seen([running(Q)], [remembered(Q)]), CHANGED),
    "files-broken": lambda: _rows(
        seen([running(Q)], [remembered(Q)]), ("qwen", "files do not load; see `orch validate`")
    ),
    "profile-gone": lambda: _rows(seen([running(Q)], [remembered(Q)]), ("qwen", "profile gone")),
    "starting": lambda: _rows(
        seen([running(Q, phase=Phase.STARTING, why="connection refused")], [remembered(Q, ready=False)]), Q
    ),
    "unhealthy": lambda: _rows(
        seen([running(Q, phase=Phase.UNHEALTHY, why="no answer within 2s")], [remembered(Q)]), Q
    ),
    "stopped": lambda: _rows(seen([], [remembered(Q, intent=Intent.STOPPED)]), Q),
    "stopped-by-a-switch": lambda: _rows(
        seen([running(B)], [remembered(Q, intent=Intent.STOPPED, because="replaced by llama"), remembered(B)]), Q, B
    ),
    "failed": lambda: _rows(
        seen([], [remembered(Q, ready=False, ended="CUDA out of memory", rejected=(refused(Q),))]), Q
    ),
    "died-with-leftovers": lambda: _rows(seen([leftovers(Q, why=DEAD)], [remembered(Q)]), Q),
    "held-back": lambda: _rows(seen([running(Q)], [remembered(Q, rejected=(refused(CHANGED),))]), CHANGED),
    "pinned": lambda: _rows(seen([running(Q)], [pinned(remembered(Q, rejected=(refused(CHANGED),)), 3)]), CHANGED),
    "pinned-and-stopped": lambda: _rows(seen([], [pinned(remembered(Q, intent=Intent.STOPPED), 3)]), CHANGED),
    "foreground": lambda: _rows(seen([running(Q, owned=True, owner="77:1")]), Q),
    "unreadable": lambda: _rows(seen([running(Q, spec=None)]), Q),
    "several": lambda: _rows(
        seen(
            [running(Q, started_at=NOW - 90_000), running(B, pid=5000, phase=Phase.STARTING)],
            [remembered(Q), remembered(B), remembered(wanted("a-long-name"), intent=Intent.STOPPED)],
        ),
        Q,
        B,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_status_text(name: str) -> None:
    golden.check("status", name, status_text(CASES[name](), NOW))


def test_every_text_has_its_case() -> None:
    assert golden.unused("status", set(CASES)) == set()


@pytest.mark.parametrize("name", CASES)
def test_ready_is_what_the_phase_says(name: str) -> None:
    assert [row.ready for row in CASES[name]()] == [row.phase == "ready" for row in CASES[name]()]


PULLS = {
    "half": pull(),
    "beginning": pull(done=0, rate=0.0, files_done=0),
    "nearly-done": pull(done=19_399_999_999, rate=1.0, files_done=13),
    "verifying": pull(doing="verifying"),
    "linking": pull(doing="linking", total=0, done=0),
    "more-than-all": pull(done=20_000_000_000),
}


@pytest.mark.parametrize("name", PULLS)
def test_how_far_a_pull_is(name: str) -> None:
    texts = [pull_text(PULLS[name]), pull_text(PULLS[name], 119), pull_text(PULLS[name], 79)]
    golden.check("pulls", name, "\n".join(texts))
    assert max(len(text) for text in texts[1:2]) <= 119


def test_a_pull_stands_below_what_runs() -> None:
    text = status_text(_rows(seen([running(Q)], [remembered(Q)]), Q), NOW, [pull()])
    assert text.splitlines()[-1] == f"{pull_text(pull())} (pid 4711)"
    assert status_text((), NOW, [pull()]).splitlines()[-1] == f"{pull_text(pull())} (pid 4711)"
