"""The GPUs through nvidia-ml-py, against a stand-in for the driver's library. The loader learns of that only as a
process starts: one child looks for all tests here."""

import base64
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes import nvml as fake
from fakes.nvml import MIB, Nvml
from fakes.sandbox import wait_until

from orchestrator.model import Gpu, GpuLink, GpuProcess, Inventory, Marker

LOOKER = """
import base64, os, pickle, sys
from orchestrator.nvml import Nvml
for line in sys.stdin:
    os.environ["FAKE_NVML"] = line.strip()
    found = Nvml(lambda: "the IOMMU translates").inventory()
    print(base64.b64encode(pickle.dumps(found)).decode(), flush=True)
"""
SLEEPER = "import sys; print(flush=True); sys.stdin.read()"
NOBODY = 4_000_000  # below the largest pid there can be, and above any that a test machine has

Look = Callable[[], Inventory]


@pytest.fixture(scope="module")
def looker(nvml_library: Path) -> "Iterator[subprocess.Popen[str]]":
    command, env = [sys.executable, "-c", LOOKER], {"LD_LIBRARY_PATH": str(nvml_library)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=env, **pipes) as child:
        yield child


@pytest.fixture
def look(looker: "subprocess.Popen[str]", nvml: Nvml) -> Look:
    """What orch sees now."""

    def look() -> Inventory:
        assert looker.stdin and looker.stdout
        looker.stdin.write(f"{nvml.script}\n")
        looker.stdin.flush()
        found = pickle.loads(base64.b64decode(looker.stdout.readline()))
        assert isinstance(found, Inventory)
        return found

    return look


@pytest.fixture
def sleeper(tmp_path: Path) -> "Iterator[Callable[..., subprocess.Popen[bytes]]]":
    """Starts ``python train.py WORDS`` with that environment, and answers it once it runs."""
    script, children = tmp_path / "train.py", []
    script.write_text(SLEEPER)

    def start(*words: str, env: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        child = subprocess.Popen([sys.executable, str(script), *words], env=env or {}, **pipes)
        children.append(child)
        assert child.stdout
        child.stdout.readline()
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


# -------------------------------------------------------------------------------------------------------------- cards


def test_the_cards_of_a_host(look: Look) -> None:
    found = look()
    assert (found.driver, found.cuda, found.why, found.do) == ("550.54.15", "12.4", "", "")
    assert [gpu.index for gpu in found.gpus] == [0, 1, 2, 3]
    assert found.gpus[1] == Gpu(
        1,
        fake.uuid(1),
        "NVIDIA RTX 6000 Ada Generation",
        total=49140 * MIB,
        reserved=500 * MIB,
        used=4 * MIB,
        utilization=0,
        temperature=30,
        capability="8.9",
        pci="0000:21:00.0",
    )


def test_what_is_reserved_counts_as_used_where_an_old_driver_does_not_tell_it(nvml: Nvml, look: Look) -> None:
    nvml.fail("nvmlDeviceGetMemoryInfo_v2", fake.FUNCTION_NOT_FOUND)
    gpu = look().gpus[0]
    assert (gpu.reserved, gpu.used, gpu.free) == (0, 504 * MIB, (49140 - 504) * MIB)


@pytest.mark.parametrize(
    ("call", "field", "value"),
    [
        ("nvmlDeviceGetName", "name", ""),
        ("nvmlDeviceGetUtilizationRates", "utilization", None),
        ("nvmlDeviceGetTemperature", "temperature", None),
        ("nvmlDeviceGetCudaComputeCapability", "capability", ""),
        ("nvmlDeviceGetPciInfo_v3", "pci", ""),
        ("nvmlDeviceGetComputeMode", "mode", "default"),
        ("nvmlDeviceGetMigMode", "mig", False),
    ],
)
@pytest.mark.parametrize("code", [fake.NOT_SUPPORTED, fake.FUNCTION_NOT_FOUND, fake.NO_PERMISSION, fake.UNKNOWN])
def test_what_a_driver_does_not_tell_is_left_empty(
    nvml: Nvml, look: Look, call: str, field: str, value: object, code: int
) -> None:
    before = look()
    nvml.fail(call, code, 2)
    found = look()
    assert getattr(found.gpus[2], field) == value
    assert found.gpus[2].uuid == fake.uuid(2)
    assert [gpu for gpu in found.gpus if gpu.index != 2] == [gpu for gpu in before.gpus if gpu.index != 2]


def test_memory_that_is_not_told_is_none_at_all(nvml: Nvml, look: Look) -> None:
    for call in ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2"):
        nvml.fail(call, fake.NOT_SUPPORTED, 0)
    assert (look().gpus[0].total, look().gpus[0].used, look().gpus[0].free) == (0, 0, 0)


@pytest.mark.parametrize(("mode", "words"), [(0, "default"), (1, "exclusive"), (2, "prohibited"), (3, "exclusive")])
def test_compute_modes(nvml: Nvml, look: Look, mode: int, words: str) -> None:
    nvml.gpu(1, mode=mode)
    assert [gpu.mode for gpu in look().gpus] == ["default", words, "default", "default"]


def test_mig_devices(nvml: Nvml, look: Look) -> None:
    nvml.gpu(0, mig=0)
    nvml.part(1, "MIG-first")
    nvml.part(1, "MIG-second")
    nvml.gpu(2, mig=1)
    assert [(gpu.mig, gpu.parts) for gpu in look().gpus] == [
        (False, ()),
        (True, ("MIG-first", "MIG-second")),
        (True, ()),
        (False, ()),
    ]


# ------------------------------------------------------------------------------------------------------------ trouble


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (fake.GPU_IS_LOST, "has fallen off the bus"),
        (fake.RESET_REQUIRED, "needs a reset"),
        (fake.NO_PERMISSION, "may not be used by this user"),
        (fake.UNKNOWN, "does not answer: "),
    ],
)
@pytest.mark.parametrize("call", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"])
def test_a_card_that_cannot_be_used_leaves_the_others_unharmed(
    nvml: Nvml, look: Look, call: str, code: int, words: str
) -> None:
    before = look()
    nvml.fail(call, code, 1)
    found = look()
    assert found.gpus[1].trouble.startswith(words)
    assert (found.gpus[1].index, found.gpus[1].total, found.why) == (1, 0, "")
    assert [gpu for gpu in found.gpus if gpu.index != 1] == [gpu for gpu in before.gpus if gpu.index != 1]
    assert {(link.a, link.b) for link in found.links} == {(0, 2), (0, 3), (2, 3)}


@pytest.mark.parametrize(
    "call",
    [
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetComputeMode",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetUtilizationRates",
    ],
)
def test_a_card_that_is_lost_while_it_is_looked_at(nvml: Nvml, look: Look, call: str) -> None:
    nvml.fail(call, fake.GPU_IS_LOST, 3)
    found = look()
    assert [gpu.trouble[:22] for gpu in found.gpus] == ["", "", "", "has fallen off the bus"]


def test_a_card_that_is_lost_while_its_links_are_looked_at(nvml: Nvml, look: Look) -> None:
    nvml.fail("nvmlDeviceGetP2PStatus", fake.GPU_IS_LOST, 0)
    found = look()
    assert (len(found.gpus), found.why) == (4, "")
    assert {(link.a, link.b) for link in found.links} == {(1, 2), (1, 3), (2, 3)}


@pytest.mark.parametrize(
    ("code", "why", "do"),
    [
        (fake.VERSION_MISMATCH, "the kernel still runs the old driver", "reboot, or reload the module"),
        (fake.DRIVER_NOT_LOADED, "its kernel module is not loaded", "modprobe nvidia"),
        (fake.NO_PERMISSION, "this user may not open", "ls -l /dev/nvidia*"),
        (fake.UNKNOWN, "NVML does not start: ", "nvidia-smi"),
    ],
)
def test_a_driver_that_does_not_work_says_why_and_what_to_do(
    nvml: Nvml, look: Look, code: int, why: str, do: str
) -> None:
    nvml.init(code)
    found = look()
    assert why in found.why
    assert do in found.do
    assert (found.gpus, found.driver) == ((), "")
    nvml.init(0)
    assert len(look().gpus) == 4


def test_a_driver_that_lists_no_cards_at_all(nvml: Nvml, look: Look) -> None:
    nvml.fail("nvmlDeviceGetCount_v2", fake.UNKNOWN)
    assert look().why.startswith("NVML does not list the GPUs: ")


@pytest.mark.parametrize("fault", ["", "nvmlDeviceGetCount_v2", "nvmlDeviceGetUUID"])
def test_nvml_is_always_shut_down(nvml: Nvml, look: Look, fault: str) -> None:
    if fault:
        nvml.fail(fault, fake.GPU_IS_LOST)
    look()
    assert nvml.shutdowns == 1


# ---------------------------------------------------------------------------------------------------------- processes


def test_a_process_is_shown_with_its_user_and_command(nvml: Nvml, look: Look, sleeper: Any) -> None:
    pid = sleeper("--token", "hf_secret").pid
    nvml.process(0, pid, 31_000)
    nvml.process(2, pid, 1000)
    command = f"{Path(sys.executable).name} train.py"
    found = look()
    assert found.gpus[0].processes == (GpuProcess(pid, 31_000 * MIB, psutil.Process().username(), command),)
    assert [gpu.used // MIB for gpu in found.gpus] == [31_004, 4, 1004, 4]


def test_a_process_of_orch_is_known_by_its_marker(nvml: Nvml, look: Look, sleeper: Any) -> None:
    pid = sleeper(env={"ORCH_MARK": "lab-1234/qwen/00001-a/"}).pid
    nvml.process(1, pid, 10)
    assert [one.marker for one in look().gpus[1].processes] == [Marker("lab-1234", "qwen", "00001-a")]


def test_a_process_that_computes_and_draws_counts_once(nvml: Nvml, look: Look, sleeper: Any) -> None:
    pid, other = sleeper().pid, sleeper().pid
    nvml.process(0, pid, 300)
    nvml.process(0, pid, 300, kind="graphics")
    nvml.process(0, other, None, kind="graphics")
    nvml.process(0, other, 20, kind="mps")
    gpu = look().gpus[0]
    assert {one.pid: one.memory for one in gpu.processes} == {pid: 300 * MIB, other: 20 * MIB}
    assert gpu.used == 324 * MIB


def test_memory_of_a_process_that_is_not_told(nvml: Nvml, look: Look, sleeper: Any) -> None:
    nvml.process(0, sleeper().pid, None)
    assert [one.memory for one in look().gpus[0].processes] == [None]


def test_a_process_that_cannot_be_seen_has_its_pid_and_no_name(nvml: Nvml, look: Look) -> None:
    nvml.process(0, NOBODY, 5000, sticky=True)
    assert look().gpus[0].processes == (GpuProcess(NOBODY, 5000 * MIB),)


def test_a_driver_that_knows_only_the_older_calls(nvml: Nvml, look: Look) -> None:
    nvml.process(0, NOBODY, 5000, sticky=True)
    nvml.process(1, NOBODY, 70, sticky=True, kind="graphics")
    for kind in ("Compute", "Graphics", "MPSCompute"):
        nvml.fail(f"nvmlDeviceGet{kind}RunningProcesses_v3", fake.FUNCTION_NOT_FOUND)
    assert [[one.memory for one in gpu.processes] for gpu in look().gpus] == [[5000 * MIB], [70 * MIB], [], []]


def test_processes_that_are_not_told_leave_the_memory(nvml: Nvml, look: Look) -> None:
    nvml.process(0, NOBODY, 5000, sticky=True)
    for version in ("v2", "v3"):
        nvml.fail(f"nvmlDeviceGetComputeRunningProcesses_{version}", fake.NOT_SUPPORTED)
    gpu = look().gpus[0]
    assert (gpu.processes, gpu.used) == ((), 5004 * MIB)


def test_memory_is_released_some_time_after_a_process_ended(nvml: Nvml, look: Look, sleeper: Any) -> None:
    child = sleeper()
    nvml.process(0, child.pid, 8000, lag=300)
    nvml.process(1, child.pid, 9000)
    assert [gpu.used // MIB for gpu in look().gpus[:2]] == [8004, 9004]
    child.kill()
    wait_until(lambda: not look().gpus[1].processes)  # a dead process is not shown, be it waited for or not
    wait_until(lambda: look().gpus[0].used == 4 * MIB)
    assert look().gpus[1].used == 4 * MIB


def test_memory_that_is_not_released_yet_has_no_process(nvml: Nvml, look: Look, sleeper: Any) -> None:
    child = sleeper()
    nvml.process(0, child.pid, 8000, lag=600_000)
    child.kill()
    child.wait()
    gpu = look().gpus[0]
    assert (gpu.processes, gpu.used) == ((), 8004 * MIB)
    nvml.forget(child.pid)
    assert look().gpus[0].used == 4 * MIB


# -------------------------------------------------------------------------------------------------------------- links


def test_how_near_the_cards_are(nvml: Nvml, look: Look) -> None:
    nvml.links(50)
    nvml.nvlink(0, 1)
    for (a, b), level in {(0, 2): 10, (0, 3): 20, (1, 2): 30, (1, 3): 40}.items():
        nvml.link(a, b, level)
    assert look().links == (
        GpuLink(0, 1, "nvlink"),
        GpuLink(0, 2, "switch"),
        GpuLink(0, 3, "switch"),
        GpuLink(1, 2, "bridge"),
        GpuLink(1, 3, "node"),
        GpuLink(2, 3, "system"),
    )


def test_without_word_of_nvlink_the_topology_counts(nvml: Nvml, look: Look) -> None:
    nvml.gpus(2)
    nvml.fail("nvmlDeviceGetP2PStatus", fake.NOT_SUPPORTED)
    assert look().links == (GpuLink(0, 1, "node"),)


def test_cards_of_unknown_topology_have_no_link(nvml: Nvml, look: Look) -> None:
    nvml.nvlink(2, 3)
    nvml.fail("nvmlDeviceGetTopologyCommonAncestor", fake.NOT_SUPPORTED)
    assert look().links == (GpuLink(2, 3, "nvlink"),)


@pytest.mark.parametrize(("count", "words"), [(0, ""), (1, ""), (2, "the IOMMU translates")])
def test_what_blocks_the_way_between_cards_is_told_of_several(nvml: Nvml, look: Look, count: int, words: str) -> None:
    nvml.gpus(count)
    assert (len(look().gpus), look().peers_blocked) == (count, words)


# ---------------------------------------------------------------------------------------------------------- no library

ONCE = """
import sys
from orchestrator import nvml
nvml.LIBRARY = sys.argv[1]
found = nvml.Nvml().inventory()
print(found.why if found else found, [name for name in ("pynvml", "psutil") if name in sys.modules])
"""


def once(library: str) -> str:
    done = subprocess.run([sys.executable, "-c", ONCE, library], capture_output=True, text=True, check=True, env={})
    return done.stdout.strip()


def test_without_the_library_there_is_no_nvml_and_nothing_is_imported() -> None:
    assert once("libnvidia-ml-of-nobody.so.1") == "None []"


def test_a_library_that_does_not_load_is_not_called_absent(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    told = once(str(tmp_path / "libnvidia-ml.so.1"))
    assert told.startswith("the driver's library cannot be loaded: ")
    assert told.endswith("[]")


def test_a_driver_that_hangs_is_told_as_one(nvml_library: Path, nvml: Nvml) -> None:
    nvml.init(fake.HANG)
    text = (
        "from orchestrator.nvml import Nvml; found = Nvml(patience=0.2).inventory(); print(found.why); print(found.do)"
    )
    done = subprocess.run([sys.executable, "-c", text], env=nvml.env, capture_output=True, text=True, check=True)
    why, do = done.stdout.splitlines()
    assert why == "the NVIDIA driver hangs: NVML gave no answer within 0.2 s"
    assert "sudo dmesg" in do


def test_a_driver_where_no_loader_looks_is_found(nvml_library: Path, nvml: Nvml) -> None:
    text = (
        "import sys, pathlib; from orchestrator.nvml import Nvml; "
        "print(len(Nvml(folders=[pathlib.Path('/nowhere'), pathlib.Path(sys.argv[1])]).inventory().gpus))"
    )
    command = [sys.executable, "-c", text, str(nvml_library)]
    done = subprocess.run(command, env={"FAKE_NVML": str(nvml.script)}, capture_output=True, text=True, check=True)
    assert done.stdout == "4\n"
