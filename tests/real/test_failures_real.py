"""Starts that fail for real, each in its own way: why is told at once, and its cure cures. In `make test-real`, some
twenty-five minutes.

The logs are kept for `tests/unit/test_failures_recorded.py`: those of a version of the engine that has none yet, and
with RECORD=1 all of them anew."""

import pytest
from failures import FAILURES, SOONEST, Failure
from provoke import Bench
from recording import anew, recorded

pytestmark = pytest.mark.real_more

KNOWN = recorded()
CHOSEN = [
    one
    for one in FAILURES
    if anew() or one.id not in KNOWN or not (one.seldom or (one.id in SOONEST and not one.cured))
]
"""Without what `make test` shows already."""


@pytest.mark.parametrize("failure", CHOSEN, ids=lambda one: one.id)
def test_a_start_that_is_broken_must_be_explained_and_cured(bench: Bench, failure: Failure) -> None:
    bench.check(failure)
