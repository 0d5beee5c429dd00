"""What counts as hung and what is merely busy, over histories as the watcher sees them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.liveness import (
    LIMITS,
    Assessment,
    Canary,
    Lane,
    Limits,
    Member,
    Sample,
    assess,
    patient,
    remember,
)

PACE = 25.0  # seconds between two looks
API, CORE, WORKER = Member(1, 10, "API server"), Member(2, 20, "EngineCore"), Member(3, 30, "Worker")
TRACKER = Member(4, 40, "python", vital=False)
MEMBERS = (API, CORE, WORKER, TRACKER)
IDLE, WORKING = Lane("0", progress=100), Lane("0", running=3, waiting=1, progress=100, cache=0.5)
WELL = Sample(0.0, lanes=(IDLE,), members=MEMBERS)
REFUSED = Sample(0.0, False, "nothing listens on its port", members=MEMBERS)


def every(*samples: Sample, pace: float = PACE, start: float = 1000.0) -> list[Sample]:
    return [replace(one, at=start + number * pace) for number, one in enumerate(samples)]


def judged(history: Sequence[Sample | Canary], limits: Limits = LIMITS) -> Assessment:
    """As it is judged right after the last look."""
    return assess(history, max(one.at for one in history), limits)


def with_state(member: Member, state: str) -> Sample:
    return replace(WELL, members=tuple(replace(one, state=state) if one is member else one for one in MEMBERS))


def moving(count: int) -> list[Sample]:
    return [replace(WELL, lanes=(replace(WORKING, progress=100.0 + number),)) for number in range(count)]


# ----------------------------------------------------------------------------------------------------- left alone


def test_nothing_is_known_before_the_first_look() -> None:
    assert assess([], 5.0) == Assessment("well", "not looked at yet")


def test_requests_that_move_the_counters_keep_it_busy() -> None:
    assert judged(every(*moving(40))) == Assessment("busy", "3 running, 1 waiting")


def test_a_slow_health_is_no_reason_while_counters_move() -> None:
    slow = [replace(one, answers=False, why="answers 503") for one in moving(40)]
    found = judged(every(*slow))
    assert found.state == "busy"
    assert "503" in found.why


def test_the_kv_cache_alone_is_movement() -> None:
    lanes = [replace(WORKING, cache=0.5 + 0.001 * number) for number in range(40)]
    assert judged(every(*(replace(WELL, lanes=(lane,)) for lane in lanes))).state == "busy"


def test_a_long_prefill_has_three_minutes() -> None:
    assert judged(every(*[replace(WELL, lanes=(WORKING,))] * 7)).state == "suspect"


def test_a_compiler_at_work_excuses_it() -> None:
    compiles = replace(WELL, lanes=(WORKING,), compiler="ninja")
    assert judged(every(*[compiles] * 60)) == Assessment("busy", "compiles kernels (ninja)")


def test_a_debugger_may_hold_it_for_as_long_as_it_likes() -> None:
    held = replace(with_state(CORE, "t"), lanes=(WORKING,), answers=False, why="no answer within 5 s")
    assert judged(every(*[WELL, WELL], *[held] * 60)) == Assessment(
        "suspect", "a debugger holds its EngineCore (pid 2)"
    )


def test_an_engine_that_sleeps_owes_nothing() -> None:
    asleep = replace(WELL, lanes=(WORKING,), asleep=True)
    assert judged(every(*[asleep] * 60)) == Assessment("idle", "asleep")


def test_a_gap_between_two_looks_begins_anew() -> None:
    """The watcher, or the whole machine, slept."""
    before, after = every(REFUSED, REFUSED, REFUSED), every(REFUSED, start=5000.0)
    assert judged([*before, *after]).state == "suspect"


def test_an_old_look_says_nothing() -> None:
    history = every(*[REFUSED] * 10)
    assert assess(history, history[-1].at + 600) == Assessment("well", "not looked at for 10m")


def test_a_helper_that_lives_for_one_look_is_not_missed() -> None:
    """Between fork and exec it has the title of its parent."""
    helper = Member(9, 90, "EngineCore")
    assert judged(every(WELL, replace(WELL, members=(*MEMBERS, helper)), WELL)).state == "idle"


def test_what_is_not_vital_may_end() -> None:
    assert judged(every(WELL, WELL, with_state(TRACKER, ""))).state == "idle"


# ------------------------------------------------------------------------------------------------------------ hung


@pytest.mark.parametrize("gone", [with_state(CORE, "Z"), with_state(CORE, ""), replace(WELL, members=(API, WORKER))])
def test_a_dead_child_is_enough_at_once(gone: Sample) -> None:
    assert judged(every(WELL, WELL, gone)) == Assessment("hung", "its EngineCore (pid 2) is gone")


def test_a_pid_that_is_another_process_now_is_gone() -> None:
    other = replace(CORE, start=99)
    assert (
        judged(every(WELL, WELL, replace(WELL, members=(API, other, WORKER)))).why == "its EngineCore (pid 2) is gone"
    )


def test_silence_takes_four_looks_and_two_minutes() -> None:
    found = [judged(every(WELL, *[REFUSED] * count)).state for count in range(1, 7)]
    assert found == ["suspect"] * 5 + ["hung"]
    assert judged(every(*[REFUSED] * 3, pace=100)).state == "suspect"
    assert judged(every(*[REFUSED] * 6)).why == "/health: nothing listens on its port (6 times in 2m5s)"


def test_one_answer_ends_the_silence() -> None:
    assert judged(every(*[REFUSED] * 4, WELL, *[REFUSED] * 4)).state == "suspect"


def test_an_engine_that_drains_for_long_may_refuse_for_longer() -> None:
    history = every(*[REFUSED] * 10)
    assert judged(history).state == "hung"
    assert judged(history, patient(600)).state == "suspect"
    assert patient(1) == LIMITS


def test_requests_that_run_and_move_nothing() -> None:
    found = judged(every(*[replace(WELL, lanes=(WORKING,))] * 9))
    assert found == Assessment("hung", "3 running, 1 waiting, no counter moved for 3m20s")


def test_one_of_several_engines_hangs_while_the_others_work() -> None:
    looks = [
        replace(WELL, lanes=(replace(IDLE, name="0", running=1, progress=n), replace(WORKING, name="1")))
        for n in range(9)
    ]
    assert judged(every(*looks)) == Assessment("hung", "3 running, 1 waiting, no counter of engine 1 moved for 3m20s")


def test_looks_that_could_not_read_the_counters_do_not_hide_a_standstill() -> None:
    stands, blind = replace(WELL, lanes=(WORKING,)), replace(WELL, lanes=())
    assert judged(every(*[stands, blind] * 4, stands)).state == "hung"


def test_a_stopped_process_is_named() -> None:
    stopped = replace(with_state(WORKER, "T"), lanes=(WORKING,))
    assert judged(every(WELL, stopped)) == Assessment("suspect", "its Worker (pid 3) is stopped (SIGSTOP)")
    assert judged(every(WELL, stopped, stopped, stopped)) == Assessment(
        "hung", "its Worker (pid 3) is stopped (SIGSTOP)"
    )
    assert judged(every(WELL, stopped, WELL, stopped)).state == "suspect"


# ------------------------------------------------------------------------------------------------------ the canary


def test_a_canary_is_due_after_five_idle_minutes_and_not_before() -> None:
    assert not judged(every(*[WELL] * 12)).canary
    assert judged(every(*[WELL] * 13)) == Assessment("idle", "", canary=True)
    assert not judged(every(replace(WELL, lanes=(WORKING,)), *[WELL] * 12)).canary
    assert not judged(every(*[replace(WELL, asleep=True)] * 30)).canary
    assert not judged(every(*[WELL] * 13, REFUSED)).canary


def test_an_answer_of_whatever_kind_rests_the_canary() -> None:
    history = every(*[WELL] * 13)
    answered = Canary(history[-1].at, history[-1].at + 1, True, "answers 404")
    assert not judged([*history, answered]).canary
    later = every(*[WELL] * 30)
    assert judged([*later, answered]).canary


def deaf(failures: int) -> list[Sample | Canary]:
    """Idle looks, and canaries that fail from the 14th look on, each after 60 s."""
    looks = every(*[WELL] * (14 + 4 * failures))
    sent = [looks[13 + 4 * number].at for number in range(failures)]
    return [*looks, *(Canary(at, at + 60, False, "no answer within 60 s") for at in sent)]


def test_one_failed_canary_is_a_suspicion_and_asks_again() -> None:
    found = judged(deaf(1))
    assert found == Assessment("suspect", "a request of one token had no answer: no answer within 60 s", canary=True)


def test_a_second_one_waits_a_moment() -> None:
    history = [one for one in deaf(1) if isinstance(one, Canary) or one.at < 1400]
    canary = next(one for one in history if isinstance(one, Canary))
    assert not assess(history, canary.ended + 19).canary
    assert assess(history, canary.ended + 20).canary


def test_two_failed_canaries_are_hung() -> None:
    found = judged(deaf(2))
    assert found.state == "hung"
    assert found.why == "2 times in a row, a request of one token had no answer: no answer within 60 s"
    assert not found.canary


def test_what_moves_meanwhile_excuses_the_canary() -> None:
    """A queue came between."""
    history = deaf(2)
    last = max(one.at for one in history)
    assert judged([*history, replace(WELL, at=last + PACE, lanes=(WORKING,))]).state == "busy"


def test_without_statistics_the_answered_requests_are_movement() -> None:
    blind = replace(WELL, lanes=())
    assert judged(every(*[blind] * 13)) == Assessment("well", "it shows no counters", canary=True)
    assert not judged(every(*(replace(blind, finished=float(number)) for number in range(13)))).canary


def test_a_canary_that_was_given_up_is_no_movement() -> None:
    """vLLM counts it as answered."""
    history = deaf(2)
    ends = [one.ended for one in history if isinstance(one, Canary)]
    looks = [one for one in history if isinstance(one, Sample)]
    counted = [replace(one, lanes=(), finished=5.0 + sum(end <= one.at for end in ends)) for one in looks]
    failed = [one for one in history if isinstance(one, Canary)]
    assert judged([*counted, *failed]).state == "hung"
    more = [replace(one, finished=one.finished * 2) for one in counted]
    assert judged([*more, *failed]).state != "hung"


# ------------------------------------------------------------------------------------------------------ properties

states = st.sampled_from("S" * 40 + "RDTtZ")
lanes = st.tuples(
    st.builds(Lane, running=st.integers(0, 2).map(float), progress=st.integers(0, 3).map(float), cache=st.just(0.0))
) | st.just(())
looks = st.builds(
    Sample,
    at=st.just(0.0),
    answers=st.booleans(),
    why=st.just("no answer within 5 s"),
    lanes=lanes,
    members=st.tuples(*(st.builds(replace, st.just(one), state=states) for one in MEMBERS)),
    asleep=st.sampled_from((False,) * 7 + (True,)),
    compiler=st.sampled_from(("",) * 7 + ("nvcc",)),
)
steps = st.sampled_from((1.0, 20.0, 30.0, 60.0, 60.0, 500.0))


@st.composite
def histories(draw: st.DrawFn, samples: st.SearchStrategy[Sample] = looks) -> list[Sample | Canary]:
    """Looks that often repeat, as those of a hung engine do, and canaries between them."""
    at, found = 1000.0, list[Sample | Canary]()
    for one in draw(st.lists(samples, min_size=1, max_size=6)):
        pace = draw(steps)
        for _ in range(draw(st.integers(1, 6))):
            at += pace
            found.append(replace(one, at=at))
        if draw(st.booleans()):
            found.append(Canary(at, at + draw(steps), draw(st.booleans()), "no answer within 60 s"))
    return found


def only_living(one: Sample) -> Sample:
    return replace(one, members=tuple(replace(member, state="S") for member in one.members))


@given(histories(looks.map(only_living)))
def test_what_always_moves_is_never_hung(history: list[Sample | Canary]) -> None:
    moves = [
        replace(one, lanes=(Lane(running=1.0, progress=float(number)),)) if isinstance(one, Sample) else one
        for number, one in enumerate(history)
    ]
    assert all(judged(moves[: end + 1]).state != "hung" for end in range(len(moves)))


@given(histories())
def test_no_single_bad_look_is_enough_but_for_a_dead_child(history: list[Sample | Canary]) -> None:
    """Whatever it was before: if it was not hung, one more look makes it so only together with those before it."""
    alone = next(one for one in reversed(history) if isinstance(one, Sample))
    assert judged([alone]).state != "hung"
    assert judged([*every(WELL, WELL, start=alone.at - 60), only_living(alone)]).state != "hung"


@given(histories(), st.integers(1, 4))
def test_hung_does_not_pass_by_seeing_the_same_again(history: list[Sample | Canary], more: int) -> None:
    last = next(one for one in reversed(history) if isinstance(one, Sample))
    if judged(history).state == "hung":
        again = [replace(last, at=last.at + (number + 1) * PACE) for number in range(more)]
        assert judged([*history, *again]).state == "hung"


limits = st.builds(
    Limits,
    stopped=st.floats(0, 100),
    silent=st.floats(0, 300),
    stalled=st.floats(0, 400),
    looks=st.integers(1, 6),
    canaries=st.integers(1, 3),
)


@given(histories(), limits, limits)
def test_more_patience_makes_nothing_hung(history: list[Sample | Canary], one: Limits, other: Limits) -> None:
    more = Limits(
        stopped=max(one.stopped, other.stopped),
        silent=max(one.silent, other.silent),
        stalled=max(one.stalled, other.stalled),
        looks=max(one.looks, other.looks),
        canaries=max(one.canaries, other.canaries),
    )
    if judged(history, more).state == "hung":
        assert judged(history, one).state == "hung"


@given(histories())
def test_what_is_forgotten_changes_no_verdict(history: list[Sample | Canary]) -> None:
    kept: tuple[Sample | Canary, ...] = ()
    for one in history:
        kept = remember(kept, one)
    assert judged(kept) == judged(history)
