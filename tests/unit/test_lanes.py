"""Connections are opened as long as they bring something, and never more than allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hub.child.lanes import FEW, SLOW, Lanes

MB = 1_000_000


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([80 * MB, 160 * MB, 320 * MB, 640 * MB], 16),  # 40 MB/s each, as a Hub caps them
        ([110 * MB, 112 * MB, 111 * MB], 4),  # one gigabit: the second doubling brought nothing
        ([900 * MB, 850 * MB], FEW),  # as fast as this machine goes
        ([0.0, 2 * MB, 3 * MB, 6 * MB], 16),  # a slow beginning says nothing
        ([], FEW),
    ],
)
def test_they_follow_what_comes(rates: list[float], expected: int) -> None:
    lanes = Lanes(16)
    for rate in rates:
        lanes.widen(rate)
    assert lanes.open == expected


@given(st.integers(1, 64), st.lists(st.floats(0, 1e10)))
def test_they_never_shrink_and_never_pass_the_limit(most: int, rates: list[float]) -> None:
    lanes, seen = Lanes(most), [min(FEW, most)]
    for rate in rates:
        opened = lanes.widen(rate)
        assert opened == (lanes.open > seen[-1])
        assert not opened or rate < SLOW * seen[-1]
        seen.append(lanes.open)
    assert seen == sorted(seen)
    assert seen[-1] <= most
