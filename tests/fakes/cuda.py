"""Stand-ins for a driver's library, compiled by gcc, and runtimes that say they hold a torch for CUDA."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fakes.runtime import make_fake_runtime

from orchestrator.cuda.mender import CudaMender
from orchestrator.cuda.places import Places
from orchestrator.model import Deployment, Laid, ModelRef, Policy, RuntimeInfo, RuntimeSpec, Serve, Spec

LIBCUDA = """\
int cuInit(unsigned int flags) {{ return {answer}; }}
int cuDriverGetVersion(int *version) {{ *version = 12040; return {answer}; }}
"""
STUB = 34  # CUDA_ERROR_STUB_LIBRARY, as the toolkit's stub answers


def compile_library(file: Path, source: str, *flags: str, soname: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    named = [f"-Wl,-soname,{soname or file.name}"]
    command = ["gcc", "-x", "c", "-", "-shared", "-fPIC", "-o", str(file), *named, *flags]
    subprocess.run(command, input=source, text=True, check=True, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    return file


@dataclass(frozen=True)
class Standins:
    """``driver`` answers as a driver's library does, ``stub`` as the one of a toolkit; ``text`` is no library at all,
    ``alien`` one for another machine."""

    driver: Path
    stub: Path
    text: Path
    alien: Path


def make_standins(folder: Path) -> Standins:
    driver = compile_library(folder / "driver/libcuda.so.550.54", LIBCUDA.format(answer=0), soname="libcuda.so.1")
    stub = compile_library(folder / "toolkit/libcuda.so", LIBCUDA.format(answer=STUB), soname="libcuda.so.1")
    text, alien = folder / "text/libcuda.so.1", folder / "alien/libcuda.so.1"
    for file in (text, alien):
        file.parent.mkdir()
    text.write_text("INPUT(libcuda.so.550.54)\n")
    content = bytearray(driver.read_bytes())
    content[18:20] = (243).to_bytes(2, "little")  # RISC-V
    alien.write_bytes(content)
    return Standins(driver, stub, text, alien)


def make_cuda_runtime(folder: Path, triton: str = "", torch: str = "2.9.0+cu128") -> Path:
    """The fake engine's, with a torch for CUDA and a Triton by name alone: that is all that is looked at."""
    make_fake_runtime(folder)
    packages = next(folder.glob("lib/python3*/site-packages"))
    for name, version in {"torch": torch, "triton": triton}.items():
        if version:
            install_name(packages, name, version)
    return folder


def install_name(packages: Path, name: str, version: str) -> None:
    info = packages / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def describe(prefix: Path, *, torch: str = "2.9.0+cu128", libraries: Iterable[Path] = ()) -> RuntimeInfo:
    python = str(prefix / "bin/python")
    program = (str(prefix / "bin/vllm"), "serve")
    own = tuple(str(folder) for folder in libraries)
    return RuntimeInfo(f"venv-{prefix.name}", str(prefix), python, "vllm", "9.9.9", program, "serve", {}, torch, own)


@dataclass
class Host:
    """A host below ``root``: a home, a ldconfig cache that lists nothing yet, and environments whose engines are of
    ``info``. The real loader is the machine's own."""

    root: Path
    info: RuntimeInfo
    libcuda: str = "auto"
    cuda_home: str | None = None
    ldconfigs: tuple[str, ...] = ("/sbin/ldconfig",)

    def __post_init__(self) -> None:
        self.env: dict[str, str] = {"PATH": str(tools_in(self.root / "bin"))}
        self.home = self.root / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.list_folders()

    @property
    def mender(self) -> CudaMender:
        places = Places(root=self.root / "tree", cache=self.root / "ld.so.cache", ldconfigs=self.ldconfigs)
        return CudaMender({"HOME": str(self.home)}, self.root / "cache", places)

    def list_folders(self, *folders: Path) -> None:
        """What `ldconfig -p` lists on this host."""
        make_cache(self.root / "ld.so.cache", folders)

    def wanted(self, environment: str = "lab", **env: str) -> Deployment:
        runtime = RuntimeSpec("venv", self.info.prefix)
        spec = Spec(ModelRef(path="/models/tiny"), Serve(), runtime, cuda_home=self.cuda_home, env={**self.env, **env})
        return Deployment("tiny", environment, spec, Policy(libcuda=self.libcuda))

    def engine_env(self, wanted: Deployment, laid: Laid | None) -> dict[str, str]:
        return self.mender.environment(wanted, self.info, laid)


def tools_in(folder: Path) -> Path:
    """What compiling takes, and no nvcc that this machine may have."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("as", "false", "gcc", "ld", "sh"):
        if (found := shutil.which(name)) and not (folder / name).exists():
            (folder / name).symlink_to(found)
    return folder


def make_cache(file: Path, folders: Iterable[Path]) -> None:
    """ldconfig builds one as any user. ``-X`` leaves the links in the folders as they are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    config = file.with_suffix(".conf")
    config.write_text("".join(f"{folder}\n" for folder in folders))
    subprocess.run(["/sbin/ldconfig", "-X", "-C", str(file), "-f", str(config)], check=True, capture_output=True)
