"""Every fault that links can mend: it is shown, found, mended, seen to be gone, and comes back when the mend is undone.
The library is a stand-in; that it loads and that files link with it is tried with the real tools."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fakes.cuda import Host, Standins, describe, make_cuda_runtime

from orchestrator.model import Deployment, Laid

MakeHost = Callable[..., Host]


@pytest.fixture(scope="session")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A runtime with this version of Triton, made once."""
    made: dict[str, Path] = {}

    def take(triton: str) -> Path:
        if triton not in made:
            made[triton] = make_cuda_runtime(tmp_path_factory.mktemp("runtime") / f"rt-{triton or 'none'}", triton)
        return made[triton]

    return take


@pytest.fixture
def host(tmp_path: Path, runtimes: Callable[[str], Path]) -> MakeHost:
    """A host without any libcuda, whose engines are of a runtime with this Triton."""
    if Path("/proc/driver/nvidia").exists() or loads(dict(os.environ), "python3"):
        pytest.skip("this machine has a driver, so that its libcuda is found whatever a test takes away")

    def make(triton: str = "", **fields: object) -> Host:
        return Host(tmp_path / "host", describe(runtimes(triton)), **fields)  # type: ignore[arg-type]

    return make


def driver_in(folder: Path, standins: Standins) -> Path:
    """The driver's library under its own name, as an installer leaves it; answers the link that is loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(standins.driver, folder / standins.driver.name)
    (folder / "libcuda.so.1").symlink_to(standins.driver.name)
    return folder / "libcuda.so.1"


# ------------------------------------------------------------------ what an engine would do, without any code of orch's


def loads(env: Mapping[str, str], python: str) -> bool:
    code = "import ctypes, sys; sys.exit(ctypes.CDLL('libcuda.so.1').cuInit(0))"
    return subprocess.run([python, "-c", code], env=env, capture_output=True, check=False).returncode == 0


def links(env: Mapping[str, str], folder: Path, *flags: str) -> bool:
    (folder / "t.c").write_text("int cuInit(unsigned);\nint f(void) { return cuInit(0); }\n")
    command = ["gcc", "t.c", "-shared", "-fPIC", "-o", "t.so", *flags]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, check=False).returncode == 0


def works(host: Host, wanted: Deployment, laid: Laid | None, folder: Path, flag: str = "") -> tuple[bool, bool]:
    env = host.engine_env(wanted, laid)
    return loads(env, host.info.python), not flag or links(env, folder, flag)


# ----------------------------------------------------------------------------------------------------------- the faults


FAULTS = {  # the runtime's Triton, the flag it links with, what `ldconfig` lists, whether loading fails, what is said
    "nothing-found": ("", "", False, True, "cannot load libcuda.so.1: cannot open shared object file"),
    "no-link-to-link-with": (
        "3.5.1",
        "-lcuda",
        True,
        None,
        "cannot link with -lcuda as Triton 3.5.1 does: cannot find",
    ),
    "triton-finds-none": ("3.6.0", "-l:libcuda.so.1", False, True, "Triton finds no libcuda.so.1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_must_be_found_mended_proven_and_come_back(
    host: MakeHost, cuda_standins: Standins, tmp_path: Path, fault: str
) -> None:
    triton, flag, listed, _, said = FAULTS[fault]
    here = host(triton)
    target = driver_in(here.root / "tree/usr/local/nvidia/lib64", cuda_standins)
    if listed:
        here.list_folders(target.parent)
    wanted = here.wanted()
    assert works(here, wanted, None, tmp_path, flag) != (True, True)

    mend = here.mender.mend(wanted, here.info)
    assert mend is not None
    assert any(said in why for why in mend.why), mend.why
    assert mend.laid == Laid(f"{here.home}/.local/lib/orch/lab", str(target), load=True)
    assert here.mender.laid("lab") is None
    assert not (here.home / ".local").exists()

    here.mender.repair(wanted, here.info)
    assert here.mender.laid("lab") == mend.laid
    assert works(here, wanted, mend.laid, tmp_path, flag) == (True, True)
    assert here.mender.mend(wanted, here.info) is None

    assert here.mender.unmend("lab") is True
    assert here.mender.laid("lab") is None
    assert works(here, wanted, None, tmp_path, flag) != (True, True)
    assert here.mender.mend(wanted, here.info) == mend
    assert here.mender.unmend("lab") is False
