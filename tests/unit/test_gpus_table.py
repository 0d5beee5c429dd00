"""What `orch gpus` prints. The texts are in golden/gpus; UPDATE_GOLDEN=1 writes them anew."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import golden
import pytest
from builders import NOW, leftovers, running, wanted

from orchestrator.gpus_table import NOTHING, UNRESERVED, UNSEEN, gpus_json, gpus_text, holders
from orchestrator.model import Gpu, GpuLink, GpuProcess, Instance, Inventory, Marker

GIB, MIB = 1 << 30, 1 << 20
PROJECT = "lab-1234"
QWEN, OLD = running(wanted("qwen4b"), pid=4000), leftovers(wanted("qwen32b", port=8001), pid=5000)


def card(index: int, *processes: GpuProcess, **fields: Any) -> Gpu:
    """An RTX 6000 Ada that holds what its processes tell, unless said otherwise."""
    used = 4 * MIB + sum(one.memory or 0 for one in processes)
    given = {"total": 49140 * MIB, "reserved": 500 * MIB, "used": used, "utilization": 0, "temperature": 31} | fields
    name = "NVIDIA RTX 6000 Ada Generation"
    return Gpu(index, f"GPU-0000000{index}", **({"name": name, "capability": "8.9"} | given), processes=processes)


def host(*gpus: Gpu, **fields: Any) -> Inventory:
    return Inventory(gpus, **({"driver": "550.54.15", "cuda": "12.4"} | fields))


def process(pid: int, gib: float | None, user: str = "", command: str = "", mark: Marker | None = None) -> GpuProcess:
    return GpuProcess(pid, None if gib is None else int(gib * GIB), user, command, mark)


ENGINE = process(4001, 31, "me", "VLLM::EngineCore", QWEN.marker)
ALICE = process(4242, 31, "alice", "python train.py")

CASES: dict[str, Callable[[], tuple[Inventory | None, list[Instance]]]] = {
    "no-driver": lambda: (None, []),
    "broken": lambda: (Inventory(why="the kernel still runs the old driver", do="reboot"), []),
    "no-gpu": lambda: (host(), []),
    "idle": lambda: (host(card(0), card(1)), [QWEN]),
    "held": lambda: (
        host(
            card(0, process(4000, 0.5, "me", "vllm", QWEN.marker), ENGINE, utilization=97, temperature=71),
            card(1, process(5001, 12, "me", "VLLM::EngineCore", OLD.marker)),
            card(2, ALICE, process(99, 4, "me", "VLLM::EngineCore", Marker("web-99", "tiny", "00001-a"))),
            card(3, process(77, 2), process(78, None, "bob", "Xorg"), process(79, None)),
            card(4, used=20 * GIB),
        ),
        [QWEN, OLD],
    ),
    "container": lambda: (
        host(card(0, used=40 * GIB), card(1, used=3 * GIB)),
        [replace(QWEN, gpus=("GPU-00000000",))],
    ),
    "trouble": lambda: (
        host(
            Gpu(0, "", trouble="has fallen off the bus"),
            card(1, mig=True, parts=("MIG-a", "MIG-b")),
            card(2, mig=True, utilization=None),
            card(3, mode="prohibited"),
            card(4, mode="exclusive"),
            Gpu(5, "GPU-00000005"),
        ),
        [],
    ),
    "linked": lambda: (
        host(
            *(card(index) for index in range(4)),
            links=(GpuLink(0, 1, "nvlink"), GpuLink(0, 2, "system"), GpuLink(2, 3, "nvlink")),
            peers_blocked="the IOMMU translates for GPUs (group type DMA-FQ)",
        ),
        [],
    ),
    "lost": lambda: (
        host(card(0), Gpu(1, "", trouble="has fallen off the bus"), card(2, mig=True, parts=("MIG-a",))),
        [
            replace(QWEN, gpus=("GPU-00000000", "GPU-00000001")),
            replace(running(wanted("pinned"), pid=6000), gpus=("1",)),
            replace(running(wanted("part"), pid=6001), gpus=("MIG-a",)),
            replace(running(wanted("none"), pid=6002), gpus=("-1",)),
            replace(OLD, gpus=("GPU-00000001",)),
        ],
    ),
    "unknown-versions": lambda: (host(card(0), driver="", cuda=""), []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gpus_text(name: str) -> None:
    golden.check("gpus", name, gpus_text(*CASES[name](), PROJECT))


def test_each_text_belongs_to_a_case() -> None:
    assert golden.unused("gpus", set(CASES)) == set()


# ------------------------------------------------------------------------------------------------------------ holders


def held(gpu: Gpu, *instances: Instance) -> list[tuple[str, str]]:
    return [(one.kind, one.name) for one in holders(gpu, instances, PROJECT)]


def test_a_process_of_ours_is_known_by_its_pid_alone() -> None:
    blank = process(4001, 31, "me", "VLLM::EngineCore")  # one that erased its environment
    assert held(card(0, blank), QWEN) == [("deployment", "qwen4b")]
    assert held(card(0, process(5001, 31)), OLD) == [("left-over", "qwen32b")]


def test_a_process_of_ours_is_known_by_its_marker_alone() -> None:
    assert held(card(0, replace(ENGINE, pid=9)), QWEN) == [("deployment", "qwen4b")]
    assert held(card(0, replace(ENGINE, pid=9))) == [("deployment", "qwen4b")]


def test_another_start_of_the_same_deployment_is_told_apart() -> None:
    older = replace(OLD.marker, attempt="00000-old")
    gone = replace(OLD, marker=older)
    now = running(wanted("qwen32b"), pid=6000)
    here = card(0, process(6001, 20, mark=now.marker), process(5001, 12, mark=older))
    assert held(here, now, gone) == [("deployment", "qwen32b"), ("left-over", "qwen32b")]


def test_the_mark_of_another_project_is_not_ours() -> None:
    mark = replace(QWEN.marker, project="web-99")
    assert held(card(0, process(9, 1, "me", "vllm", mark)), QWEN) == [("other project", "qwen4b")]


@pytest.mark.parametrize(("beyond", "told"), [(0, False), (UNSEEN, False), (UNSEEN + 1, True)])
def test_memory_without_a_process_is_told_above_what_a_driver_needs(beyond: int, told: bool) -> None:
    assert held(card(0, ALICE, used=31 * GIB + beyond)) == [("process", "")] + [("unknown", "")] * told


@pytest.mark.parametrize(("beyond", "told"), [(504 * MIB, False), (UNRESERVED, False), (UNRESERVED + 1, True)])
def test_what_an_old_driver_reserves_is_not_called_unseen(beyond: int, told: bool) -> None:
    assert held(card(0, used=beyond, reserved=0)) == [("unknown", "")] * told


def test_memory_that_a_silent_process_may_have_is_not_called_unseen() -> None:
    assert held(card(0, process(8, None, "bob", "Xorg"), used=9 * GIB)) == [("process", "")]


# --------------------------------------------------------------------------------------------------------------- JSON


def test_gpus_json() -> None:
    found = gpus_json(host(card(0, ENGINE, pci="0000:01:00.0")), [QWEN], PROJECT, NOW)
    assert found == {
        "version": 1,
        "at": NOW,
        "driver": "550.54.15",
        "cuda": "12.4",
        "why": None,
        "do": None,
        "peers_blocked": None,
        "links": [],
        "gpus": [
            {
                "index": 0,
                "uuid": "GPU-00000000",
                "name": "NVIDIA RTX 6000 Ada Generation",
                "pci": "0000:01:00.0",
                "compute_capability": "8.9",
                "total_bytes": 49140 * MIB,
                "reserved_bytes": 500 * MIB,
                "used_bytes": 31 * GIB + 4 * MIB,
                "free_bytes": (49140 - 500 - 4) * MIB - 31 * GIB,
                "utilization_percent": 0,
                "temperature_celsius": 31,
                "compute_mode": "default",
                "mig": False,
                "mig_devices": [],
                "trouble": None,
                "holders": [
                    {
                        "kind": "deployment",
                        "who": "qwen4b (pid 4001)",
                        "memory_bytes": 31 * GIB,
                        "pid": 4001,
                        "user": "me",
                        "command": "VLLM::EngineCore",
                        "deployment": "qwen4b",
                        "project": PROJECT,
                    }
                ],
            }
        ],
    }


def test_json_without_a_driver_says_why() -> None:
    found = gpus_json(None, [], PROJECT, NOW)
    assert (found["gpus"], found["why"], found["do"]) == ([], NOTHING, "see `orch doctor`")


def test_json_of_memory_that_nobody_accounts_for() -> None:
    found = gpus_json(host(card(0, used=20 * GIB)), [], PROJECT, NOW)
    [one] = found["gpus"][0]["holders"]
    assert (one["kind"], one["pid"], one["memory_bytes"]) == ("unknown", None, 20 * GIB)
