"""Where a driver's libcuda is found, on hosts as they are laid out in the world; and what a linker's words mean."""

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from fakes.cuda import Standins, make_cache

from orchestrator.cuda import trials
from orchestrator.cuda.libcuda import Candidate, Listing, candidates, flaw, listing
from orchestrator.cuda.places import Places

MULTIARCH = f"usr/lib/{platform.machine()}-linux-gnu"
DRIVER, STUB, TEXT, ALIEN, GONE = "driver", "stub", "text", "alien", "gone"
OLD = "libcuda.so.550.54"

# Files below the root with what each is (or "-> TARGET"), folders in ldconfig's cache, the engine's variables; then
# what is found, best first, as (path, how, why not).
Layout = tuple[Mapping[str, str], Iterable[str], Mapping[str, str], list[tuple[str, str, str]]]
PARTS = "it is a toolkit's stub"

LAYOUTS: dict[str, Layout] = {
    "debian": (
        {f"{MULTIARCH}/{OLD}": DRIVER, f"{MULTIARCH}/libcuda.so.1": f"-> {OLD}"},
        [MULTIARCH],
        {},
        [(f"{MULTIARCH}/libcuda.so.1", "ldconfig", "")],
    ),
    "debian-alternatives": (
        {f"{MULTIARCH}/nvidia/current/{OLD}": DRIVER, f"{MULTIARCH}/libcuda.so.1": f"-> nvidia/current/{OLD}"},
        [],
        {},
        [(f"{MULTIARCH}/libcuda.so.1", "the folder of Debian and Ubuntu", "")],
    ),
    "ubuntu-with-a-toolkit": (
        {
            f"{MULTIARCH}/{OLD}": DRIVER,
            f"{MULTIARCH}/libcuda.so.1": f"-> {OLD}",
            f"{MULTIARCH}/libcuda.so": "-> libcuda.so.1",
            "usr/local/cuda/compat/libcuda.so.1": DRIVER,
            "usr/local/cuda/lib64/stubs/libcuda.so": STUB,
        },
        [MULTIARCH],
        {"LD_LIBRARY_PATH": "{root}/usr/local/cuda/lib64/stubs"},
        [
            (f"{MULTIARCH}/libcuda.so.1", "ldconfig", ""),
            ("usr/local/cuda/lib64/stubs/libcuda.so", "LD_LIBRARY_PATH", PARTS),
            ("usr/local/cuda/compat/libcuda.so.1", "the toolkit's forward compatibility", ""),
        ],
    ),
    "rhel": (
        {f"usr/lib64/{OLD}": DRIVER, "usr/lib64/libcuda.so.1": f"-> {OLD}"},
        ["usr/lib64"],
        {},
        [("usr/lib64/libcuda.so.1", "ldconfig", "")],
    ),
    "rhel-without-a-cache": (
        {f"usr/lib64/{OLD}": DRIVER, "usr/lib64/libcuda.so.1": f"-> {OLD}"},
        [],
        {},
        [("usr/lib64/libcuda.so.1", "the folder of RHEL", "")],
    ),
    "wsl2": (
        {"usr/lib/wsl/lib/libcuda.so.1": DRIVER, "usr/lib/wsl/lib/libcuda.so": "-> libcuda.so.1"},
        [],
        {},
        [("usr/lib/wsl/lib/libcuda.so.1", "the folder of WSL2", "")],
    ),
    "nix": (
        {f"nix/store/abc-nvidia-x11/lib/{OLD}": DRIVER,
         "run/opengl-driver/lib/libcuda.so.1": f"-> ../../../nix/store/abc-nvidia-x11/lib/{OLD}"},
        [],
        {},
        [("run/opengl-driver/lib/libcuda.so.1", "the folder of NixOS", "")],
    ),
    "singularity": (
        {".singularity.d/libs/libcuda.so.1": DRIVER, "usr/local/cuda/compat/libcuda.so.1": ALIEN},
        [],
        {"LD_LIBRARY_PATH": "{root}/.singularity.d/libs"},
        [
            (".singularity.d/libs/libcuda.so.1", "the folder of Singularity", ""),
            ("usr/local/cuda/compat/libcuda.so.1", "the toolkit's forward compatibility", "it was built for another"),
        ],
    ),
    "conda": (
        {"env/lib/libcuda.so.1": DRIVER, "env/lib/stubs/libcuda.so": STUB},
        [],
        {"CONDA_PREFIX": "{root}/env"},
        [("env/lib/libcuda.so.1", "the conda environment", "")],
    ),
    "container": (
        {f"usr/local/nvidia/lib64/{OLD}": DRIVER, "usr/local/nvidia/lib64/libcuda.so.1": f"-> {OLD}"},
        [],
        {},
        [("usr/local/nvidia/lib64/libcuda.so.1", "the folder of a container", "")],
    ),
    "container-lib": (
        {"usr/local/nvidia/lib/libcuda.so": DRIVER},
        [],
        {},
        [("usr/local/nvidia/lib/libcuda.so", "the folder of a container", "")],
    ),
    "a-driver-without-its-links": (
        {f"usr/lib64/{OLD}": DRIVER},
        [],
        {},
        [(f"usr/lib64/{OLD}", "the folder of RHEL", "")],
    ),
    "an-update-left-a-link": (
        {"usr/lib64/libcuda.so.1": f"-> {OLD}", "usr/lib64/libcuda.so.560.28": DRIVER},
        [],
        {},
        [
            ("usr/lib64/libcuda.so.1", "the folder of RHEL", "which is gone"),
            ("usr/lib64/libcuda.so.560.28", "the folder of RHEL", ""),
        ],
    ),
    "a-text-for-the-linker": (
        {"usr/lib64/libcuda.so": TEXT},
        [],
        {},
        [("usr/lib64/libcuda.so", "the folder of RHEL", "it is no ELF file")],
    ),
    "a-link-into-the-stubs": (
        {f"{MULTIARCH}/libcuda.so.1": "-> ../../local/cuda/lib64/stubs/libcuda.so",
         "usr/local/cuda/lib64/stubs/libcuda.so": STUB},
        [],
        {},
        [(f"{MULTIARCH}/libcuda.so.1", "the folder of Debian and Ubuntu", PARTS)],
    ),
    "a-folder-of-that-name": (
        {"usr/lib64/libcuda.so.1/readme": TEXT},
        [],
        {},
        [("usr/lib64/libcuda.so.1", "the folder of RHEL", "it cannot be read: Is a directory")],
    ),
    "nothing-at-all": ({}, [], {"LD_LIBRARY_PATH": ":/nowhere:"}, []),
}  # fmt: skip


def build(root: Path, files: Mapping[str, str], standins: Standins) -> None:
    for name, what in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if what.startswith("-> "):
            file.symlink_to(what[3:])
        else:
            file.write_bytes(getattr(standins, what).read_bytes())


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout(name: str, tmp_path: Path, cuda_standins: Standins) -> None:
    files, cached, variables, expected = LAYOUTS[name]
    root = tmp_path / "root"
    build(root, files, cuda_standins)
    make_cache(tmp_path / "ld.so.cache", [root / folder for folder in cached])
    variables = {key: value.format(root=root) for key, value in variables.items()}
    places = Places(root, tmp_path / "ld.so.cache", variables=variables)
    found = [one for one in candidates(places) if one.path.startswith(str(root))]  # else: this machine's own
    assert [(one.path.removeprefix(f"{root}/"), one.found) for one in found] == [row[:2] for row in expected]
    for one, (_, _, why) in zip(found, expected, strict=True):
        assert (why in one.why) if why else one.good, one


def test_what_the_environment_file_names_comes_first(tmp_path: Path, cuda_standins: Standins) -> None:
    build(tmp_path, LAYOUTS["rhel"][0], cuda_standins)
    places = Places(tmp_path, tmp_path / "no-cache", given=str(cuda_standins.driver))
    first, second = candidates(places)
    assert first == Candidate(str(cuda_standins.driver), str(cuda_standins.driver), "the environment file")
    assert second.path == str(tmp_path / "usr/lib64/libcuda.so.1")


def test_links_of_orchs_own_are_no_find(tmp_path: Path, cuda_standins: Standins) -> None:
    own = tmp_path / "home/.local/lib/orch"
    build(own / "lab", {"libcuda.so.1": DRIVER}, cuda_standins)
    places = Places(tmp_path, tmp_path / "no-cache", variables={"LD_LIBRARY_PATH": f"{own}/lab"})
    assert [one.path for one in candidates(places)] == [f"{own}/lab/libcuda.so.1"]
    assert candidates(Places(tmp_path, variables=places.variables, not_in=str(own))) == ()


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (TEXT, "it is no ELF file"),
        (ALIEN, f"it was built for another machine than {platform.machine()}"),
        (DRIVER, ""),
    ],
)
def test_what_a_file_must_be(what: str, why: str, cuda_standins: Standins) -> None:
    file = str(getattr(cuda_standins, what))
    assert flaw(file, file, platform.machine()) == why


def test_a_program_is_no_library(cuda_standins: Standins, tmp_path: Path) -> None:
    content = bytearray(cuda_standins.driver.read_bytes())
    content[16:18] = (2).to_bytes(2, "little")  # ET_EXEC
    file = tmp_path / "libcuda.so.1"
    file.write_bytes(content)
    assert flaw(str(file), str(file), platform.machine()) == "it is no shared library"
    file.write_bytes(content[:10])
    assert flaw(str(file), str(file), platform.machine()) == "it is no ELF file"
    assert flaw(f"{file}.2", f"{file}.2", platform.machine()) == "there is no such file"


# ------------------------------------------------------------------------------------------------------------ ldconfig


def test_no_ldconfig() -> None:
    assert listing(Places(ldconfigs=("/nowhere/ldconfig",))) == Listing(why="there is no /nowhere/ldconfig")


def test_no_cache(tmp_path: Path) -> None:
    found = listing(Places(tmp_path))
    assert found.rows == ()
    assert found.why == f"Can't open cache file {tmp_path}/etc/ld.so.cache: No such file or directory"


def test_a_cache_is_listed(tmp_path: Path, cuda_standins: Standins) -> None:
    build(tmp_path, LAYOUTS["debian"][0], cuda_standins)
    make_cache(tmp_path / "cache", [tmp_path / MULTIARCH])
    found = listing(Places(cache=tmp_path / "cache"))
    assert ("libcuda.so.1", str(tmp_path / MULTIARCH / "libcuda.so.1")) in found.rows
    assert found.why == ""


# ------------------------------------------------------------------------------------------------ Triton and the linker


@pytest.mark.parametrize(
    ("version", "flag"),
    [
        ("2.1.0", "-lcuda"),
        ("3.5.1", "-lcuda"),
        ("3.6.0", "-l:libcuda.so.1"),
        ("3.6.0+git1a2b", "-l:libcuda.so.1"),
        ("3.10.0rc1", "-l:libcuda.so.1"),
        ("4.0", "-l:libcuda.so.1"),
    ],
)
def test_how_a_triton_links(version: str, flag: str) -> None:
    assert trials.triton_flag(version) == flag


def test_where_triton_looks(tmp_path: Path) -> None:
    for folder in ("listed", "users", "chosen"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "libcuda.so.1").touch()
    listed = Listing((("libcuda.so.1", f"{tmp_path}/listed/libcuda.so.1"), ("libcudart.so.12", "/x/libcudart.so.12")))
    users = {"LD_LIBRARY_PATH": f":{tmp_path}/empty:{tmp_path}/users"}
    chosen = users | {"TRITON_LIBCUDA_PATH": f"{tmp_path}/chosen"}
    here = "/bin/sh"  # any program that is there
    assert trials.triton_folders(chosen, listed, here) == ((f"{tmp_path}/chosen",), "")
    assert trials.triton_folders(users, listed, here) == ((f"{tmp_path}/listed",), "")
    assert trials.triton_folders(users, Listing(), here) == ((f"{tmp_path}/users",), "")
    assert trials.triton_folders({}, Listing(), here) == ((), "Triton finds no libcuda.so.1: /bin/sh lists none")
    assert trials.triton_folders(users, listed, "/no/ldconfig") == ((), "Triton calls /no/ldconfig, which is not there")
    failed = trials.triton_folders(users, Listing(why="no cache"), here)
    assert failed == ((), "Triton calls /bin/sh, which fails: no cache")
    assert trials.triton_folders(chosen, Listing(why="no cache"), "/no/ldconfig") == ((f"{tmp_path}/chosen",), "")


@pytest.mark.parametrize(
    ("lines", "meaning"),
    [
        (
            ["/usr/bin/ld: cannot find -lcuda: No such file or directory", "collect2: error: ld returned 1"],
            "cannot find -lcuda: No such file or directory",
        ),
        (
            ["/opt/x/bin/x86_64-conda-linux-gnu-ld: cannot find -lcuda", "collect2: error: ld returned 1 exit status"],
            "cannot find -lcuda",
        ),
        (
            [
                "/usr/bin/ld: skipping incompatible /usr/lib/libcuda.so when searching for -lcuda",
                "/usr/bin/ld: cannot find -lcuda: No such file or directory",
                "/usr/bin/ld: note to link with /l/libcuda.so.1 use -l:libcuda.so.1 or rename it to libcuda.so",
                "collect2: error: ld returned 1 exit status",
            ],
            "cannot find -lcuda: No such file or directory",
        ),
        (
            [
                "ld.lld: error: unable to find library -lcuda",
                "clang: error: linker command failed with exit code 1 (use -v to see invocation)",
            ],
            "unable to find library -lcuda",
        ),
        (["gcc: fatal error: cannot execute 'cc1': execvp: No such file", "compilation terminated."],
         "fatal error: cannot execute 'cc1': execvp: No such file"),
        ([], ""),
    ],
)  # fmt: skip
def test_what_a_linker_means(lines: list[str], meaning: str) -> None:
    assert trials.meaning(lines) == meaning
