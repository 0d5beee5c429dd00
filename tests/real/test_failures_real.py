"""Starts that fail for real, each in its own way: why is told at once, and its cure cures. In `make test-real`, some
twenty minutes.

The logs are kept for `tests/unit/test_failures_recorded.py` (`recording`); for a new version of the engine, or with
RECORD=1, they are written anew."""

import pytest
from failures import FAILURES, SOONEST, Failure
from provoke import Bench

pytestmark = pytest.mark.real_more


@pytest.mark.parametrize("failure", [one for one in FAILURES if one.id not in SOONEST], ids=lambda one: one.id)
def test_a_start_that_is_broken_must_be_explained_and_cured(bench: Bench, failure: Failure) -> None:
    bench.check(failure)


@pytest.mark.parametrize(
    "failure", [one for one in FAILURES if one.id in SOONEST and one.cured], ids=lambda one: one.id
)
def test_what_is_told_in_make_test_must_be_cured_too(bench: Bench, failure: Failure) -> None:
    bench.check(failure)
