"""Every fault that links can mend: it is shown, found, mended, seen to be gone, and comes back when the mend is undone.
The library is a stand-in; that it loads and that files link with it is tried with the real tools."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fakes.cuda import LIBCUDA, Host, Standins, compile_library, describe, install_name, make_cuda_runtime

from orchestrator.cuda import libcuda, trials
from orchestrator.cuda import links as cuda_links
from orchestrator.errors import HostError
from orchestrator.model import Deployment, Laid

MakeHost = Callable[..., Host]
NVIDIA = "tree/usr/local/nvidia/lib64"  # where a container has its driver, and no loader looks


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
    if loads(dict(os.environ), sys.executable):
        pytest.skip("this machine has a driver, and its libcuda is found whatever a test takes away")

    def make(triton: str = "", **fields: Any) -> Host:
        return Host(tmp_path / "host", describe(runtimes(triton)), **fields)

    return make


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, a test that starts a process fails."""

    def refuse(argv: Any, **_: Any) -> None:
        pytest.fail(f"{argv} was started")

    def begin() -> None:
        for module in (trials, libcuda):
            monkeypatch.setattr(module, "run", refuse)

    return begin


def driver_in(folder: Path, standins: Standins, *, dev: bool = False) -> Path:
    """The driver's library as an installer leaves it; answers the link that is loaded. ``dev``: and that to link with,
    which not every driver brings."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(standins.driver, folder / standins.driver.name)
    (folder / "libcuda.so.1").symlink_to(standins.driver.name)
    if dev:
        (folder / "libcuda.so").symlink_to("libcuda.so.1")
    return folder / "libcuda.so.1"


def copied(source: Path, folder: Path, name: str = "libcuda.so.1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(source, folder / name))


# ------------------------------------------------------------------ what an engine would do, without any code of orch's


def loads(env: Mapping[str, str], python: str, name: str = "libcuda.so.1") -> bool:
    code = f"import ctypes, sys; sys.exit(ctypes.CDLL({name!r}).cuInit(0))"
    return subprocess.run([python, "-c", code], env=env, capture_output=True, check=False).returncode == 0


def links(env: Mapping[str, str], folder: Path, *flags: str) -> bool:
    (folder / "t.c").write_text("int cuInit(unsigned);\nint f(void) { return cuInit(0); }\n")
    command = ["gcc", "t.c", "-shared", "-fPIC", "-o", "t.so", *flags]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, check=False).returncode == 0


# ----------------------------------------------------------------------------------------------------------- the faults


@dataclass(frozen=True)
class Fault:
    """A host that has one: ``loads`` and ``links`` say what does not work there. ``flags`` are what its engine links
    with: nothing means that Triton gives up before it links, or that nothing links."""

    host: Host
    target: Path
    said: str
    loads: bool = False
    links: bool = True
    flags: tuple[str, ...] = ()


def nothing_found(host: MakeHost, standins: Standins) -> Fault:
    here = host()
    return Fault(here, driver_in(here.root / NVIDIA, standins), "cannot load libcuda.so.1: cannot open shared object")


def stub_first(host: MakeHost, standins: Standins) -> Fault:
    """Somebody copied the toolkit's stub to where it is loaded from."""
    here = host()
    here.env["LD_LIBRARY_PATH"] = str(copied(standins.stub, here.root / "users").parent)
    return Fault(here, driver_in(here.root / NVIDIA, standins), "is a toolkit's stub: its cuInit answers 34")


def compat_first(host: MakeHost, standins: Standins) -> Fault:
    """A compatibility library answers that it serves no card like this one, and the driver's own would."""
    here = host()
    compat = here.root / "tree/usr/local/cuda/compat"
    compile_library(compat / "libcuda.so.1", LIBCUDA.format(answer=804))
    here.env["LD_LIBRARY_PATH"] = str(compat)
    return Fault(here, driver_in(here.root / NVIDIA, standins), "finds no GPU (its cuInit answers 804)")


def no_link_to_link_with(host: MakeHost, standins: Standins) -> Fault:
    """The driver is found at load time and listed; libcuda.so would come with a development package."""
    here = host("3.5.1")
    target = driver_in(here.root / "driver", standins)
    here.list_folders(target.parent)
    here.env["LD_LIBRARY_PATH"] = str(target.parent)
    return Fault(
        here, target, "cannot link with -lcuda as Triton 3.5.1 does: cannot find -lcuda", True, False, ("-lcuda",)
    )


def no_ldconfig(host: MakeHost, standins: Standins) -> Fault:
    here = host("3.6.0", ldconfigs=("/nowhere/ldconfig",))
    target = driver_in(here.root / "driver", standins)
    here.env["LD_LIBRARY_PATH"] = str(target.parent)
    flags = ("-l:libcuda.so.1",)
    return Fault(here, target, "Triton calls /nowhere/ldconfig, which is not there", True, False, flags)


def listed_nowhere(host: MakeHost, standins: Standins) -> Fault:
    here = host("3.6.0")
    target = driver_in(here.root / NVIDIA, standins)
    return Fault(here, target, "Triton finds no libcuda.so.1", False, False, ("-l:libcuda.so.1",))


def wrong_triton_path(host: MakeHost, standins: Standins) -> Fault:
    here = host("3.6.0")
    target = driver_in(here.root / "driver", standins)
    here.env |= {"LD_LIBRARY_PATH": str(target.parent), "TRITON_LIBCUDA_PATH": "/nowhere"}
    return Fault(here, target, "cannot find -l:libcuda.so.1", True, False, ("-l:libcuda.so.1",))


def jit_without_stubs(host: MakeHost, standins: Standins) -> Fault:
    here = host(cuda_home="/nowhere/cuda-12.4")
    target = driver_in(here.root / "driver", standins)
    here.env["LD_LIBRARY_PATH"] = str(target.parent)
    return Fault(here, target, "cannot link a JIT kernel with -lcuda: cannot find -lcuda", True, False, ("-lcuda",))


FAULTS = (
    nothing_found, stub_first, compat_first, no_link_to_link_with, no_ldconfig, listed_nowhere, wrong_triton_path,
    jit_without_stubs,
)  # fmt: skip


@pytest.mark.parametrize("make", FAULTS, ids=lambda make: make.__name__)
def test_a_fault_is_shown_found_mended_proven_and_undone(
    make: Callable[[MakeHost, Standins], Fault], host: MakeHost, cuda_standins: Standins, tmp_path: Path
) -> None:
    fault = make(host, cuda_standins)
    here, wanted = fault.host, fault.host.wanted()

    def works(laid: Laid | None) -> tuple[bool, bool]:
        env = here.engine_env(wanted, laid)
        return loads(env, here.info.python), links(env, tmp_path, *fault.flags) if fault.flags else True

    assert works(None) == (fault.loads, fault.links)

    mend = here.mender.mend(wanted, here.info)
    assert mend is not None
    assert any(fault.said in why for why in mend.why), mend.why
    assert mend.laid == Laid(f"{here.home}/.local/lib/orch/lab", str(fault.target), load=not fault.loads)
    assert not (here.home / ".local").exists()

    here.mender.repair(wanted, here.info)
    laid = here.mender.laid("lab")
    assert laid == mend.laid
    assert works(laid) == (True, True)
    assert here.mender.mend(wanted, here.info) is None
    here.mender.repair(wanted, here.info)
    assert here.mender.laid("lab") == laid

    assert here.mender.unmend("lab") is True
    assert not Path(mend.laid.folder).exists()
    assert works(None) == (fault.loads, fault.links)
    assert here.mender.mend(wanted, here.info) == mend
    assert here.mender.unmend("lab") is False


def test_what_a_mend_changes_for_the_engine(host: MakeHost, cuda_standins: Standins) -> None:
    """LD_LIBRARY_PATH is touched only where loading fails without it."""
    fault = no_link_to_link_with(host, cuda_standins)
    folder = f"{fault.host.home}/.local/lib/orch/lab"
    mend = fault.host.mender.mend(fault.host.wanted(), fault.host.info)
    assert mend is not None
    assert mend.before == {}
    assert mend.after == {"LIBRARY_PATH": folder, "TRITON_LIBCUDA_PATH": folder}

    fault = stub_first(host, cuda_standins)
    users = fault.host.env["LD_LIBRARY_PATH"]
    mend = fault.host.mender.mend(fault.host.wanted(), fault.host.info)
    assert mend is not None
    assert mend.before == {"LD_LIBRARY_PATH": users}
    assert mend.after == mend.after | {"LD_LIBRARY_PATH": f"{folder}:{users}"}


def test_other_libraries_of_the_driver_are_found_where_libcuda_is(
    host: MakeHost, cuda_standins: Standins, tmp_path: Path
) -> None:
    """As on WSL2, where libcuda needs a libdxcore that lies beside it."""
    here = host()
    folder = here.root / NVIDIA
    compile_library(folder / "libdxcore.so", "int dxcore(void) { return 0; }\n")
    compile_library(folder / "libnvidia-ptxjitcompiler.so.1", "int ptx(void) { return 0; }\n")
    (folder / "libother.so.1").touch()
    source = "int dxcore(void);\nint cuInit(unsigned flags) { return dxcore(); }\n"
    compile_library(folder / "libcuda.so.1", source, f"-L{folder}", "-l:libdxcore.so")
    wanted = here.wanted()
    assert not loads(here.engine_env(wanted, None), here.info.python, str(folder / "libcuda.so.1"))

    here.mender.repair(wanted, here.info)
    laid = here.mender.laid("lab")
    assert laid is not None
    assert loads(here.engine_env(wanted, laid), here.info.python)
    links_laid = {path.name for path in Path(laid.folder).iterdir() if path.is_symlink()}
    assert links_laid == {"libcuda.so", "libcuda.so.1", "libdxcore.so", "libnvidia-ptxjitcompiler.so.1"}

    (folder / "libnvidia-ptxjitcompiler.so.1").unlink()
    mend = here.mender.mend(wanted, here.info)
    assert mend is not None
    assert "libnvidia-ptxjitcompiler.so.1, which is gone" in mend.why[0]
    here.mender.repair(wanted, here.info)
    assert not (Path(laid.folder) / "libnvidia-ptxjitcompiler.so.1").is_symlink()
    assert here.mender.unmend("lab") is True
    assert not Path(laid.folder).exists()


# ------------------------------------------------------------------------------------------------------ nothing to mend


def test_nothing_is_mended_where_all_works(host: MakeHost, cuda_standins: Standins) -> None:
    here = host("3.5.1", cuda_home="/nowhere/cuda")
    target = driver_in(here.root / "driver", cuda_standins, dev=True)
    here.list_folders(target.parent)
    here.env |= {"LD_LIBRARY_PATH": str(target.parent), "LIBRARY_PATH": str(target.parent)}
    assert here.mender.mend(here.wanted(), here.info) is None
    assert [trial.ok for trial in here.mender.findings(here.wanted(), here.info).trials] == [True, True, True]
    here.mender.repair(here.wanted(), here.info)
    assert not (here.home / ".local").exists()


def test_a_toolkit_with_its_stubs_links_jit_kernels(host: MakeHost, cuda_standins: Standins) -> None:
    here = host()
    target = driver_in(here.root / "driver", cuda_standins)
    here.env["LD_LIBRARY_PATH"] = str(target.parent)
    here.cuda_home = str(here.root / "cuda")
    copied(cuda_standins.stub, here.root / "cuda/lib64/stubs", "libcuda.so")
    assert here.mender.mend(here.wanted(), here.info) is None


@pytest.mark.parametrize(
    "fields", [{"libcuda": "off"}, {"torch": "2.9.0+cpu"}, {"torch": "2.9.0+rocm6"}, {"torch": ""}]
)
def test_an_engine_that_needs_no_libcuda_is_left_alone(
    fields: dict[str, str], host: MakeHost, cuda_standins: Standins, no_process: Callable[[], None]
) -> None:
    fault = nothing_found(host, cuda_standins)
    here = fault.host
    here.libcuda = fields.get("libcuda", "auto")
    no_process()
    assert here.mender.mend(here.wanted(), replace(here.info, torch=fields.get("torch", here.info.torch))) is None


def test_an_nvcc_counts_where_a_toolkit_is(host: MakeHost, cuda_standins: Standins) -> None:
    """A script on PATH that calls the nvcc of elsewhere is no toolkit."""
    here = host()
    target = driver_in(here.root / "driver", cuda_standins)
    nvcc = here.root / "toolkit/bin/nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)
    here.env |= {"LD_LIBRARY_PATH": str(target.parent), "PATH": f"{here.env['PATH']}:{nvcc.parent}"}
    assert here.mender.mend(here.wanted(), here.info) is None
    (here.root / "toolkit/include").mkdir()
    (here.root / "toolkit/include/cuda.h").touch()
    mend = here.mender.mend(here.wanted(), here.info)
    assert mend is not None
    assert mend.why == ("cannot link a JIT kernel with -lcuda: cannot find -lcuda: No such file or directory",)


def test_a_host_without_a_driver_is_not_mended(host: MakeHost) -> None:
    here = host("3.5.1")
    assert here.mender.mend(here.wanted(), here.info) is None
    assert len(here.mender.findings(here.wanted(), here.info).failed) == 2
    here.mender.repair(here.wanted(), here.info)
    assert here.mender.laid("lab") is None


def test_a_driver_without_a_gpu_is_no_fault_of_its_links(host: MakeHost) -> None:
    here = host()
    library = compile_library(here.root / NVIDIA / "libcuda.so.1", LIBCUDA.format(answer=100))
    here.env["LD_LIBRARY_PATH"] = str(library.parent)
    assert here.mender.mend(here.wanted(), here.info) is None
    assert here.mender.findings(here.wanted(), here.info).loaded.init == 100


# --------------------------------------------------------------------------------------------------- what is remembered


def test_a_second_look_starts_no_process(
    host: MakeHost, cuda_standins: Standins, no_process: Callable[[], None]
) -> None:
    fault = listed_nowhere(host, cuda_standins)
    here = fault.host
    first = here.mender.mend(here.wanted(), here.info)
    assert first is not None
    here.mender.repair(here.wanted(), here.info)
    no_process()
    assert here.mender.mend(here.wanted(), here.info) is None
    assert here.mender.unmend("lab")
    assert here.mender.mend(here.wanted(), here.info) == first
    assert here.mender.mend(here.wanted(HF_TOKEN_PATH="/else"), here.info) == first  # not what it depends on


def test_without_a_compiler_a_second_look_starts_no_process(host: MakeHost, no_process: Callable[[], None]) -> None:
    here = host("3.6.0")
    (here.root / "lib").mkdir()
    (here.root / "lib/libcuda.so.1").touch()
    here.env |= {"PATH": "/nowhere", "TRITON_LIBCUDA_PATH": f"{here.root}/lib"}
    assert here.mender.mend(here.wanted(), here.info) is None
    no_process()
    assert here.mender.mend(here.wanted(), here.info) is None


def other_variable(here: Host) -> None:
    here.env["LD_LIBRARY_PATH"] = "/else"


def other_python(here: Host) -> None:
    os.utime(here.info.python, (1, 1))


def other_packages(here: Host) -> None:
    packages = next(Path(here.info.prefix).glob("lib/python3*/site-packages"))
    install_name(packages, "triton", "3.5.1")


def other_cache(here: Host) -> None:
    here.list_folders(here.root / NVIDIA)


def driver_appears(here: Host) -> None:
    copied(here.root / NVIDIA / "libcuda.so.1", here.root / "tree/usr/lib64")


def driver_is_updated(here: Host) -> None:
    os.utime(here.root / NVIDIA / "libcuda.so.1", (1, 1))


def memory_is_damaged(here: Host) -> None:
    for file in (here.root / "cache").rglob("*.json"):
        file.write_text("{")


CHANGES = (
    other_variable, other_python, other_packages, other_cache, driver_appears, driver_is_updated, memory_is_damaged,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_changed_is_tried_again(
    change: Callable[[Host], None], cuda_standins: Standins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Host(tmp_path / "host", describe(own_runtime(tmp_path / "own")))
    driver_in(here.root / NVIDIA, cuda_standins)
    here.mender.findings(here.wanted(), here.info)
    asked = []

    def count(argv: Any, **given: Any) -> Any:
        asked.append(argv)
        return run(argv, **given)

    run = trials.run
    monkeypatch.setattr(trials, "run", count)
    here.mender.findings(here.wanted(), here.info)
    assert asked == []
    change(here)
    here.mender.findings(here.wanted(), here.info)
    assert asked


def own_runtime(folder: Path) -> Path:
    """One that a test may change: its Python is no link to that of others."""
    prefix = make_cuda_runtime(folder)
    python = prefix / "bin/python"
    wrapped = f'#!/bin/sh\nexec "{prefix}/bin/python3" "$@"\n'
    python.unlink()
    if not (prefix / "bin/python3").exists():
        (prefix / "bin/python3").symlink_to(sys.executable)
    python.write_text(wrapped)
    python.chmod(0o755)
    return prefix


def test_a_cache_that_cannot_be_written_costs_nothing(host: MakeHost, cuda_standins: Standins) -> None:
    fault = nothing_found(host, cuda_standins)
    (fault.host.root / "cache").write_text("a file")
    assert fault.host.mender.mend(fault.host.wanted(), fault.host.info) is not None


# ----------------------------------------------------------------------------------------------- links that do not help


def deaf_compiler(here: Host) -> Path:
    """Knows nothing of LIBRARY_PATH, as one that compiles for another machine."""
    script = here.root / "cc"
    script.write_text('#!/bin/sh\nunset LIBRARY_PATH\nexec gcc "$@"\n')
    script.chmod(0o755)
    return script


def test_links_that_do_not_help_are_taken_away(host: MakeHost, cuda_standins: Standins) -> None:
    fault = jit_without_stubs(host, cuda_standins)
    here = fault.host
    here.env["CC"] = str(deaf_compiler(here))
    with pytest.raises(HostError) as caught:
        here.mender.repair(here.wanted(), here.info)
    assert str(caught.value) == (
        f"cannot mend libcuda of lab: with links to {fault.target} it still cannot link a JIT kernel with -lcuda: "
        "cannot find -lcuda: No such file or directory; the links were taken away; see `orch doctor`"
    )
    assert here.mender.laid("lab") is None
    assert not (here.home / ".local/lib/orch/lab").exists()


def test_a_test_that_cannot_be_made_again_proves_no_mend(host: MakeHost) -> None:
    here = host()
    source = """
        #include <stdlib.h>
        int cuInit(unsigned flags) { if (getenv("LIBRARY_PATH")) _Exit(3); return 0; }
    """
    compile_library(here.root / NVIDIA / "libcuda.so.1", source)
    with pytest.raises(HostError, match=r"it still cannot load libcuda.so.1: .*python: exit status 3; the links were"):
        here.mender.repair(here.wanted(), here.info)
    assert here.mender.laid("lab") is None


def test_what_had_been_laid_before_is_put_back(host: MakeHost, cuda_standins: Standins) -> None:
    fault = listed_nowhere(host, cuda_standins)
    here = fault.host
    here.mender.repair(here.wanted(), here.info)
    before = {path.name: path.lstat().st_mode for path in (here.home / ".local/lib/orch/lab").iterdir()}
    laid = here.mender.laid("lab")
    here.cuda_home, here.libcuda = "/nowhere/cuda", str(cuda_standins.driver)
    here.env["CC"] = str(deaf_compiler(here))
    with pytest.raises(HostError, match="link a JIT kernel"):
        here.mender.repair(here.wanted(), here.info)
    assert here.mender.laid("lab") == laid
    assert {path.name: path.lstat().st_mode for path in (here.home / ".local/lib/orch/lab").iterdir()} == before
    assert laid is not None
    assert (Path(laid.folder) / "libcuda.so.1").readlink() == Path(laid.target)


# ------------------------------------------------------------------------------------------------------------ bad input


def test_links_that_lead_nowhere_are_laid_anew(host: MakeHost, cuda_standins: Standins) -> None:
    fault = nothing_found(host, cuda_standins)
    here = fault.host
    here.mender.repair(here.wanted(), here.info)
    shutil.rmtree(fault.target.parent)
    target = driver_in(here.root / "tree/usr/lib64", cuda_standins)
    assert not loads(here.engine_env(here.wanted(), here.mender.laid("lab")), here.info.python)
    mend = here.mender.mend(here.wanted(), here.info)
    assert mend is not None
    link = here.home / ".local/lib/orch/lab/libcuda.so.1"
    assert f"{link} points to {fault.target}, which is gone" in mend.why
    here.mender.repair(here.wanted(), here.info)
    assert here.mender.laid("lab") == mend.laid
    assert mend.laid.target == str(target)
    assert loads(here.engine_env(here.wanted(), mend.laid), here.info.python)


@pytest.mark.parametrize("note", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "target": 5, "load": true}', "gone"])
def test_a_damaged_note_counts_as_absent(note: str, host: MakeHost, cuda_standins: Standins) -> None:
    fault = nothing_found(host, cuda_standins)
    here = fault.host
    here.mender.repair(here.wanted(), here.info)
    laid = here.mender.laid("lab")
    file = here.home / ".local/lib/orch/lab/laid.json"
    if note == "gone":
        file.unlink()
    else:
        file.write_text(note)
    assert here.mender.laid("lab") is None
    assert here.mender.mend(here.wanted(), here.info) is not None
    here.mender.repair(here.wanted(), here.info)
    assert here.mender.laid("lab") == laid
    file.write_text(note)
    assert here.mender.unmend("lab") is True
    assert not file.parent.exists()


OBSTACLES = {
    "a folder in the place of the link": ("lab/libcuda.so.1/keep", ".local/lib/orch/lab/libcuda.so.1"),
    "a real library in the place of the link": ("lab/libcuda.so", ".local/lib/orch/lab/libcuda.so"),
    "a file in the place of the folder": ("lab", ".local/lib/orch/lab"),
    "a folder in the place of the note": ("lab/laid.json/keep", ".local/lib/orch/lab/laid.json"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_is_in_the_way_is_named_and_stays(name: str, host: MakeHost, cuda_standins: Standins) -> None:
    fault = nothing_found(host, cuda_standins)
    here = fault.host
    obstacle, said = OBSTACLES[name]
    file = here.home / ".local/lib/orch" / obstacle
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    before = sorted(here.home.rglob("*"))
    with pytest.raises(HostError, match="is in the way") as caught:
        here.mender.repair(here.wanted(), here.info)
    assert f"{here.home}/{said} is in the way" in str(caught.value)
    assert file.read_text() == "mine"
    assert sorted(path for path in here.home.rglob("*") if path.name != ".lock") == before
    here.mender.unmend("lab")
    assert file.read_text() == "mine"


@pytest.mark.parametrize("put", [Path.touch, lambda top: top.symlink_to("/nowhere/at/all")], ids=["file", "link"])
@pytest.mark.parametrize("place", [".local", ".local/lib/orch"])
def test_what_stands_where_a_folder_above_belongs_is_named(
    place: str, put: Callable[[Path], None], host: MakeHost, cuda_standins: Standins
) -> None:
    here = nothing_found(host, cuda_standins).host
    top = here.home / place
    top.parent.mkdir(parents=True, exist_ok=True)
    put(top)
    with pytest.raises(HostError, match=f"{top} is in the way: a folder belongs there; move it away"):
        here.mender.repair(here.wanted(), here.info)


def test_a_folder_that_is_a_link_elsewhere_is_not_written_through(host: MakeHost, cuda_standins: Standins) -> None:
    fault = nothing_found(host, cuda_standins)
    here = fault.host
    elsewhere = here.root / "elsewhere"
    elsewhere.mkdir()
    (here.home / ".local/lib/orch").mkdir(parents=True)
    (here.home / ".local/lib/orch/lab").symlink_to(elsewhere)
    with pytest.raises(HostError, match="is in the way"):
        here.mender.repair(here.wanted(), here.info)
    assert list(elsewhere.iterdir()) == []


def test_other_files_in_the_folder_stay(host: MakeHost, cuda_standins: Standins) -> None:
    fault = nothing_found(host, cuda_standins)
    here = fault.host
    mine = here.home / ".local/lib/orch/lab/notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    here.mender.repair(here.wanted(), here.info)
    assert here.mender.unmend("lab") is True
    assert list(mine.parent.iterdir()) == [mine]


def test_a_home_that_cannot_be_written(host: MakeHost, cuda_standins: Standins) -> None:
    fault = nothing_found(host, cuda_standins)
    fault.host.home = Path("/sys/kernel")  # where not even root can make a folder
    with pytest.raises(
        HostError, match=r"cannot lay links to libcuda: /sys/.*; make /sys/.* writable, or set `libcuda"
    ):
        fault.host.mender.repair(fault.host.wanted(), fault.host.info)


def test_no_compiler_is_a_finding_and_no_fault_of_libcuda(host: MakeHost, cuda_standins: Standins) -> None:
    fault = no_link_to_link_with(host, cuda_standins)
    here = fault.host
    for env, said in (
        ({"PATH": "/nowhere"}, "there is no compiler: neither CC, nor gcc or clang on the engine's PATH"),
        ({"CC": "/nowhere/cc"}, "the compiler does not work: /nowhere/cc: there is no such file"),
        ({"CC": "false"}, "the compiler does not work: exit status 1"),
    ):
        link = here.mender.findings(here.wanted(**env), here.info).linked[0]
        assert (link.ok, link.why) == (None, said)
        assert here.mender.mend(here.wanted(**env), here.info) is None


def test_the_compiler_that_the_environment_names_is_used(host: MakeHost, cuda_standins: Standins) -> None:
    fault = no_link_to_link_with(host, cuda_standins)
    script = deaf_compiler(fault.host)
    link = fault.host.mender.findings(fault.host.wanted(CC=str(script)), fault.host.info).linked[0]
    assert link.command[0] == str(script)
    assert link.ok is False


def test_a_library_that_brings_python_down_is_passed_over(host: MakeHost, cuda_standins: Standins) -> None:
    here = host()
    bad = "void __attribute__((constructor)) fall(void) { __builtin_trap(); }\n"
    compile_library(here.root / "tree/usr/lib64/libcuda.so.1", bad)
    target = driver_in(here.root / NVIDIA, cuda_standins)
    here.env["LD_LIBRARY_PATH"] = str(here.root / "tree/usr/lib64")
    mend = here.mender.mend(here.wanted(), here.info)
    assert mend is not None
    assert "ended by SIG" in mend.why[0]
    assert mend.laid.target == str(target)
    here.mender.repair(here.wanted(), here.info)
    assert here.mender.mend(here.wanted(), here.info) is None


def test_a_library_that_hangs_proves_nothing(
    host: MakeHost, cuda_standins: Standins, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = host()
    source = "int cuInit(unsigned flags) { for (;;) ; }\n"
    library = compile_library(here.root / "slow/libcuda.so.1", source)
    here.env["LD_LIBRARY_PATH"] = str(library.parent)
    monkeypatch.setattr(trials, "LOAD_TIMEOUT", 0.3)
    assert here.mender.mend(here.wanted(), here.info) is None
    trial = here.mender.findings(here.wanted(), here.info).loaded.trial
    assert (trial.ok, trial.settled) == (None, False)
    assert "no end after 0.3 s" in trial.why
    library.unlink()
    copied(cuda_standins.driver, library.parent)
    monkeypatch.setattr(trials, "LOAD_TIMEOUT", 60.0)
    assert here.mender.findings(here.wanted(), here.info).loaded.trial.ok is True


def test_a_python_that_does_not_run_proves_nothing(host: MakeHost, cuda_standins: Standins) -> None:
    fault = nothing_found(host, cuda_standins)
    for python in ("/nowhere/python", "/bin/false", "/bin/echo"):
        info = replace(fault.host.info, python=python)
        assert fault.host.mender.mend(fault.host.wanted(), info) is None
        assert fault.host.mender.findings(fault.host.wanted(), info).loaded.trial.ok is None


# ---------------------------------------------------------------------------- a library that the environment file names


def test_a_named_library_wins(host: MakeHost, cuda_standins: Standins) -> None:
    fault = nothing_found(host, cuda_standins)
    here = fault.host
    here.mender.repair(here.wanted(), here.info)
    here.libcuda = str(driver_in(here.root / "chosen", cuda_standins))
    mend = here.mender.mend(here.wanted(), here.info)
    assert mend is not None
    assert mend.laid.target == here.libcuda
    assert f"links to {fault.target}, and the environment names {here.libcuda}" in mend.why[-1]
    here.mender.repair(here.wanted(), here.info)
    assert here.mender.laid("lab") == mend.laid
    assert here.mender.mend(here.wanted(), here.info) is None


BAD = {
    "gone": "there is no such file",
    "dangling": "points to",
    "text": "it is no ELF file",
    "alien": "it was built for another machine",
    "stub": "is a toolkit's stub: its cuInit answers 34",
    "folder": "it cannot be read: Is a directory",
    "other": "it has no cuInit",
}


@pytest.mark.parametrize("what", BAD)
def test_a_named_library_that_is_none(what: str, host: MakeHost, cuda_standins: Standins) -> None:
    here = nothing_found(host, cuda_standins).host
    file = here.root / "named/libcuda.so.1"
    file.parent.mkdir()
    match what:
        case "dangling":
            file.symlink_to("nowhere")
        case "folder":
            file.mkdir()
        case "other":
            compile_library(file, "int other;\n")
        case "text" | "alien" | "stub":
            shutil.copy2(getattr(cuda_standins, what), file)
    here.libcuda = str(file)
    with pytest.raises(HostError) as caught:
        here.mender.mend(here.wanted(), here.info)
    assert str(caught.value).startswith(f"cannot use {file} as libcuda: ")
    assert BAD[what] in str(caught.value)
    assert str(caught.value).endswith("; correct `cuda.libcuda` of the environment lab, or remove it")


# -------------------------------------------------------------------------------------------------- several at one time


def test_two_environments_with_different_mends(host: MakeHost, cuda_standins: Standins) -> None:
    fault = no_link_to_link_with(host, cuda_standins)
    here = fault.host
    one, other = here.wanted("lab"), here.wanted("other", LD_LIBRARY_PATH="")
    for wanted in (one, other):
        here.mender.repair(wanted, here.info)
    first, second = here.mender.laid("lab"), here.mender.laid("other")
    assert first is not None
    assert second is not None
    assert (first.load, second.load) == (False, True)
    assert first.folder != second.folder
    assert here.mender.mend(one, here.info) is None
    assert here.mender.mend(other, here.info) is None
    assert here.mender.unmend("lab") is True
    assert here.mender.laid("other") == second


REPAIR = """
import fcntl, pickle, sys
def told(handle, how, lock=fcntl.flock):
    print("locking", flush=True)
    lock(handle, how)
fcntl.flock = told
with open(sys.argv[1], "rb") as stream:
    host = pickle.load(stream)
host.mender.repair(host.wanted(), host.info)
"""


def repairing(host: Host, folder: Path) -> "subprocess.Popen[str]":
    """A process that does, and says when it is about to wait for the lock."""
    (folder / "host.pickle").write_bytes(pickle.dumps(host))
    command = [sys.executable, "-c", REPAIR, str(folder / "host.pickle")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_repair_waits_for_another(host: MakeHost, cuda_standins: Standins, tmp_path: Path) -> None:
    """Else one that fails would take away what the other has just proven."""
    here = nothing_found(host, cuda_standins).host
    with cuda_links.locked(str(here.home)):
        process = repairing(here, tmp_path)
        assert process.stdout is not None
        assert process.stdout.readline() == "locking\n"
        assert not (here.home / ".local/lib/orch/lab").exists()
    assert process.communicate(timeout=60)[1] == ""
    assert here.mender.laid("lab") is not None


def test_several_processes_at_once(host: MakeHost, cuda_standins: Standins, tmp_path: Path) -> None:
    fault = nothing_found(host, cuda_standins)
    here = fault.host
    running = [repairing(here, tmp_path) for _ in range(3)]
    told = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], told
    assert here.mender.laid("lab") == Laid(f"{here.home}/.local/lib/orch/lab", str(fault.target), load=True)
    names = {path.name for path in (here.home / ".local/lib/orch/lab").iterdir()}
    assert names == {"libcuda.so", "libcuda.so.1", "laid.json"}


# ------------------------------------------------------------------------------- the order in which libraries are found


@pytest.fixture
def torch_libraries(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """The folder of a torch with two of its libraries, one needing a symbol of the other; and the user's, with a
    library of the same name that lacks it."""
    own, users = tmp_path / "torch/lib", tmp_path / "users"
    compile_library(own / "libnvJitLink.so.12", "int __nvJitLinkNew(void) { return 1; }\n")
    needing = "int __nvJitLinkNew(void);\nint cuInit(unsigned f) { return __nvJitLinkNew() - 1; }\n"
    flags = (f"-L{own}", "-l:libnvJitLink.so.12", "-Wl,--enable-new-dtags,-rpath,$ORIGIN", "-Wl,-z,now")
    compile_library(own / "libcusparse.so.12", needing, *flags)
    compile_library(users / "libnvJitLink.so.12", "int older(void) { return 1; }\n")
    yield own, users


def test_a_users_folder_does_not_hide_torchs_own_libraries(host: MakeHost, torch_libraries: tuple[Path, Path]) -> None:
    own, users = torch_libraries
    here = host()
    wanted = here.wanted(LD_LIBRARY_PATH=str(users))
    raw = {**here.engine_env(wanted, None), "LD_LIBRARY_PATH": str(users)}
    code = f"import ctypes; ctypes.CDLL('{own}/libcusparse.so.12')"
    failed = subprocess.run([here.info.python, "-c", code], env=raw, capture_output=True, text=True, check=False)
    assert "undefined symbol: __nvJitLinkNew" in failed.stderr

    here.info = replace(here.info, libraries=(str(own),))
    env = here.engine_env(wanted, None)
    assert env["LD_LIBRARY_PATH"] == f"{own}:{users}"
    assert subprocess.run([here.info.python, "-c", code], env=env, check=False).returncode == 0


def test_a_stubs_folder_is_not_loaded_from(host: MakeHost, cuda_standins: Standins) -> None:
    here = host()
    stubs = copied(cuda_standins.stub, here.root / "cuda/lib64/stubs").parent
    target = driver_in(here.root / "driver", cuda_standins)
    path = f"{stubs}:{target.parent}"
    wanted = here.wanted(LD_LIBRARY_PATH=path)
    env = here.engine_env(wanted, None)
    raw = {**env, "LD_LIBRARY_PATH": path}
    code = "import ctypes, sys; sys.exit(ctypes.CDLL('libcuda.so.1').cuInit(0))"
    assert subprocess.run([here.info.python, "-c", code], env=raw, check=False).returncode == 34
    assert loads(env, here.info.python)
    assert here.mender.mend(wanted, here.info) is None
    assert any("stub" in one.why for one in here.mender.findings(wanted, here.info).candidates)


def test_an_empty_entry_does_not_take_libraries_from_the_current_folder(
    host: MakeHost, cuda_standins: Standins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = host()
    monkeypatch.chdir(copied(cuda_standins.stub, tmp_path / "work").parent)
    target = driver_in(here.root / "driver", cuda_standins)
    path = f":{target.parent}"
    wanted = here.wanted(LD_LIBRARY_PATH=path)
    env = here.engine_env(wanted, None)
    assert not loads({**env, "LD_LIBRARY_PATH": path}, here.info.python)
    assert loads(env, here.info.python)
    assert here.mender.mend(wanted, here.info) is None


def test_conda_and_its_activation(host: MakeHost, cuda_standins: Standins) -> None:
    """The environment's own folder is found by its prefix, and what activation sets counts."""
    here = host()
    prefix = here.root / "conda"
    target = driver_in(prefix / "lib", cuda_standins)
    here.info = replace(here.info, key="conda-1", prefix=str(prefix), env={"LD_LIBRARY_PATH": "/nowhere/stubs:"})
    mend = here.mender.mend(here.wanted(), here.info)
    assert mend is not None
    assert mend.laid.target == str(target)
    here.mender.repair(here.wanted(), here.info)
    assert loads(here.engine_env(here.wanted(), mend.laid), here.info.python)


# -------------------------------------------------------------------------------------- what the runtime's Python tells


def test_what_torch_sees(host: MakeHost, cuda_standins: Standins, tmp_path: Path) -> None:
    here = host()
    driver_in(here.root / "driver", cuda_standins)
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(
        "import warnings\nfrom types import SimpleNamespace as N\n__version__ = '2.9.0+cu128'\n"
        "def look():\n    warnings.warn('the driver is too old')\n    return False\n"
        "def init():\n    raise RuntimeError('the driver on your system is too old')\n"
        "version = N(cuda='12.8')\ncuda = N(is_available=look, device_count=lambda: 0, init=init)\n"
    )
    env = here.engine_env(here.wanted(LD_LIBRARY_PATH=f"{here.root}/driver", PYTHONPATH=str(tmp_path)), None)
    seen = trials.torch_view(here.info.python, env)
    assert seen["why"] == ""
    assert {key: seen[key] for key in ("ok", "init", "driver", "torch", "torch_cuda", "available", "devices")} == {
        "ok": True, "init": 0, "driver": 12040, "torch": "2.9.0+cu128", "torch_cuda": "12.8", "available": False,
        "devices": 0,
    }  # fmt: skip
    assert "too old" in seen["torch_why"]

    (tmp_path / "torch/__init__.py").write_text("raise OSError('libcudart.so.12: cannot open')\n")
    seen = trials.torch_view(here.info.python, env)
    assert (seen["torch"], seen["torch_why"]) == (None, "OSError: libcudart.so.12: cannot open")


def test_the_script_runs_on_an_older_python() -> None:
    import ast

    ast.parse(trials.INSIDE.read_text(), feature_version=(3, 8))


def test_deployments_of_one_environment_share_its_links(host: MakeHost, cuda_standins: Standins) -> None:
    fault = nothing_found(host, cuda_standins)
    here = fault.host
    other: Deployment = replace(here.wanted(), name="another")
    here.mender.repair(here.wanted(), here.info)
    assert here.mender.mend(other, here.info) is None
