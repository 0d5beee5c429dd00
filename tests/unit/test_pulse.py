"""The lines of /metrics that tell whether an engine moves, in pages of real ones."""

from pathlib import Path

import pytest

from orchestrator.liveness import Lane
from orchestrator.pulse import parse

RECORDED = Path(__file__).resolve().parents[1] / "recorded"


def recorded(name: str) -> bytes:
    return (RECORDED / f"vllm-0.32-cpu-metrics-{name}.txt").read_bytes()


def test_a_real_page_of_an_idle_engine() -> None:
    lanes, finished, asleep = parse(recorded("idle"))
    assert lanes == (Lane("0", running=0, waiting=0, progress=366 + 1170 + 196, cache=0),)
    assert (finished, asleep) == (6, False)


def test_a_real_page_of_a_busy_one() -> None:
    ((lane,), _, _) = parse(recorded("busy"))
    assert (lane.running, lane.waiting) == (1, 0)
    assert 0 < lane.cache < 0.001


def test_an_older_version_has_other_names_and_no_engine() -> None:
    """As 0.8 wrote them."""
    page = b"""
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="a"} 2.0
vllm:num_requests_waiting{model_name="a"} 1.0
vllm:gpu_cache_usage_perc{model_name="a"} 0.25
vllm:prompt_tokens_total{model_name="a"} 1.5e+06
vllm:generation_tokens_total{model_name="a"} 20.0
vllm:num_preemptions_total{model_name="a"} 3.0
"""
    assert parse(page)[0] == (Lane("0", 2, 1, 1_500_023, 0.25),)


def test_several_engines_are_told_apart() -> None:
    page = b"""
vllm:num_requests_running{engine="0",model_name="a"} 0.0
vllm:num_requests_running{engine="1",model_name="a"} 4.0
vllm:generation_tokens_total{engine="0",model_name="a"} 5.0
vllm:generation_tokens_total{engine="1",model_name="a"} 6.0
"""
    assert parse(page)[0] == (Lane("0", 0, 0, 5), Lane("1", 4, 0, 6))


def test_an_engine_that_sleeps() -> None:
    page = recorded("idle").replace(b'sleep_state="awake"} 1.0', b'sleep_state="awake"} 0.0')
    assert parse(page)[2]


def test_statistics_turned_off_leave_the_requests_that_were_answered() -> None:
    page = b"".join(line + b"\n" for line in recorded("idle").splitlines() if b"vllm:" not in line)
    assert parse(page) == ((), 6, False)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"\0\xff" * 100,
        b'\nvllm:num_requests_running{engine="0"} NaN\n',
        b"\nvllm:num_requests_running 1.2.3\n",
        b"\nvllm:num_requests_running 12",  # cut off within a number
        b'\nvllm:num_requests_running{engine="0',
        b"\nvllm:num_requests_running{",
        b"<html>\nnot found\n",
    ],
)
def test_a_page_that_is_none_tells_nothing(page: bytes) -> None:
    assert parse(page) == ((), 0, False)


def test_a_label_may_hold_anything() -> None:
    page = b'\nvllm:num_requests_running{model_name="a} 9.0",engine="0"} 3.0\n'
    assert parse(page)[0] == (Lane("0", running=3),)
