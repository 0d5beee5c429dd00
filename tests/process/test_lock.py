"""orch.lock, written by choice and read when present: one folder deploys the same bytes on another day and machine."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deploy_kit import Project, serves
from fakes.hub import Hub
from fakes.runtime import SOURCE
from fakes.sandbox import Sandbox
from runtime_kit import wheel

from orchestrator.lock_store import platform
from orchestrator.lockfile import bare, runtime_key

REPO = "org/model"
FILES = {"config.json": b'{"model_type": "qwen3"}', "model.safetensors": b"w" * 3_000_000, "README.md": b"# hello"}
ENTRY = {"vllm/cli.py": "from vllm.entrypoints.cli.main import main\n"}


@pytest.fixture
def served(project: Project, hub: Hub) -> Project:
    """A project whose Hub has one model, and a profile ``a`` that serves it."""
    project.env["HF_ENDPOINT"] = hub.endpoint
    hub.add(REPO, FILES)
    project.profile(model={"repo": REPO})
    return project


@pytest.fixture
def elsewhere(served: Project, tmp_path: Path, free_port: Callable[[], int]) -> Any:
    """Copies the project to another machine: nothing of the first one's home is there."""
    there = Sandbox.create(tmp_path / "elsewhere", {"HF_ENDPOINT": served.env["HF_ENDPOINT"]})

    def copy() -> Project:
        shutil.copytree(served.sandbox.project, there.project, dirs_exist_ok=True)
        other = Project(there, free_port)
        other.port = served.port
        return other

    yield copy
    there.allow_leftovers()
    there.close()


def changed(hub: Hub) -> str:
    """Another commit on main."""
    return hub.add(REPO, FILES | {"model.safetensors": b"v" * 3_000_000})


def revision(pid: int) -> str:
    argv = Path("/proc", str(pid), "cmdline").read_text().split("\0")
    return argv[argv.index("--revision") + 1]


def lock_of(project: Project) -> Any:
    return json.loads((project.sandbox.project / "orch.lock").read_text())


# ------------------------------------------------------------------------------------------------------------- models


def test_the_same_folder_must_deploy_the_same_commit_elsewhere_and_later(
    served: Project, hub: Hub, elsewhere: Callable[[], Project]
) -> None:
    first = hub.add(REPO, FILES)
    assert f"added    {REPO}@main: {first[:12]}" in served.orch("lock").stdout
    (held,) = lock_of(served)["models"]
    assert (held["commit"], held["revision"]) == (first, "main")
    assert held["files"]["model.safetensors"].startswith("sha256:")
    assert held["files"]["config.json"].startswith("git:")
    changed(hub)
    there = elsewhere()
    there.apply("a")
    assert revision(there.engine()) == first
    assert "Nothing to change" in there.plan("a")


def test_what_runs_must_be_what_gets_locked_and_an_upgrade_must_show_as_drift(served: Project, hub: Hub) -> None:
    first = hub.add(REPO, FILES)
    served.apply("a")
    second = changed(hub)
    served.orch("lock")
    assert lock_of(served)["models"][0]["commit"] == first
    assert "Nothing to change" in served.plan("a")
    assert "move them with `orch lock --upgrade`" in served.orch("plan", "a", "--refresh", code=64).stderr
    moved = served.orch("lock", "--upgrade", "a")
    assert f"moved    {REPO}@main: {first[:12]} -> {second[:12]}" in moved.stdout
    assert f'commits.model: "{first}" -> "{second}"' in served.plan("a")
    assert served.row()["drift"]
    served.apply("a")
    assert revision(served.engine()) == second
    (served.sandbox.project / "orch.lock").unlink()
    assert "Nothing to change" in served.plan("a")


def test_other_files_at_the_commit_must_be_refused_before_anything_stops(
    served: Project, hub: Hub, elsewhere: Callable[[], Project]
) -> None:
    served.orch("lock")
    held = lock_of(served)["models"][0]
    served.apply("a")
    pid, sent = served.engine(), hub.sent("model.safetensors")
    file = served.sandbox.project / "orch.lock"
    file.write_text(file.read_text().replace(held["files"]["config.json"].split()[0], f"git:{'0' * 40}"))
    assert "Nothing to change" in served.plan("a")
    served.profile(model={"repo": REPO}, serve={"max_model_len": 128})
    why = f"its files at {held['commit'][:8]} are not those of orch.lock: config.json has another content"
    assert why in served.apply("a", code=1).stderr
    assert served.engine() == pid
    assert why in elsewhere().orch("pull", "a", code=1).stderr
    assert hub.sent("model.safetensors") == sent


def test_two_profiles_of_one_model_must_share_an_entry_and_one_that_nobody_names_must_go(
    served: Project, hub: Hub
) -> None:
    hub.add("org/other", FILES)
    served.profile("b", served.free_port(), model={"repo": REPO})
    served.profile("c", served.free_port(), model={"repo": "org/other"})
    served.orch("lock")
    assert [one["repo"] for one in lock_of(served)["models"]] == [REPO, "org/other"]
    asked = len(hub.requests)
    assert served.orch("lock", "--check").stdout == "orch.lock is as it should be\n"
    (served.sandbox.project / "profiles/c.yaml").unlink()
    served.profile("b", served.free_port(), model={"repo": REPO, "revision": "v2"})
    checked = served.orch("lock", "--check", "--output", "json", code=1).json
    assert [(one["action"], one["name"]) for one in checked["changes"]] == [
        ("missing", f"{REPO}@v2"),
        ("dropped", "org/other@main"),
    ]
    assert len(hub.requests) == asked
    planned = served.orch("plan", "a", "b", code=1)
    assert f"profiles/b.yaml:6:5: warning: orch.lock does not hold {REPO} at v2, but at main" in planned.stderr
    hub.tag(REPO, "v2", lock_of(served)["models"][0]["commit"])
    assert "dropped  org/other@main" in served.orch("lock").stdout
    served.orch("lock", "--check")


def test_code_from_another_repository_must_be_locked_once_the_model_is_here(
    served: Project, hub: Hub, elsewhere: Callable[[], Project]
) -> None:
    first = hub.add("org/code", {"modeling.py": b"class M: pass"})
    config = json.dumps({"auto_map": {"AutoModel": "org/code--modeling.M"}}).encode()
    hub.add(REPO, FILES | {"config.json": config})
    served.profile(model={"repo": REPO}, args={"trust_remote_code": True})
    served.orch("pull", "a")
    served.orch("lock")
    assert [(one["repo"], one.get("code")) for one in lock_of(served)["models"]] == [("org/code", True), (REPO, None)]
    hub.add("org/code", {"modeling.py": b"class M: other"})
    there = elsewhere()
    there.orch("lock", "--check")
    there.orch("pull", "a")
    there.orch("lock", "--check")
    code = there.sandbox.home / ".cache/huggingface/hub/models--org--code"
    assert [path.name for path in (code / "snapshots").iterdir()] == [first]


def test_without_the_hub_nothing_must_be_written(served: Project, hub: Hub) -> None:
    hub.stop()
    assert f"there is no way to {hub.endpoint}" in served.orch("lock", code=1).stderr
    assert not (served.sandbox.project / "orch.lock").exists()
    assert "orch.lock is not what it would be" in served.orch("lock", "--check", code=1).stderr


def test_a_lock_that_cannot_be_used_must_be_told_and_must_not_keep_anybody_from_what_is_deployed(
    served: Project, hub: Hub
) -> None:
    served.orch("lock")
    served.apply("a")
    file = served.sandbox.project / "orch.lock"
    text = file.read_text()
    file.write_text(text.replace('"version": 1', '"version": 2'))
    assert "orch.lock:15:3: cannot use orch.lock: a newer orch wrote it" in served.orch("plan", "a", code=1).stderr
    file.write_text("<<<<<<< ours\n" + text)
    assert "orch.lock:1:1: cannot use orch.lock: it is damaged" in served.orch("apply", "a", "--yes", code=1).stderr
    found = served.orch("validate", "--output", "json", code=1).json
    assert [error["code"] for error in found["errors"]] == ["lock-damaged"]
    served.orch("restart", "a")
    assert serves(served.port, "a")
    served.orch("status")


# ----------------------------------------------------------------------------------------------------------- runtimes


def engine_wheel(folder: Path, version: str) -> None:
    """The stand-in engine, to be installed by uv."""
    files = {str(path.relative_to(SOURCE.parent)): path.read_text() for path in SOURCE.glob("**/*.py")}
    wheel(folder, "vllm", version, files | ENTRY, ("torch",))


@pytest.fixture
def built(project: Project) -> Project:
    """A project with a profile ``a`` whose runtime orch builds from wheels that lie beside it."""
    wheels = project.sandbox.project / "wheels"
    engine_wheel(wheels, "0.32.0")
    wheel(wheels, "torch", "2.0+cpu")
    uv = {"UV_CACHE_DIR": str(project.sandbox.home / "uv"), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1"}
    project.env |= uv | {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
    runtime = {"requirements": ["vllm"], "find_links": ["../wheels"]}
    project.sandbox.write("environments/fake.yaml", json.dumps({"name": "fake", "runtime": runtime}))
    project.profile()
    return project


def test_a_runtime_must_be_built_from_the_exact_set_and_a_moved_lock_must_make_another(built: Project) -> None:
    built.orch("lock")
    (held,) = lock_of(built)["runtimes"]
    assert held["for"] == {"find_links": ["./wheels"], "requirements": ["vllm"]}
    assert [line.partition(" --hash=sha256:")[0] for line in held["packages"]] == ["torch==2.0+cpu", "vllm==0.32.0"]
    engine_wheel(built.sandbox.project / "wheels", "0.33.0")
    built.apply("a")
    assert serves(built.port, "a")
    assert built.record()["revision"]["engine"] == "vllm 0.32.0"
    before = built.record()["revision"]["runtime"]
    moved = built.orch("lock", "--upgrade", "fake")
    assert "vllm 0.32.0 -> 0.33.0" in moved.stdout
    plan = built.plan("a")
    assert "runtime.lock" in plan and "build" in plan
    built.apply("a")
    assert built.record()["revision"]["engine"] == "vllm 0.33.0"
    after = built.record()["revision"]["runtime"]
    runtimes = Path(built.env["XDG_DATA_HOME"], "orch/runtimes")
    assert before != after and (runtimes / before).is_dir()


def test_a_set_that_is_built_already_must_be_locked_as_it_is(built: Project) -> None:
    built.apply("a")
    pid = built.engine()
    engine_wheel(built.sandbox.project / "wheels", "0.33.0")
    built.orch("lock")
    assert "vllm==0.32.0" in lock_of(built)["runtimes"][0]["packages"][1]
    assert "Nothing to change" in built.plan("a")
    assert built.engine() == pid


def test_packages_that_the_lock_does_not_hold_must_be_told_and_resolved_as_without_it(built: Project) -> None:
    built.orch("lock")
    text = (built.sandbox.project / "environments/fake.yaml").read_text()
    built.sandbox.write("environments/fake.yaml", text.replace('["vllm"]', '["vllm", "torch"]'))
    told = "environments/fake.yaml:1:30: warning: orch.lock holds no packages for these requirements"
    assert told in built.orch("plan", "a").stderr
    assert built.orch("validate", "--strict", code=1).stderr.count("orch.lock holds no packages") == 1
    assert "build" in built.plan("a")


@pytest.mark.parametrize("setting", ["", "UV_NO_VERIFY_HASHES", "UV_CONFIG_FILE", "UV_OVERRIDE"])
def test_another_content_of_a_package_must_not_be_installed(built: Project, setting: str) -> None:
    """Nor by a setting of uv's that has hashes passed over, or another version taken."""
    built.orch("lock")
    wheels = built.sandbox.project / "wheels"
    (wheels / "vllm-0.32.0-py3-none-any.whl").unlink()
    wheel(wheels, "vllm", "0.32.0", ENTRY)
    engine_wheel(wheels, "0.33.0")
    settings = {
        "UV_NO_VERIFY_HASHES": "1",
        "UV_CONFIG_FILE": built.sandbox.write("uv.toml", "[pip]\nverify-hashes = false\n"),
        "UV_OVERRIDE": built.sandbox.write("override.txt", "vllm==0.33.0\n"),
    }
    built.env |= {setting: str(settings[setting])} if setting else {}
    built.env.pop("UV_NO_CONFIG")
    failed = built.apply("a", code=1)
    assert "hash mismatch" in failed.stderr.lower()
    assert not built.engine()


def test_what_was_built_from_other_files_must_not_count_as_locked(built: Project) -> None:
    """The versions are the same, and it was built before there was a lock."""
    built.apply("a")
    before = built.record()["revision"]["runtime"]
    built.orch("lock")
    file = built.sandbox.project / "orch.lock"
    torch = built.sandbox.project / "wheels/torch-2.0+cpu-py3-none-any.whl"
    had = hashlib.sha256(torch.read_bytes()).hexdigest()
    wheel(torch.parent, "torch", "2.0+cpu", {"torch/other.py": "1"})
    file.write_text(file.read_text().replace(had, hashlib.sha256(torch.read_bytes()).hexdigest()))
    plan = built.plan("a")
    assert "runtime.lock" in plan and "build" in plan
    built.apply("a")
    after = built.record()["revision"]["runtime"]
    runtimes = Path(built.env["XDG_DATA_HOME"], "orch/runtimes")
    (other,) = runtimes.glob(f"{after}/lib/python3*/site-packages/torch/other.py")
    assert other.read_text() == "1"
    assert not list(runtimes.glob(f"{before}/lib/python3*/site-packages/torch/other.py"))


def test_a_runtime_whose_hashes_nobody_kept_must_be_built_anew_once_there_is_a_lock(built: Project) -> None:
    """As an older orch built it: from the same versions, whatever they held."""
    built.apply("a")
    data = Path(built.env["XDG_DATA_HOME"], "orch/runtimes")
    (file,) = data.glob("resolved/*.json")
    held = json.loads(file.read_text())
    lines = [bare(line) for line in held["pinned"]]
    assert lines != held["pinned"]
    held |= {
        "pinned": lines,
        "key": runtime_key(lines, f"{sys.version_info.major}.{sys.version_info.minor}", platform()),
    }
    file.write_text(json.dumps(held))
    assert "Nothing to change" in built.plan("a")
    built.orch("lock")
    assert "runtime.lock" in built.plan("a")


def test_a_package_without_its_hash_must_be_told(built: Project) -> None:
    built.orch("lock")
    file = built.sandbox.project / "orch.lock"
    (held,) = lock_of(built)["runtimes"]
    file.write_text(file.read_text().replace(held["packages"][0], bare(held["packages"][0])))
    told = "environments/fake.yaml:1:30: warning: orch.lock has no hash of torch: "
    assert told in built.orch("plan", "a").stderr
    assert told in built.orch("validate").stderr
    built.orch("validate", "--strict", code=1)
    built.apply("a")
