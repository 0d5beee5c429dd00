"""Three starts that fail for real, the ones that end soonest; the others are in `test_failures_real`."""

from dataclasses import replace

import pytest
from failures import FAILURES, SOONEST, Failure
from provoke import Bench

pytestmark = pytest.mark.real


@pytest.mark.parametrize("failure", [one for one in FAILURES if one.id in SOONEST], ids=lambda one: one.id)
def test_a_start_that_is_broken_must_be_explained(bench: Bench, failure: Failure) -> None:
    bench.check(replace(failure, cured=False))
