"""The invariants of a plan, for any project: hypothesis makes the worlds, a simulator carries the plans out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from builders import BUILT, NOW, leftovers, refused, remembered, running, seen, wanted, weights
from hypothesis import given
from hypothesis import strategies as st
from simulator import simulate

from orchestrator.errors import OrchError
from orchestrator.model import (
    Deployment,
    Instance,
    Intent,
    Observed,
    Phase,
    PortHolder,
    Process,
    Record,
    RuntimeState,
)
from orchestrator.plan import Adjust, AwaitReady, Clear, Fetch, Forget, Pause, Plan, Preflight, Reason, Start, Stop
from orchestrator.reconcile import Options, reconcile, recover, take_down
from orchestrator.render import plan_text

NAMES = ("alpha", "beta", "gamma", "delta")
PORTS = (8000, 8001, 8002, 8003, 8004)


@dataclass(frozen=True)
class World:
    desired: tuple[Deployment, ...]
    observed: Observed
    options: Options

    def plan(self) -> Plan | None:
        """None where the desired state cannot be had."""
        try:
            return reconcile(self.desired, self.observed, self.options)
        except OrchError:
            return None


@st.composite
def some_deployment(draw: st.DrawFn, name: str, port: int, gpu: str) -> Deployment:
    return wanted(
        name,
        port=port,
        gpus=(gpu,) if draw(st.booleans()) else "auto",
        max_model_len=draw(st.sampled_from((None, 4096, 8192))),
        secrets=draw(st.sampled_from(({}, {"T": "k1:aa"}, {"T": "k1:bb"}, {"T": "k2:aa"}))),
        runtime=draw(st.sampled_from((BUILT, wanted().spec.runtime))),
        timeout=draw(st.sampled_from((600.0, 1200.0))),
    )


@st.composite
def some_set(draw: st.DrawFn, names: Sequence[str]) -> tuple[Deployment, ...]:
    """Deployments that can run together: each has its own port and GPU."""
    ports, gpus = draw(st.permutations(PORTS)), draw(st.permutations("01234"))
    drawn = zip(names, ports[: len(names)], gpus[: len(names)], strict=True)
    return tuple(draw(some_deployment(name, port, gpu)) for name, port, gpu in drawn)


@st.composite
def some_instances(draw: st.DrawFn, of: Deployment, pid: int) -> list[Instance]:
    fields = {"attempt": f"00002-{of.name}", "pid": pid}
    shown = draw(st.sampled_from((of.spec, of.spec, of.spec, None)))
    phase = draw(st.sampled_from((Phase.READY, Phase.READY, Phase.STARTING, Phase.UNHEALTHY)))
    match draw(st.sampled_from(("absent", "live", "live", "live", "left", "owned", "left and live", "owned left"))):
        case "absent":
            return []
        case "live":
            return [running(of, phase=phase, spec=shown, **fields)]
        case "left":
            return [leftovers(of, why="killed", **fields)]
        case "owned":
            return [running(of, owned=True, owner="77:1", **fields)]
        case "owned left":
            return [leftovers(of, owned=True, owner="77:1", **fields)]
        case _:
            old = leftovers(of, why="killed", pid=pid + 50, attempt=f"00001-{of.name}")
            return [replace(old, started_at=NOW - 900), running(of, phase=phase, spec=shown, **fields)]


@st.composite
def some_record(draw: st.DrawFn, of: Deployment, also: Deployment | None) -> Record | None:
    if draw(st.integers(0, 3)) == 0:
        return None
    known = draw(st.sampled_from((of, replace(of, policy=wanted(timeout=5).policy))))
    intent = draw(st.sampled_from((Intent.RUNNING, Intent.RUNNING, Intent.STOPPED)))
    rejected = (refused(also),) if also and draw(st.booleans()) else ()
    return remembered(known, intent=intent, rejected=rejected, ready=draw(st.sampled_from((True, True, False))))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    before = draw(some_set(NAMES))
    desired = draw(some_set(draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))))
    by_name = {one.name: one for one in desired}
    desired = tuple(draw(st.sampled_from((one, replace(one, spec=_of(before, one.name).spec)))) for one in desired)
    instances = [one for at, each in enumerate(before) for one in draw(some_instances(each, 4000 + at * 100))]
    records = [draw(some_record(one, by_name.get(one.name))) for one in before]
    states = st.sampled_from((RuntimeState("ready"), RuntimeState("buildable")))
    options = Options(
        prune=draw(st.booleans()),
        replace=draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=2).map(tuple)),
        restart=draw(st.frozensets(st.sampled_from(NAMES), max_size=1)),
        unpin=draw(st.booleans()),
    )
    runtimes = {one.name: draw(states) for one in desired}
    held = st.sampled_from((weights(), weights(here=5, missing=3), weights(unverified=7), weights("org/other", here=0)))
    fetched = {one.name: draw(st.lists(held, max_size=2).map(tuple)) for one in desired}
    known = [one for one in records if one]
    return World(desired, seen(instances, known, runtimes, weights=fetched), options)


def _of(some: Sequence[Deployment], name: str) -> Deployment:
    return next(one for one in some if one.name == name)


def _ended(plan: Plan) -> list[Instance]:
    return [step.change.instance for step in plan.steps if isinstance(step.change, Stop | Clear)]


def _starts(plan: Plan) -> list[str]:
    return [step.change.deployment.name for step in plan.steps if isinstance(step.change, Start)]


def _shape(plan: Plan) -> list[str]:
    return [step.id for step in plan.steps]


# -------------------------------------------------------------------------------------------------------- invariants


@given(worlds())
def test_invariant_1_a_converged_world_needs_no_plan(world: World) -> None:
    plan = world.plan()
    if plan is None:
        return
    after = simulate(world.observed, plan.steps)
    again = reconcile(world.desired, after, replace(world.options, restart=frozenset()))
    assert _shape(again) == []
    assert again.held == plan.held
    assert {*again.unchanged, *(one.name for one in again.held)} == {one.name for one in world.desired}


@given(worlds(), st.data())
def test_invariant_1_the_same_state_gives_the_same_text_whatever_its_order(world: World, data: st.DataObject) -> None:
    plan = world.plan()
    seen_ = world.observed
    turned = World(
        tuple(data.draw(st.permutations(world.desired))),
        replace(
            seen_,
            instances=tuple(data.draw(st.permutations(seen_.instances))),
            records=dict(reversed(seen_.records.items())),
            runtimes=dict(reversed(seen_.runtimes.items())),
        ),
        replace(world.options, replace=world.options.replace[::-1]),
    ).plan()
    assert turned == plan
    assert (turned and plan_text(turned, "lab")) == (plan and plan_text(plan, "lab"))


@given(worlds())
def test_invariant_2_all_that_prepares_comes_before_all_that_does_not(world: World) -> None:
    plan = world.plan() or Plan()
    order = [step.prepares for step in plan.steps]
    assert order == sorted(order, reverse=True)
    checked = [step.change.deployment.name for step in plan.steps if isinstance(step.change, Preflight)]
    assert checked == _starts(plan)


@given(worlds())
def test_invariant_3_what_is_in_the_way_stops_before_the_start(world: World) -> None:
    """The simulator refuses a start on a port or GPU that something running holds."""
    plan = world.plan() or Plan()
    after = simulate(world.observed, plan.steps)
    alive = [one.name for one in after.instances if one.leader and one.name in _starts(plan)]
    assert sorted(alive) == sorted(_starts(plan))


@given(worlds())
def test_invariant_6_what_is_not_in_the_plan_is_not_touched(world: World) -> None:
    plan = world.plan() or Plan()
    wanted_names = {one.name for one in world.desired}
    may_end = wanted_names | set(world.options.replace)
    ended = _ended(plan)
    assert len({one.marker for one in ended}) == len(ended)
    assert all(one in world.observed.instances for one in ended)
    assert not any(one.owned for one in ended)
    if not world.options.prune:
        assert {one.name for one in ended} <= may_end
        assert {step.name for step in plan.steps} <= may_end
    assert not {one.name for one in plan.held} & {one.name for one in ended}


@given(worlds())
def test_steps_need_earlier_steps_only_and_have_names_of_their_own(world: World) -> None:
    before: set[str] = set()
    for step in (world.plan() or Plan()).steps:
        assert set(step.needs) <= before
        assert step.id not in before
        before.add(step.id)


@given(worlds())
def test_every_start_is_awaited_and_every_deployment_has_one_verdict(world: World) -> None:
    plan = world.plan()
    if plan is None:
        return
    awaited = [step.change.deployment.name for step in plan.steps if isinstance(step.change, AwaitReady)]
    assert set(_starts(plan)) <= set(awaited)
    changed = {step.name for step in plan.steps}
    verdicts = [*plan.unchanged, *(one.name for one in plan.held), *sorted(changed & {d.name for d in world.desired})]
    assert sorted(verdicts) == sorted(one.name for one in world.desired)


@given(worlds(), st.booleans())
def test_taking_down_ends_what_is_named_and_nothing_else(world: World, forget: bool) -> None:
    names = [one.name for one in world.desired]
    plan = take_down([*names, *names], world.observed, forget=forget)
    assert {one.name for one in _ended(plan)} <= set(names)
    assert not any(one.owned for one in _ended(plan))
    after = simulate(world.observed, plan.steps)
    held = {one.name for one in plan.held}
    assert {one.name for one in after.instances if one.name in names} == held
    assert _shape(take_down(names, after, forget=forget)) == []
    for name in set(names) - held:
        record = after.records.get(name)
        assert record is None if forget else record is None or record.intent is Intent.STOPPED


@given(worlds(), st.data())
def test_recovering_brings_back_what_was_stopped_and_ends_what_failed(world: World, data: st.DataObject) -> None:
    """The rollout goes wrong after any step of the switch."""
    plan = world.plan() or Plan()
    switch = [at for at, step in enumerate(plan.steps) if not step.prepares]
    if not switch:
        return
    at = data.draw(st.sampled_from(switch))
    failed = plan.steps[at].name
    if failed not in {one.name for one in world.desired}:
        return
    now = simulate(world.observed, plan.steps[: at + 1])
    now = replace(
        now,
        instances=tuple(
            replace(one, phase=Phase.STARTING) if one.name == failed and one.phase is Phase.READY else one
            for one in now.instances
        ),
    )
    up = {step.change.deployment.name for step in plan.steps[:at] if isinstance(step.change, AwaitReady)} - {failed}
    stopped = {step.change.instance.name for step in plan.steps[: at + 1] if isinstance(step.change, Stop)} - up
    back = tuple(
        Deployment(one.name, "", one.spec)
        for one in world.observed.instances
        if one.name in stopped and one.leader and one.spec
    )
    try:
        again = recover(failed, back, now)
    except OrchError:
        return  # a neighbour that had come up already sits on the port; it stays, and the message says so
    after = simulate(now, again.steps)
    ready = {one.name: one.spec for one in after.instances if one.phase is Phase.READY}
    assert {one.name: ready.get(one.name) for one in back} == {one.name: one.spec for one in back}
    if failed not in stopped:
        assert not [one for one in after.instances if one.name == failed and not one.owned]
    last = max((at for at, step in enumerate(again.steps) if step.prepares), default=-1)
    early = [step.change.instance.name for step in again.steps[:last] if isinstance(step.change, Stop | Clear)]
    assert set(early) <= {failed}, "only what failed may go before all that can fail has succeeded"


# ----------------------------------------------------------------------------------------------------- rejected specs

OLD, NEW = wanted(max_model_len=4096), wanted(max_model_len=8192)
REJECTED = remembered(OLD, rejected=(refused(NEW),))


def test_what_failed_is_not_tried_again_while_something_older_serves() -> None:
    plan = reconcile([NEW], seen([running(OLD)], [REJECTED]))
    assert plan.empty
    assert [(one.name, one.failed) for one in plan.held] == [("qwen", True)]
    assert "CUDA out of memory" in plan.held[0].why


@pytest.mark.parametrize("instances", [(), (leftovers(OLD),)])
def test_what_failed_is_tried_when_nothing_serves(instances: tuple[Instance, ...]) -> None:
    assert _starts(reconcile([NEW], seen(instances, [REJECTED]))) == ["qwen"]


def test_what_failed_is_tried_when_it_is_unpinned_or_something_changed() -> None:
    world = seen([running(OLD)], [REJECTED])
    assert _starts(reconcile([NEW], world, Options(unpin=True))) == ["qwen"]
    assert _starts(reconcile([wanted(max_model_len=9000)], world)) == ["qwen"]
    assert reconcile([OLD], world).unchanged == ("qwen",)


# -------------------------------------------------------------------------------------------------------- one by one


def test_a_start_that_became_ready_unwatched_is_recorded() -> None:
    """Else a later `restart` would go back to the revision before."""
    plan = reconcile([NEW], seen([running(NEW)], [remembered(OLD)]))
    assert [type(step.change) for step in plan.steps] == [Adjust]
    unfinished = remembered(NEW, ready=False)
    assert [type(step.change) for step in reconcile([NEW], seen([running(NEW)], [unfinished])).steps] == [Adjust]


def test_of_two_starts_of_one_name_the_older_goes() -> None:
    older = running(OLD, attempt="00001-qwen", started_at=NOW - 900)
    newer = running(OLD, attempt="00002-qwen", pid=5000)
    for instances in ((older, newer), (newer, older)):
        plan = reconcile([OLD], seen(instances, [remembered(OLD)]))
        assert _ended(plan) == [older]
        assert plan.unchanged == ()


def test_a_restart_stops_and_starts_what_does_not_differ() -> None:
    plan = reconcile([OLD], seen([running(OLD)], [remembered(OLD)]), Options(restart=frozenset({"qwen"})))
    assert _shape(plan) == ["preflight/qwen", "stop/qwen", "start/qwen", "await/qwen"]
    assert plan.downtime == {"qwen": 83.0}


def test_ports_are_swapped_by_stopping_both_before_starting_either() -> None:
    before = [wanted("a", port=8000), wanted("b", port=8001)]
    after = [wanted("a", port=8001), wanted("b", port=8000)]
    plan = reconcile(after, seen([running(one) for one in before], [remembered(one) for one in before]))
    switch = [step.change for step in plan.steps if not step.prepares]
    assert [type(one) for one in switch] == [Stop, Stop, Start, AwaitReady, Start, AwaitReady]


def test_one_runtime_is_built_once_for_all_that_need_it() -> None:
    both = [wanted(name, port=port, runtime=BUILT) for name, port in (("a", 8000), ("b", 8001))]
    plan = reconcile(both, seen(runtimes=dict.fromkeys("ab", RuntimeState("buildable"))))
    assert _shape(plan)[:3] == ["build/a", "preflight/a", "preflight/b"]


def test_weights_are_fetched_once_for_all_that_need_them_and_never_for_what_goes_on() -> None:
    a, b, c = wanted("alpha"), wanted("beta", port=8001), wanted("gamma", port=8002)
    partly = (weights(here=5, missing=3), weights("org/draft", slot="draft"))
    plan = reconcile(
        [a, b, c], seen([running(c)], [remembered(c)], weights=dict.fromkeys(("alpha", "beta", "gamma"), partly))
    )
    assert [step.id for step in plan.steps if isinstance(step.change, Fetch)] == ["fetch/alpha"]


def test_a_commit_that_one_side_does_not_know_restarts_nothing() -> None:
    known = wanted(commits={"model": "a" * 40})
    for runs, wants in ((wanted(), known), (known, wanted()), (known, known)):
        assert reconcile([wants], seen([running(runs)], [remembered(runs)])).empty
    assert not reconcile([wanted(commits={"model": "b" * 40})], seen([running(known)], [remembered(known)])).empty


def test_a_replaced_deployment_is_recorded_as_stopped_and_a_pruned_one_forgotten() -> None:
    old = wanted("old")
    world = seen([running(old)], [remembered(old)])
    replaced = reconcile([wanted("new")], world, Options(replace=("old",)))
    assert [step.change for step in replaced.steps if isinstance(step.change, Pause)] == [
        Pause("old", "replaced by new")
    ]
    pruned = reconcile([wanted("new")], world, Options(prune=True))
    assert [step.change for step in pruned.steps if isinstance(step.change, Forget)] == [Forget("old")]
    assert [step.drift.reason for step in pruned.steps if isinstance(step.change, Stop)] == [Reason.PRUNED]


def test_all_that_is_replaced_stops_before_the_first_start() -> None:
    """A GPU's memory is no claim that a spec states; the person who says --replace knows that it is needed."""
    old = wanted("old", port=9000)
    plan = reconcile([wanted("new")], seen([running(old)], [remembered(old)]), Options(replace=("old",)))
    assert _shape(plan) == ["preflight/new", "stop/new", "start/new", "await/new", "pause/old"]


def test_who_listens_where_is_known_even_if_the_spec_cannot_be_read() -> None:
    unreadable = running(wanted("old"), spec=None)
    world = seen([unreadable], [remembered(wanted("old"))], holders=[PortHolder(8000, 4000, "vllm", "me")])
    with pytest.raises(OrchError, match="port 8000 is held by old"):
        reconcile([wanted("new")], world)
    plan = reconcile([wanted("new")], world, Options(replace=("old",)))
    assert _shape(plan).index("stop/new") < _shape(plan).index("start/new")


def test_recovery_after_a_switch_on_one_port() -> None:
    """What failed still listens where the old one has to come back."""
    old, new = wanted("old"), wanted("new")
    hung = running(new, pid=5000, phase=Phase.STARTING)
    world = seen([hung], [remembered(old), remembered(new, ready=False)], holders=[PortHolder(8000, 5000, "vllm")])
    assert _shape(recover("new", [old], world)) == [
        "stop/new",
        "preflight/old",
        "start/old",
        "await/old",
        "pause/new",
    ]


def test_recovery_of_a_restart_that_hangs_starts_it_anew() -> None:
    world = seen([running(OLD, phase=Phase.STARTING)], [remembered(OLD)])
    assert _shape(recover("qwen", [OLD], world)) == ["preflight/qwen", "stop/qwen", "start/qwen", "await/qwen"]


def test_recovery_leaves_alone_what_still_serves() -> None:
    """The step that failed was the stop."""
    assert recover("qwen", [OLD], seen([running(OLD)], [remembered(OLD)])).empty


def test_recovery_does_without_weights_that_cannot_be_looked_up() -> None:
    unknown, partly = weights(commit=None, total=None, why="the Hub does not answer"), weights(here=5, missing=1)
    for held, fetches in ((unknown, []), (partly, ["fetch/qwen"])):
        plan = recover("llama", [wanted()], seen(records=[remembered(wanted())], weights={"qwen": (held,)}))
        assert [step.id for step in plan.steps if isinstance(step.change, Fetch)] == fetches
        assert _starts(plan) == ["qwen"]


def test_recovery_with_nothing_to_bring_back_ends_what_is_left() -> None:
    core = Process(4001, 1, 4000, "VLLM::EngineCore")
    dead = replace(leftovers(OLD), children=(core,))
    plan = recover("qwen", [], seen([dead], [remembered(OLD, ready=False)]))
    assert [step.change for step in plan.steps] == [Clear(dead)]
