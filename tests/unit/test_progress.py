"""How long a start may take yet, and what is said of it in one line."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnosis.progress import eta, progress_text
from orchestrator.diagnosis.stages import Bar, Measured, Progress, advance, begin
from orchestrator.stage_data import load_stages

STAGES = load_stages()
LOAD = STAGES.steps.index("load")
HISTORY = [
    {"environment": 5.0, "imports": 5.0, "config": 20.0, "load": load, "compile": 30.0, "warmup": 4.0}
    for load in (40.0, 50.0, 600.0)
]
BEFORE = {"environment": 5.0, "imports": 5.0, "config": 20.0}
SHARDS = "Loading safetensors checkpoint shards: {:3d}% Completed | {}/16 [00:10<00:06, 1.00s/it]"


def loading(bar: Bar | None = None, **changes: object) -> Progress:
    """A start that began to load at second 30."""
    progress = advance(STAGES, begin(STAGES, 0.0), "Starting to load model m...", 30.0)
    return dataclasses.replace(progress, seconds=BEFORE, bar=bar, **changes)  # type: ignore[arg-type]


def bar(done: float, at: float, total: float = 16.0) -> Bar:
    return Bar("shards", done, total, 0.0, 30.0, at)


def test_the_rest_must_come_from_the_medians_of_earlier_starts() -> None:
    assert eta(loading(), HISTORY, 40.0) == pytest.approx((50 - 10) + 30 + 4)
    assert progress_text(loading(), 40.0, HISTORY) == "load, 10s, about 1m14s to go"


def test_the_bar_must_tell_more_of_the_load_than_earlier_starts_do() -> None:
    half = loading(bar(8, 130.0))
    assert eta(half, HISTORY, 130.0) == pytest.approx(100 + 30 + 4)
    assert eta(half, HISTORY, 150.0) == pytest.approx(80 + 30 + 4)
    assert progress_text(half, 150.0, HISTORY) == "load 50% (8/16), 2m, about 1m54s to go"


def test_the_rate_must_be_told_where_the_size_is_known() -> None:
    told = loading(bar(10, 41.0), measured={"checkpoint": Measured("checkpoint", 64e9, "bytes")})
    assert progress_text(told, 71.0, HISTORY, size=1.0) == "load 62% (3.6 GB/s), 41s, about 43s to go"
    assert progress_text(loading(bar(10, 41.0)), 41.0, size=64e9) == "load 62% (3.6 GB/s), 11s"
    nothing = {"checkpoint": Measured("checkpoint", 0.0, "bytes")}
    assert progress_text(loading(bar(10, 41.0), measured=nothing), 41.0) == "load 62% (10/16), 11s"


def test_a_bar_that_was_seen_for_a_moment_must_tell_no_rate() -> None:
    assert progress_text(loading(bar(16, 30.1)), 31.0, size=64e9) == "load 100% (16/16), 1s"


def test_a_bar_that_stands_still_must_tell_nothing() -> None:
    stuck = loading(bar(15, 60.0))
    assert eta(stuck, HISTORY, 64.0) == pytest.approx(30 + 4)
    assert eta(stuck, HISTORY, 70.0) == pytest.approx((50 - 40) + 30 + 4)
    assert eta(stuck, HISTORY, 130.0) is None


def test_nothing_must_be_promised_without_an_earlier_start() -> None:
    assert eta(loading(bar(8, 60.0)), [], 60.0) is None
    assert progress_text(loading(), 71.0) == "load, 41s"


def test_nothing_must_be_promised_of_a_start_that_is_slower_than_all_before() -> None:
    assert eta(loading(), HISTORY, 30 + 75 + 4.9) == pytest.approx(30 + 4)
    assert eta(loading(), HISTORY, 30 + 75 + 5.1) is None
    assert progress_text(loading(), 230.0, HISTORY) == "load, 3m20s, usually 50s"


def test_a_stage_that_no_earlier_start_had_must_be_no_promise_for_long() -> None:
    fetching = dataclasses.replace(loading(), stage="download", ahead=frozenset(STAGES.steps[LOAD:]))
    assert eta(fetching, HISTORY, 33.0) == pytest.approx(50 + 30 + 4)
    assert eta(fetching, HISTORY, 60.0) is None


def test_warming_up_again_after_the_graphs_must_count_once() -> None:
    history = [{"warmup": 10.0, "capture": 6.0}]
    kernels = dataclasses.replace(
        begin(STAGES, 0.0), step=7, stage="warmup", ahead=frozenset({"capture", "warmup", "serving"})
    )
    assert eta(kernels, history, 4.0) == pytest.approx(6 + 6)
    capturing = dataclasses.replace(kernels, step=8, stage="capture", since=4.0, seconds={"warmup": 4.0})
    assert eta(capturing, history, 5.0) == pytest.approx(5 + 6)


def test_an_engine_that_serves_must_say_how_long_it_took() -> None:
    serving = advance(STAGES, begin(STAGES, 10.0), "INFO:     Application startup complete.", 94.2)
    assert eta(serving, HISTORY, 1000.0) == 0.0
    assert progress_text(serving, 1000.0, HISTORY) == "serving, ready after 1m24s"


def test_stages_must_be_called_what_people_call_them() -> None:
    capturing = "Capturing CUDA graphs (decode, FULL):  52%|#####     | 35/67 [00:03<00:03, 10.1it/s]"
    progress = advance(STAGES, begin(STAGES, 0.0), "GPU KV cache size: 93,392 tokens", 90.0)
    assert progress_text(progress, 91.0) == "warm-up, 1s"
    assert progress_text(advance(STAGES, progress, capturing, 92.0), 95.0) == "graph capture 52% (35/67), 3s"
    fetching = advance(STAGES, begin(STAGES, 0.0), "Fetching 17 files:   6%|#   | 1/17 [00:02<00:40,  2.5s/it]", 1.0)
    assert progress_text(fetching, 4.0) == "download (unexpected) 5% (1/17), 3s"


seconds = st.floats(0, 1e6)
histories = st.lists(st.dictionaries(st.sampled_from(sorted(set(STAGES.steps))), seconds, max_size=9), max_size=4)


@given(
    st.sampled_from(range(len(STAGES.steps))),
    seconds,
    seconds,
    histories,
    st.floats(1, 1e9),
    st.floats(0, 1),
    st.data(),
)
def test_any_start_must_fit_a_line_and_never_have_less_than_nothing_to_go(
    step: int,
    since: float,
    now: float,
    history: list[dict[str, float]],
    total: float,
    share: float,
    data: st.DataObject,
) -> None:
    drawn = data.draw(st.none() | st.just(Bar("b", total * share, total, 0.0, 0.0, since)))
    progress = dataclasses.replace(
        begin(STAGES, 0.0), step=step, stage=STAGES.steps[step], ahead=frozenset(STAGES.steps[step + 1 :]),
        since=since, at=since, bar=drawn, seconds={"config": since},
    )  # fmt: skip
    left = eta(progress, history, now)  # type: ignore[arg-type]
    assert left is None or left >= 0
    text = progress_text(progress, now, history, size=total)  # type: ignore[arg-type]
    assert len(text) <= 80
    assert "\n" not in text
