"""What may be taken over, who else would keep it, and what is recorded of it."""

from dataclasses import replace
from typing import Any

import pytest
from builders import NOW, remembered, running, seen, wanted
from simulator import simulate

from orchestrator.adoption import attempt, cards, check_whole, planned
from orchestrator.cards import cards as all_cards
from orchestrator.codec import from_json, to_json
from orchestrator.errors import PlanError
from orchestrator.keepers import Unit, container, of_parents, of_unit, unit
from orchestrator.model import Attempt, Gpu, GpuProcess, Inventory, Phase, Process
from orchestrator.plan import Adopt
from orchestrator.reconcile import reconcile

GIB = 1 << 30
LEADER = Process(4000, 40000, 50, "vllm", None, parent=50)
TAKEN = attempt(LEADER, wanted(), "boot", NOW - 60, "/home/a/serve.log")


def gpu(index: int, *pids: int, **fields: Any) -> Gpu:
    held = tuple(GpuProcess(pid, 40 * GIB, "a", "vllm") for pid in pids)
    return Gpu(index, f"GPU-{index}", total=48 * GIB, used=40 * GIB * bool(pids), processes=held, **fields)


def test_after_it_the_plan_is_empty() -> None:
    """Also for a record that went through its file."""
    plan = planned(TAKEN, None, [4000, 4001], seen())
    change = plan.steps[0].change
    assert isinstance(change, Adopt)
    family = ((4001, 40005),)
    record = from_json(Attempt, to_json(replace(change.attempt, family=family)))
    assert record == replace(change.attempt, family=family)
    found = running(wanted(), attempt=record.id, adopted=True)
    after = simulate(replace(seen(), instances=(found,)), plan.steps)
    assert after.records["qwen"].attempt is not None
    assert after.records["qwen"].attempt.adopted
    assert reconcile([wanted()], after).empty


def test_a_name_in_use_is_refused() -> None:
    for observed in (seen([running(wanted())]), seen(records=[remembered(wanted())])):
        with pytest.raises(PlanError, match="qwen is deployed already"):
            planned(TAKEN, None, [4000], observed)


@pytest.mark.parametrize(
    ("args", "flag"),
    [
        ({"nnodes": 2}, "nnodes"),
        ({"node_rank": 1}, "node-rank"),
        ({"headless": True}, "headless"),
        ({"data_parallel_rank": 0}, "data-parallel-rank"),
        ({"data_parallel_size": 4, "data_parallel_size_local": 2}, "data-parallel-size-local"),
        ({"nnodes": 1, "node_rank": 0, "data_parallel_size": 4, "data_parallel_size_local": 4}, ""),
        ({}, ""),
    ],
)
def test_one_rank_of_several_nodes_is_refused(args: dict[str, Any], flag: str) -> None:
    spec = wanted(args=args).spec
    if not flag:
        check_whole(spec, "adopt process 1")
        return
    with pytest.raises(PlanError) as caught:
        check_whole(spec, "adopt process 1")
    assert f"(--{flag})" in str(caught.value)


# --------------------------------------------------------------------------------------------------------- its cards


def test_its_cards_are_those_where_the_driver_shows_it() -> None:
    """Unless CUDA_DEVICE_ORDER says so, its index 0 need not be nvidia-smi's."""
    inventory = Inventory((gpu(0), gpu(1, 4001), gpu(2, 77)))
    assert cards("0", {4000, 4001}, inventory) == ("GPU-1",)
    assert cards("0,2", {5000}, inventory) == ("0", "2")
    assert cards(None, {5000}, inventory) == ()
    assert cards("0", {4000}, None) == ("0",)
    assert cards("MIG-a", {4001}, Inventory((gpu(0, 4001, mig=True),))) == ("MIG-a",)


def test_it_counts_on_its_cards_as_one_of_orchs() -> None:
    one = running(wanted(gpu_memory_utilization=0.9), adopted=True, gpus=("GPU-1",))
    on = all_cards(Inventory((gpu(0), gpu(1, 4001))), [one])
    assert [(card.foreign, [held.name for held in card.holdings]) for card in on] == [(0, []), (0, ["qwen"])]
    assert on[1].room == 48 * GIB - int(0.9 * 48 * GIB)
    left = replace(one, leader=None, phase=Phase.FAILED)
    assert all_cards(Inventory((gpu(1, 4001),)), [left])[0].holdings[0].who == "what is left of qwen"


# ------------------------------------------------------------------------------------------------- who else keeps it


@pytest.mark.parametrize(
    ("cgroup", "found"),
    [
        ("0::/system.slice/vllm.service\n", Unit("vllm.service")),
        ("0::/system.slice/vllm.service/payload\n", Unit("vllm.service")),
        ("12:pids:/x\n1:name=systemd:/system.slice/vllm@a.service\n0::/\n", Unit("vllm@a.service")),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/llm.service\n", Unit("llm.service", user=True)),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-term.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_a_unit_is_told_by_its_cgroup(cgroup: str, found: Unit | None) -> None:
    assert unit(cgroup) == found


def test_a_container_is_told_by_its_cgroup() -> None:
    for path in (
        "/system.slice/docker-0a1b.scope",
        "/docker/0a1b",
        "/machine.slice/libpod-0a.scope",
        "/kubepods.slice/x",
    ):
        assert container(f"0::{path}\n")
    assert not container("0::/user.slice/user-1000.slice/session-3.scope\n")


def test_a_unit_keeps_what_it_would_start_again() -> None:
    own = Unit("llm.service", user=True)
    line = [70, 60, 50]
    kept = of_unit(own, 70, 60, "always", ["bash"], line)
    assert kept is not None
    assert kept.why == "it belongs to the systemd unit llm.service, which would start it again (Restart=always)"
    assert "`orch init --from-pid 70`, then `systemctl --user disable --now llm.service`" in kept.do
    assert of_unit(own, 70, None, "", [], line), "systemd could not be asked"
    assert of_unit(own, 70, 60, "no", ["bash"], line) is None
    assert of_unit(own, 70, 61, "always", ["bash"], line) is None, "its main process is another"
    assert of_unit(Unit("ssh.service"), 70, 50, "on-failure", ["bash", "sshd", "sshd"], line) is None
    system = of_unit(Unit("llm.service"), 70, 70, "on-failure", [], line)
    assert system is not None
    assert "sudo systemctl disable --now llm.service" in system.do


def test_a_supervisor_keeps_its_children() -> None:
    for name in ("supervisord", "runsv", "PM2 v6.0.5: God"):
        kept = of_parents(70, [(60, "bash"), (50, name)])
        assert kept is not None
        assert f"it runs under {name} (pid 50)" in kept.why
    assert of_parents(70, [(60, "bash"), (50, "tmux: server")]) is None
