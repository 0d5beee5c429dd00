"""Which revision is gone back to, what a pin stands for, how revisions are numbered and which are dropped."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from builders import NOW, pinned, remembered, running, seen, wanted
from hypothesis import given
from hypothesis import strategies as st
from simulator import simulate

from orchestrator import history
from orchestrator.codec import digest
from orchestrator.errors import InputError
from orchestrator.model import Attempt, Deployment, Observed, Pin, Record, Restart, Revision, SecretRef
from orchestrator.plan import Pinned
from orchestrator.reconcile import Options, reconcile, recover
from orchestrator.revisions import every, goal, held, in_force, numbered, surplus

V1, V2, V3 = (wanted(max_model_len=length) for length in (1024, 2048, 3072))


def revision(number: int, of: Deployment) -> Revision:
    return Revision(number, digest(of.spec), of, NOW - 1000 + number)


KEPT = [revision(number, of) for number, of in ((1, V1), (2, V2), (3, V3))]


def record(of: Deployment, number: int) -> Record:
    return remembered(of, number=number)


def begun(before: Record, of: Deployment) -> Record:
    """A start of ``of`` is under way, or was left alone."""
    return history.started(before, before.name, Attempt("00009-x", 9000, 9, "boot", NOW, of, "/log/9"))


# ---------------------------------------------------------------------------------------------------------- going back


def test_back_is_to_the_newest_earlier_one_and_pinned() -> None:
    found = goal("qwen", record(V3, 3), KEPT)
    assert (found.spec, found.pinned) == (V2.spec, 2)


def test_back_is_past_one_that_is_the_same() -> None:
    assert goal("qwen", record(V3, 3), [KEPT[0], revision(2, V3), KEPT[2]]).pinned == 1


def test_back_from_a_revision_that_was_gone_back_to_is_further() -> None:
    assert goal("qwen", pinned(record(V2, 2), 2), KEPT).pinned == 1


def test_back_from_a_start_that_failed_is_to_what_was_good_before_it() -> None:
    failed = history.failed(begun(record(V2, 2), V3), V3, "out of memory", NOW, "/log/9")
    assert goal("qwen", failed, KEPT[:2]).pinned == 2
    assert goal("qwen", begun(record(V2, 2), V3), KEPT[:2]).pinned == 2


def test_an_interrupted_rollback_goes_on() -> None:
    assert goal("qwen", begun(record(V3, 3), replace(V2, pinned=2)), KEPT).pinned == 2


def test_any_kept_one_can_be_named() -> None:
    assert goal("qwen", record(V3, 3), KEPT, 1).spec == V1.spec
    assert goal("qwen", pinned(record(V1, 1), 1), KEPT, 3).spec == V3.spec


def test_the_current_one_is_there_be_its_file_damaged() -> None:
    assert list(every(record(V3, 3), KEPT[:1])) == [1, 3]
    assert goal("qwen", begun(record(V3, 3), V1), KEPT[:1], 3).pinned == 3


def test_the_profile_stays_where_it_is_now() -> None:
    moved = record(replace(V2, file="/new/qwen.yaml"), 2)
    assert goal("qwen", moved, [revision(1, replace(V1, file="/old/qwen.yaml"))]).file == "/new/qwen.yaml"


SECRET = wanted(secrets={"HF_TOKEN": "k1:aa", "KEY": "k1:bb"})
NEVER = remembered(V1, ready=False)


@pytest.mark.parametrize(
    ("known", "kept", "number", "message"),
    [
        (record(V3, 3), KEPT, 7, "cannot roll qwen back to revision 7: it is not kept; kept are 1, 2, 3"),
        (NEVER, [], 7, "it is not kept; none of its revisions is kept"),
        (record(V3, 3), KEPT, 3, "to revision 3: it is the current one; `orch history qwen` lists the others"),
        (record(V1, 1), KEPT[:1], None, "cannot roll qwen back: no earlier revision of it is kept"),
        (NEVER, [], None, "cannot roll qwen back: it never became ready"),
        (None, KEPT, None, "its record was lost; name a revision with --to: 1, 2, 3"),
        (
            record(V3, 3),
            [revision(1, replace(SECRET, secret_refs={"KEY": SecretRef("env", "KEY")}))],
            1,
            "where its secrets HF_TOKEN are kept is not known; use `orch apply qwen`",
        ),
    ],
)
def test_what_cannot_be_gone_back_to_is_said(
    known: Record | None, kept: Sequence[Revision], number: int | None, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        goal("qwen", known, kept, number)
    assert message in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------- pins


def test_without_a_pin_the_files_are_followed() -> None:
    assert in_force(record(V2, 2)) is None
    assert in_force(begun(record(V2, 2), V3)) is None
    assert in_force(Record("qwen")) is None


def test_a_pin_is_what_was_gone_back_to() -> None:
    assert in_force(pinned(record(V1, 1), 1)) == replace(V1, pinned=1)


def test_a_rollback_that_is_under_way_is_in_force_until_it_failed() -> None:
    going = begun(record(V2, 2), replace(V1, pinned=1))
    assert in_force(going) == replace(V1, pinned=1)
    assert in_force(history.failed(going, V1, "out of memory", NOW, "/log/9")) is None


def test_a_pin_ends_with_the_start_that_follows_the_files_unless_that_fails() -> None:
    ending = begun(pinned(record(V1, 1), 1), V3)
    assert in_force(ending) is None
    assert in_force(history.failed(ending, V3, "out of memory", NOW, "/log/9")) == replace(V1, pinned=1)
    assert history.succeeded(ending, revision(4, V3), NOW).pin is None


def test_a_pin_says_since_when_it_is() -> None:
    at_1 = revision(1, replace(V1, pinned=1))
    first = history.succeeded(record(V2, 2), replace(at_1, user="ada"), NOW)
    assert first.pin == Pin(1, NOW, "ada")
    assert history.succeeded(first, at_1, NOW + 100).pin == first.pin
    assert history.succeeded(first, revision(2, replace(V2, pinned=2)), NOW + 100).pin == Pin(2, NOW + 100)


def test_a_pin_outlives_a_stop() -> None:
    assert in_force(history.paused(pinned(record(V1, 1), 1), "")) == replace(V1, pinned=1)


def test_what_the_files_want_otherwise_is_named() -> None:
    written = replace(wanted(max_model_len=4096, timeout=60.0), environment="other", file="/p/qwen.yaml")
    found = held(written, replace(V1, pinned=1))
    assert found.held_back == ("serve.max_model_len", "environment", "policy.ready_timeout")
    assert (found.spec, found.policy, found.file) == (V1.spec, V1.policy, "/p/qwen.yaml")
    quick = replace(V1, policy=replace(V1.policy, restart=Restart("never")))
    assert held(quick, replace(V1, pinned=1)).held_back == ("policy.restart.policy",)
    assert held(V1, replace(V1, pinned=1)).held_back == ()


def test_a_failed_rollback_leaves_the_pin_that_was() -> None:
    """Brought back is what ran, with its own pin: none, or one of an earlier rollback."""
    for before in (record(V2, 2), pinned(record(V2, 2), 2)):
        good = before.revision
        assert good
        world = seen([running(good.deployment)], [before])
        back = history.fallback(["qwen"], world)
        failed = history.failed(begun(before, replace(V1, pinned=1)), V1, "out of memory", NOW, "/log/9")
        after = simulate(seen([], [failed]), recover("qwen", back, seen([], [failed])).steps)
        assert after.records["qwen"].pin == before.pin
        assert after.instances[0].spec == V2.spec


lengths = st.lists(st.sampled_from((None, 1024, 2048, 4096)), min_size=2, max_size=5)


@given(lengths, st.sampled_from((None, 512, 1024)), st.booleans())
def test_after_a_rollback_nothing_is_left_to_do_until_it_is_ended(
    applied: list[int | None], edited: int | None, crashes: bool
) -> None:
    world, kept = seen(), dict[int, Revision]()
    for length in applied:
        world = carried_out(world, wanted(max_model_len=length), kept)
    try:
        back = goal("qwen", world.records["qwen"], list(kept.values()))
    except InputError:  # all of them are one
        return
    world = carried_out(world, back, kept)
    number = world.records["qwen"].revision
    assert number and number.number == back.pinned
    files = wanted(max_model_len=edited)
    if crashes:
        world = carried_out(replace(world, instances=()), wish(files, world), kept)
    plan = reconcile([wish(files, world)], world)
    assert plan.steps == ()
    assert plan.pinned == (Pinned("qwen", back.pinned or 0, differs=wish(files, world).held_back),)
    assert world.instances[0].spec == back.spec

    world = carried_out(world, files, kept)
    assert world.instances[0].spec == files.spec
    assert world.records["qwen"].pin is None
    assert wish(files, world) == files
    assert reconcile([files], world).steps == ()


def wish(files: Deployment, world: Observed) -> Deployment:
    kept = in_force(world.records["qwen"])
    return held(files, kept) if kept else files


def carried_out(world: Observed, desired: Deployment, kept: dict[int, Revision]) -> Observed:
    after = simulate(world, reconcile([desired], world, Options(unpin=True)).steps)
    if good := after.records["qwen"].revision:
        kept[good.number] = good
    return after


# ------------------------------------------------------------------------------------------------ numbers, and how many


def test_a_new_spec_has_a_number_that_never_was() -> None:
    assert numbered(V1, None, 1) == 1
    assert numbered(V2, revision(1, V1), 9) == 9
    assert numbered(V1, revision(4, V1), 9) == 4
    assert numbered(replace(V1, pinned=2), revision(4, V3), 9) == 2


def test_the_oldest_go_and_never_one_that_is_needed() -> None:
    assert surplus(range(1, 6), {5}, 5) == ()
    assert surplus(range(1, 8), {7}, 5) == (1, 2)
    assert surplus(range(1, 8), {1, 7}, 5) == (2, 3)
    assert surplus({3, 9}, {3, 9}, 1) == ()
