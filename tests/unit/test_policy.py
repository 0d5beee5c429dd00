"""The restart policy: who is started again, when, and when that ends."""

from dataclasses import replace

import pytest
from builders import NOW, remembered, running, wanted
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.history import paused, started
from orchestrator.model import Attempt, Death, Deployment, Intent, Phase, Policy, Record, Restart
from orchestrator.policy import LONGEST, REST, Due, counted, died, due, judge, of_the_files, refused, wait

BOOT = "boot"


def kept(policy: str = "on-failure", attempts: int = 5, window: float = 3600.0, **fields: object) -> Record:
    of = replace(wanted(), policy=Policy(restart=Restart(policy, attempts, window)))  # type: ignore[arg-type]
    return replace(remembered(of), **fields)  # type: ignore[arg-type]


def death(at: float = NOW, uptime: float = 60.0, attempt: str = "00001-qwen") -> Death:
    return Death(attempt, at, "its API server ended by signal 9", uptime)


def live(record: Record, **fields: object):  # type: ignore[no-untyped-def]
    assert record.attempt
    return running(record.attempt.deployment, attempt=record.attempt.id, **fields)  # type: ignore[arg-type]


def test_what_serves_is_left_alone() -> None:
    record = kept()
    assert due(record, live(record), BOOT, NOW) == REST


@pytest.mark.parametrize("fields", [{"intent": Intent.STOPPED}, {"given_up": "it does not fit"}, {"attempt": None}])
def test_what_is_not_to_run_rests(fields: dict[str, object]) -> None:
    assert due(kept(**fields), None, BOOT, NOW) == REST


def test_what_is_gone_is_mourned_once_and_then_started() -> None:
    record = kept()
    assert due(record, None, BOOT, NOW) == Due("mourn")
    verdict = judge(record, death(), NOW, 0.5)
    record = died(record, death(), verdict, NOW)
    assert due(record, None, BOOT, NOW) == Due("start")
    assert record.attempt and "signal 9" in record.attempt.ended


def test_what_was_left_starting_is_awaited() -> None:
    record = kept()
    assert record.attempt
    record = replace(record, attempt=replace(record.attempt, ready_at=None))
    assert due(record, live(record, phase=Phase.STARTING), BOOT, NOW) == Due("await")


def test_after_a_reboot_all_that_is_meant_to_run_starts_at_once() -> None:
    assert due(kept(deaths=(death(attempt="00000-qwen"),)), None, "another boot", NOW) == Due("start")
    assert due(kept("never"), None, "another boot", NOW) == REST


def test_a_hung_one_is_started_anew_when_its_time_has_come() -> None:
    record = died(kept(), death(), judge(kept(), death(), NOW, 0.0), NOW)
    assert due(record, live(record), BOOT, NOW) == Due("start", hung=True)


@pytest.mark.parametrize(
    ("policy", "in_order", "starts"),
    [
        ("never", False, False),
        ("on-failure", False, True),
        ("on-failure", True, False),
        ("always", False, True),
        ("always", True, True),
    ],
)
def test_the_policy_says_which_ends_are_failures(policy: str, in_order: bool, starts: bool) -> None:
    verdict = judge(kept(policy), death(), NOW, 0.0, in_order=in_order)
    assert (verdict.retry_at is not None) == starts
    assert not verdict.given_up


def test_what_cannot_cure_itself_is_not_tried_again() -> None:
    verdict = judge(kept(), death(), NOW, 0.0, final="it does not fit")
    assert (verdict.retry_at, verdict.given_up) == (None, "it does not fit")


def test_it_gives_up_after_so_many_within_the_window() -> None:
    record = kept(attempts=2)
    waits = []
    for number in range(3):
        fell = death(NOW + number, attempt=f"{number:05d}-qwen")
        verdict = judge(record, fell, NOW + number, 0.0)
        record = died(record, fell, verdict, NOW + number)
        waits.append(verdict.retry_at and verdict.retry_at - NOW - number)
    assert waits == [0.0, 1.0, None]
    assert record.given_up == "it ended 3 times within 1h, last because its API server ended by signal 9"


def test_deaths_beyond_the_window_are_forgotten_but_not_those_of_starts_that_never_came_up() -> None:
    old = death(NOW - 4000)
    assert counted((old, death()), 3600, NOW) == (death(),)
    slow = tuple(death(NOW - at, uptime=0) for at in (9000, 6000, 3000))
    assert counted((old, *slow), 3600, NOW) == slow


def test_what_could_not_be_started_is_tried_again_and_is_no_death() -> None:
    record = died(kept(), death(), judge(kept(), death(), NOW, 0.0), NOW)
    waits, now = [], NOW
    for _ in range(12):
        record = refused(record, "cannot read the secret KEY: there is none", now, final=False)
        assert record.retry_at
        waits.append(record.retry_at - now)
        now = record.retry_at
        assert due(record, None, BOOT, now) == Due("start")
        assert due(record, None, "after a reboot", now - 1) == Due("start", now)
    assert waits[:5] == [2, 2, 4, 8, 16]
    assert waits[-1] == LONGEST
    assert len(record.deaths) == 1
    assert refused(record, "it needs 4 GPUs, and this host has 2", now, final=True).given_up
    assert record.attempt
    begun = started(record, "qwen", _begun(record.attempt.deployment, "watch"))
    assert (begun.refused, begun.refused_since, begun.retry_at) == ("", None, None)
    assert paused(record, "").retry_at is None


def test_a_clock_set_back_delays_nobody() -> None:
    record = replace(kept(deaths=(death(NOW + 90_000),)), retry_at=NOW + 90_000)
    assert due(record, None, BOOT, NOW) == Due("start")
    assert len(counted((death(NOW + 90_000),), 3600, NOW)) == 1


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_waits_grow_up_to_a_limit(count: int, chance: float) -> None:
    assert 0 <= wait(count, chance) <= LONGEST
    assert wait(count + 1, chance) >= wait(count, chance)
    assert wait(count, 0) / 2 <= wait(count, chance) <= wait(count, 0)


@given(st.lists(st.tuples(st.floats(0, 7200), st.booleans()), max_size=40), st.integers(0, 6))
def test_a_crash_loop_ends(falls: list[tuple[float, bool]], attempts: int) -> None:
    """However deaths follow one another: as many within the window as there are attempts, and one more, is the end."""
    record, now = kept(attempts=attempts), NOW
    for number, (later, came_up) in enumerate(falls):
        now += later
        fell = death(now, 1.0 if came_up else 0.0, f"{number:05d}-qwen")
        verdict = judge(record, fell, now, 0.3)
        within = counted((*record.deaths, fell), 3600, now)
        assert bool(verdict.given_up) == (len(within) > attempts)
        assert (verdict.retry_at is None) == bool(verdict.given_up)
        record = died(record, fell, verdict, now)


def _begun(of: Deployment, by: str) -> Attempt:
    return Attempt("00002-qwen", 1, 1, BOOT, NOW, of, by=by)  # type: ignore[arg-type]


def test_a_person_and_another_spec_begin_anew() -> None:
    record = kept(deaths=(death(),), given_up="it ended twice", retry_at=NOW)
    assert record.attempt
    same = record.attempt.deployment
    assert started(record, "qwen", _begun(same, "")).deaths == ()
    assert started(record, "qwen", _begun(wanted(port=9), "watch")).deaths == ()
    again = started(record, "qwen", _begun(same, "watch"))
    assert (again.deaths, again.given_up, again.retry_at) == ((death(),), "", None)


def test_the_files_move_what_changed_and_nothing_that_a_person_stopped() -> None:
    record = kept()
    assert record.attempt
    same, other = record.attempt.deployment, wanted(max_model_len=4)
    assert of_the_files(same, None, None)
    assert of_the_files(same, record, live(record))
    assert not of_the_files(same, record, None)
    assert of_the_files(other, record, None)
    assert not of_the_files(other, replace(record, intent=Intent.STOPPED), None)
    given_up = replace(record, given_up="it does not fit", deaths=(death(),))
    assert not of_the_files(same, given_up, None)
    assert of_the_files(other, given_up, None)
