"""A mend on its way through a plan: shown, done before anything stops, in force for every start, undone again."""

import ctypes
import subprocess
from pathlib import Path

import pytest
from deploy_kit import Project, environ, serves
from fakes.cuda import Standins, make_cuda_runtime, make_standins
from fakes.nvml import Nvml


@pytest.fixture(scope="session")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Standins:
    return make_standins(tmp_path_factory.mktemp("libcuda"))


@pytest.fixture(scope="session")
def cuda_runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its Triton links -lcuda."""
    return make_cuda_runtime(tmp_path_factory.mktemp("runtime") / "cuda", "3.5.1")


@pytest.fixture
def host(project: Project, nvml: Nvml, standins: Standins, cuda_runtime: Path, tmp_path: Path) -> Project:
    """A card, and a driver's library where nothing looks for it."""
    try:
        ctypes.CDLL("libcuda.so.1")
        pytest.skip("this machine has a driver, and its libcuda is found whatever a test takes away")
    except OSError:
        pass
    project.env.update(nvml.env)
    project.env["ORCH_CACHE_DIR"] = str(tmp_path / "cache")
    project.sandbox.environment(cuda_runtime, cuda={"libcuda": str(standins.driver)})
    project.profile("a", gpus="auto")
    return project


def links(env: dict[str, str], folder: Path) -> bool:
    """Whether a program for libcuda can be linked in an engine's environment, by hand."""
    command = ["cc", "-x", "c", "-", "-lcuda", "-o", str(folder / "program")]
    source = "int cuInit(unsigned);\nint main(void)\n{ return cuInit(0); }\n"
    return subprocess.run(command, input=source, text=True, env=env, capture_output=True, check=False).returncode == 0


def folder_of(host: Project) -> Path:
    return host.sandbox.home / ".local/lib/orch/fake"


def test_an_engine_that_needs_links_gets_them_and_its_environment_is_shown(host: Project, tmp_path: Path) -> None:
    host.env["PATH"] = f"{Path('/usr/bin')}:{host.env['PATH']}"
    assert not links(host.env, tmp_path)
    host.apply("a")
    engine = environ(host.engine())
    assert links(engine, tmp_path)
    assert engine["LIBRARY_PATH"] == engine["TRITON_LIBCUDA_PATH"] == str(folder_of(host))
    assert "Nothing to change" in host.plan("a")
    host.orch("restart", "a")
    assert environ(host.engine())["LIBRARY_PATH"] == str(folder_of(host))


def test_the_plan_says_what_is_mended_line_by_line(host: Project) -> None:
    host.apply("a")
    host.orch("stop", "a")
    host.orch("doctor", "fake", "--unfix")
    assert not folder_of(host).exists()
    found = host.plan("a")
    assert f"mend libcuda of fake  links in {folder_of(host)} to " in found
    assert f"  + LIBRARY_PATH={folder_of(host)}\n" in found
    assert "libcuda of fake: cannot load libcuda.so.1: cannot open shared object file" in found
    assert "cannot link with -lcuda as Triton 3.5.1 does" in found
    assert not folder_of(host).exists()
    host.apply("a")
    assert folder_of(host).is_dir()
    host.orch("stop", "a")
    assert "mend" not in host.plan("a")


def test_a_mend_that_fails_stops_nothing(host: Project) -> None:
    host.apply("a")
    engine = host.engine()
    host.orch("doctor", "fake", "--unfix")
    folder_of(host).parent.mkdir(exist_ok=True, parents=True)
    folder_of(host).write_text("mine")
    host.profile("a", gpus="auto", serve={"max_model_len": 128})
    refused = host.apply("a", code=1)
    assert str(folder_of(host)) in refused.stderr
    assert folder_of(host).read_text() == "mine"
    assert host.engine() == engine
    assert serves(host.port, "a")


def test_off_leaves_it_alone(host: Project, cuda_runtime: Path) -> None:
    host.sandbox.environment(cuda_runtime, cuda={"libcuda": "off"})
    host.apply("a")
    assert "LIBRARY_PATH" not in environ(host.engine())
    assert not folder_of(host).exists()


def test_a_host_that_needs_no_mend_has_none_in_its_first_plan(
    host: Project, standins: Standins, tmp_path: Path
) -> None:
    """Where loading is all that its engine asks of libcuda, and the loader finds it."""
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "libcuda.so.1").symlink_to(standins.driver)
    runtime = make_cuda_runtime(tmp_path / "plain")
    host.sandbox.environment(runtime, env={"LD_LIBRARY_PATH": str(driver)})
    assert "mend" not in host.plan("a")
    host.apply("a")
    assert "LIBRARY_PATH" not in environ(host.engine())
    assert not folder_of(host).exists()
