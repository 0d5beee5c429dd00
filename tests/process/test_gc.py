"""`orch gc` finds what orch left behind, and removes that and nothing else."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deploy_kit import Project, alive, ended, in_session, kill
from fakes.hub import Hub
from fakes.sandbox import Sandbox, wait_until
from models_kit import BIG, FILES, NEXT, REPO, orch, pulling, repo_folder

from orchestrator.backends.local import Local
from orchestrator.errors import HostError
from orchestrator.garbage import KINDS, Garbage, find
from orchestrator.host import SystemClock
from orchestrator.hub.memory import Memory
from orchestrator.leftovers.runtimes import freed
from orchestrator.leftovers.state import temporary
from orchestrator.leftovers.sweep import Sources, Sweep, Weighed
from orchestrator.load import load_environment
from orchestrator.lock_store import platform, write_lock
from orchestrator.lockfile import Lock, LockedRuntime, runtime_key
from orchestrator.model import Instance
from orchestrator.runtimes import build
from orchestrator.store import project_id

SLEEP = "import time; time.sleep(600)"
KEY, OTHER = "0123456789ab", "fedcba987654"
HOURS = 7200


def listed(project: Project, *args: str, code: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = project.orch("gc", "--output", "json", *args, code=code).json["garbage"]
    return found


def kinds(project: Project, *args: str) -> list[tuple[str, str]]:
    return [(one["kind"], one["name"]) for one in listed(project, *args)]


@contextmanager
def held(file: Path) -> Iterator[None]:
    """As another orch at work would."""
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


# ---------------------------------------------------------------------------------------------------------- processes


def orphan(project: Project, name: str = "a") -> int:
    """The child of an engine that was killed."""
    engine = project.engine(name)
    child = next(pid for pid in in_session(engine) if pid != engine)
    kill(engine)
    return child


def test_left_over_processes_must_be_listed_first_and_ended_when_that_is_asked_for(project: Project) -> None:
    project.up(args={"fake_children": 1})
    project.up("b", project.free_port(), args={"fake_children": 1})
    living = project.family("b")
    stranger = project.sandbox.start_command([sys.executable, "-c", SLEEP, "VLLM::EngineCore"])
    child = orphan(project)
    text = project.orch("gc").stdout
    assert f"pid {child}\n" in text and "add --yes to remove them" in text
    assert kinds(project) == [("processes", "a")]
    assert alive(child)
    assert f"removed processes a, pid {child}" in project.orch("gc", "--yes").stdout
    assert not alive(child)
    assert len(living) == 2 and all(alive(pid) for pid in living)
    assert stranger.process.poll() is None
    assert project.orch("gc", "--yes").stdout == "Nothing is left over.\n"


def test_deaf_processes_without_a_marker_must_go_by_what_the_record_proves(project: Project) -> None:
    project.up(args={"fake_children": 1, "fake_stubborn": True, "fake_blank_environ": True})
    child = orphan(project)
    assert kinds(project, "--yes") == [("processes", "a")]
    assert not alive(child)


def orphan_of_another(project: Project, runtime: Path) -> int:
    """Of another project in the same home."""
    other = project.sandbox.home / "other"
    project.profile("a", args={"fake_children": 1})
    project.sandbox.project.rename(other)
    project.sandbox.environment(runtime)
    project.orch("apply", "a", "--root", str(other), "--yes")
    return orphan(project)


@pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "state-lost"])
def test_left_overs_of_another_project_must_be_found(project: Project, remembered: bool, fake_runtime: Path) -> None:
    child = orphan_of_another(project, fake_runtime)
    if not remembered:
        (project.state / os.uname().nodename).rename(project.sandbox.home / "lost")
    assert [name.partition(" of other-")[0] for _, name in kinds(project)] == ["a"]
    project.orch("gc", "--yes")
    assert not alive(child)


def test_left_overs_of_another_home_must_be_left_to_it(project: Project, fake_runtime: Path, tmp_path: Path) -> None:
    child = orphan_of_another(project, fake_runtime)
    (project.state / os.uname().nodename).rename(project.sandbox.home / "lost")
    home, project.env["HOME"] = project.env["HOME"], str(tmp_path)
    project.orch("gc", "--yes")
    project.env["HOME"] = home
    assert alive(child)


def test_what_a_living_run_owns_must_be_left_to_it(project: Project) -> None:
    project.profile("a", args={"fake_children": 1})
    owner = project.sandbox.start("run", "a")
    wait_until(lambda: len(project.family()) == 2)
    owner.process.send_signal(signal.SIGSTOP)
    try:
        child = next(pid for pid in project.family() if pid != project.engine())
        kill(project.engine())
        assert kinds(project) == []
        assert alive(child)
    finally:
        owner.process.send_signal(signal.SIGCONT)
    wait_until(lambda: owner.process.poll() is not None)
    assert not alive(child)


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_on_a_terminal_it_must_ask(project: Project, answer: str, code: int) -> None:
    project.up(args={"fake_children": 1})
    child = orphan(project)
    here, there = pty.openpty()
    command = project.sandbox.command("gc")
    os.write(here, f"{answer}\n".encode())
    done = subprocess.run(
        command, env=project.env, cwd=project.sandbox.project, stdin=there, capture_output=True, text=True, check=False
    )
    os.close(here)
    os.close(there)
    assert done.returncode == code
    assert "Remove them?" in done.stdout
    assert alive(child) == (answer == "n")


@pytest.mark.parametrize(
    "name", ["project.json", "watch.json", "a/record.json", "a/logs/00012-0123abcd.dump", "a/logs/00012-0123abcd.json"]
)
def test_what_a_killed_writer_leaves_must_be_found(tmp_path: Path, name: str) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from orchestrator.files import write_text
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_text(Path(sys.argv[1]), "x")
"""
    file = tmp_path / "host/project" / name
    done = subprocess.run([sys.executable, "-c", code, str(file)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = file.parent.iterdir()
    file.write_text("{}")
    assert [one.path for one in temporary(tmp_path, "host")] == [str(left)]


# ----------------------------------------------------------------------------------------------------------- runtimes


def runtime(project: Project, key: str, *, marked: bool = True) -> Path:
    """As a build leaves it, but for its contents."""
    folder = Path(project.env["XDG_DATA_HOME"], "orch/runtimes", key)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").write_bytes(b"x" * 100_000)
    if marked:
        (folder / build.MARK).write_text("{}")
    folder.with_name(f"{key}.lock").touch()
    return folder


def resolved(project: Project, key: str) -> Path:
    file = Path(project.env["XDG_DATA_HOME"], "orch/runtimes/resolved", f"{key}0000.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"key": key, "pinned": []}))
    return file


def used_by_environment(project: Project) -> Path:
    """A runtime that environments/built.yaml asks for."""
    file = project.sandbox.write("environments/built.yaml", "name: built\nruntime: {requirements: [vllm==0.32.0]}\n")
    spec = load_environment(file, {}).runtime
    key = runtime_key(("vllm==0.32.0",), f"{sys.version_info.major}.{sys.version_info.minor}", platform())
    known = build.resolution_file(Path(project.env["XDG_DATA_HOME"], "orch"), spec)
    known.parent.mkdir(parents=True, exist_ok=True)
    known.write_text(json.dumps({"key": key, "pinned": ["vllm==0.32.0"]}))
    return runtime(project, key)


def test_runtimes_that_nothing_uses_must_go_with_their_pinned_packages(project: Project) -> None:
    used, unused, ruin = used_by_environment(project), runtime(project, KEY), runtime(project, OTHER, marked=False)
    pinned = resolved(project, KEY)
    assert kinds(project) == [("runtime", KEY), ("runtime", OTHER), ("resolution", KEY)]
    assert {one["bytes"] for one in listed(project) if one["kind"] == "runtime"} == {freed(unused), freed(ruin)}
    project.orch("gc", "--yes")
    assert not unused.exists() and not ruin.exists() and not pinned.exists()
    assert used.exists() and unused.with_name(f"{KEY}.lock").exists()
    assert kinds(project) == []


def test_a_runtime_that_a_lock_names_must_stay(project: Project) -> None:
    file = project.sandbox.write("environments/built.yaml", "name: built\nruntime: {requirements: [vllm==0.32.0]}\n")
    spec = load_environment(file, {}).runtime
    held = LockedRuntime(spec, platform(), "3.11", ("vllm==0.32.0",))
    write_lock(project.sandbox.project, Lock(runtimes=(held,)))
    used, unused = runtime(project, held.key), runtime(project, KEY)
    assert kinds(project) == [("runtime", KEY)]
    project.orch("gc", "--yes")
    assert used.exists() and not unused.exists()


def test_a_runtime_that_a_revision_was_served_from_must_stay(project: Project) -> None:
    project.up()
    file = project.folder() / "revisions/1.json"
    document = json.loads(file.read_text())
    document["revision"]["runtime"] = KEY
    file.write_text(json.dumps(document))
    folder = runtime(project, KEY)
    project.orch("stop", "a")
    project.orch("gc", "--yes")
    assert folder.exists()


def test_a_runtime_that_something_runs_in_or_that_is_being_built_must_stay(project: Project) -> None:
    inside, building = runtime(project, KEY), runtime(project, OTHER, marked=False)
    project.sandbox.start_command([sys.executable, "-c", SLEEP], {"VIRTUAL_ENV": str(inside)})
    with held(building.with_name(f"{OTHER}.lock")):
        assert project.orch("gc", "--yes").stdout == "Nothing is left over.\n"
    assert inside.exists() and building.exists()


def test_what_is_no_runtime_of_orchs_must_stay(project: Project) -> None:
    folder = runtime(project, KEY)
    elsewhere = folder.rename(project.sandbox.home / "elsewhere")
    folder.symlink_to(elsewhere)
    notes = folder.with_name("my-notes")
    notes.mkdir()
    project.orch("gc", "--yes")
    assert (elsewhere / build.MARK).exists() and notes.exists()


@pytest.mark.parametrize("unread", ["environment", "record", "first deployment"])
def test_runtimes_must_stay_while_nobody_knows_what_is_used(project: Project, unread: str) -> None:
    folder = runtime(project, KEY)
    place = project.state / os.uname().nodename / "other-12345678" / "a"
    place.mkdir(parents=True)
    (place / "lock").touch()
    if unread == "environment":
        project.sandbox.write("environments/bad.yaml", "name: bad\nruntime: {conda: [}\n")
    if unread == "record":
        (place / "record.json").write_text("{")
    with held(place / "lock" if unread == "first deployment" else folder.with_name("mine")):
        assert "runtimes are left alone" in project.orch("gc", "--yes").stderr
    assert folder.exists()


def test_only_the_disk_that_comes_free_must_be_counted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/own").write_bytes(os.urandom(50_000))
    os.link(tmp_path / "in/own", tmp_path / "in/again")
    alone = freed(tmp_path / "in")
    assert alone >= 50_000
    os.link(tmp_path / "in/own", tmp_path / "cached")
    assert freed(tmp_path / "in") == 0


# ------------------------------------------------------------------------------------------------------ in the state


def test_logs_that_no_record_knows_must_go_and_nothing_else_beside_them(project: Project) -> None:
    project.up()
    project.orch("stop", "a")
    assert kinds(project) == []
    folder = project.folder()
    (folder / "record.json").unlink()
    for file in (folder / "revisions").iterdir():
        file.unlink()
    mine, log = folder / "logs/mine.log", next((folder / "logs").glob("*.log"))
    mine.write_text("keep")
    for part in (f"{log.name}.0", f"{log.name}.1", f".{log.name}.1.0", f"{log.stem}.dump"):
        (folder / "logs" / part).write_text("x" * 50_000)
    with held(folder / "lock"):
        assert kinds(project) == []
    assert next(one["bytes"] for one in project.orch("gc", "-o", "json").json["garbage"]) >= 200_000
    assert kinds(project, "--yes") == [("logs", "a")]
    assert list((folder / "logs").iterdir()) == [mine]
    assert not os.path.lexists(folder / "latest.log")
    assert (folder / "lock").exists()


def test_old_logs_must_go_beyond_the_last_ten(project: Project) -> None:
    project.up()
    folder = project.folder() / "logs"
    current = next(folder.glob("*.log"))
    fresh = [folder / f"{number:05d}-0000000{number % 10}.log" for number in range(10_000, 10_012)]
    for file in fresh:
        file.write_text("x" * 100)
        file.with_name(f"{file.name}.1").touch()
    project.orch("gc", "--yes")
    assert sorted(folder.glob("*.log")) == sorted([current, *fresh[2:]])
    assert len(list(folder.glob("*.log.1"))) == 10


def test_interrupted_writes_must_go_once_they_are_old(project: Project) -> None:
    project.up()
    folder = project.folder()
    old = [folder / ".record.json.abcd_123", folder / "logs/.probe", folder / "revisions/.1.json.aaaaaaaa"]
    stay = [folder / ".record.json.fresh_12", folder / ".notes.aaaaaaaa", folder / "logs/.record.json.aaaaaaaa.d"]
    for file in (*old, *stay):
        file.write_text("{")
    clock = SystemClock().now() - HOURS
    for file in (*old, *stay[1:]):
        os.utime(file, (clock, clock))
    project.orch("gc", "--yes")
    assert not any(file.exists() for file in old)
    assert all(file.exists() for file in stay)


# ---------------------------------------------------------------------------------------------------------- downloads


def unfinished(home: Sandbox) -> set[str]:
    return {path.suffix for path in (repo_folder(home) / "blobs").iterdir() if path.suffix}


def test_a_download_that_nobody_goes_on_with_must_go(home: Sandbox, half: str) -> None:
    theirs = repo_folder(home) / "blobs" / f"{'ab' * 32}.incomplete"
    theirs.write_text("of the Hub's client")
    found = json.loads(orch(home, "gc", "--output", "json"))["garbage"]
    assert [(one["kind"], one["name"], one["kept"]) for one in found] == [("download", REPO, None)]
    assert 0 < found[0]["bytes"] <= len(BIG)
    orch(home, "gc", "--yes")
    assert unfinished(home) == {".incomplete"}


def test_a_download_that_a_profile_goes_on_with_must_stay_unless_that_is_asked_for(home: Sandbox, half: str) -> None:
    home.profile("a", 8000, model={"repo": REPO})
    assert "1 left-over" not in orch(home, "gc", "--yes")
    assert unfinished(home) == {".part", ".map"}
    orch(home, "gc", "--yes", "--parts")
    assert unfinished(home) == set()


def test_a_download_of_another_commit_than_the_profiles_must_go(home: Sandbox, hub: Hub, half: str) -> None:
    commit = hub.add(REPO, NEXT)
    orch(home, "pull", REPO, "--revision", commit)
    home.profile("a", 8000, model={"repo": REPO, "revision": commit})
    orch(home, "gc", "--yes")
    assert unfinished(home) == set()


def test_a_download_must_stay_when_a_profile_cannot_be_read(home: Sandbox, half: str) -> None:
    home.write("profiles/bad.yaml", "name: [")
    assert "profiles/bad.yaml" in orch(home, "gc", "--yes")
    assert unfinished(home) == {".part", ".map"}


def test_a_download_that_is_going_on_must_be_left_alone(home: Sandbox, hub: Hub) -> None:
    hub.add(REPO, FILES | {"model.safetensors": BIG})
    pull = pulling(home, hub)
    try:
        assert orch(home, "gc", "--yes", "--parts") == "Nothing is left over.\n"
        assert unfinished(home) >= {".part", ".map"}
    finally:
        pull.process.kill()
        ended(pull)


# -------------------------------------------------------------------------------------------------------------- links


def lay(project: Project, environment: str, target: Path) -> Path:
    folder = project.sandbox.home / ".local/lib/orch" / environment
    folder.mkdir(parents=True)
    for name in ("libcuda.so", "libcuda.so.1"):
        (folder / name).symlink_to(target)
    (folder / "laid.json").write_text(json.dumps({"schema": 1, "target": str(target), "load": True}))
    return folder


def test_links_of_an_environment_that_is_gone_and_those_to_nothing_must_go(project: Project) -> None:
    driver = project.sandbox.home / "libcuda.so.1"
    driver.write_text("a library")
    good, gone = lay(project, "fake", driver), lay(project, "gone", driver)
    project.sandbox.write("environments/dangling.yaml", json.dumps({"name": "dangling", "runtime": {"self": True}}))
    dangling = lay(project, "dangling", project.sandbox.home / "nowhere")
    linked = good.with_name("linked")
    linked.symlink_to(gone)
    mine = gone / "mine.txt"
    mine.write_text("keep")
    assert kinds(project) == [("links", "dangling"), ("links", "gone")]
    project.orch("gc", "--yes")
    assert not dangling.exists() and list(gone.iterdir()) == [mine]
    assert (good / "libcuda.so").exists() and linked.is_symlink() and driver.exists()


def test_links_of_another_project_must_stay(project: Project) -> None:
    other = project.sandbox.home / "other"
    (other / "environments").mkdir(parents=True)
    (other / "environments/theirs.yaml").write_text('{"name": "theirs", "runtime": {"self": true}}')
    place = project.state / os.uname().nodename / project_id(other)
    place.mkdir(parents=True)
    (place / "project.json").write_text(json.dumps({"schema": 1, "root": str(other)}))
    driver = project.sandbox.home / "libcuda.so.1"
    driver.write_text("a library")
    lay(project, "theirs", driver)
    assert kinds(project) == []


# -------------------------------------------------------------------------------------------------- the sweep by itself


class Stuck(Local):
    """Its processes do not go."""

    def stop(self, instance: Instance, drain: float) -> None:
        raise HostError(f"stop {instance.name}", "it is stuck")


def sweep(project: Project, uid: int = os.getuid()) -> Sweep:
    home = project.sandbox.home
    root, data = project.sandbox.project, home / "data/orch"

    def weigh(_: object) -> Weighed:
        return Weighed()

    made = (project_id(root), root, project.state, data, str(home), Memory(home / "cache/orch/weights"), Local())
    return Sweep(Sources(*made, SystemClock(), project.env, weigh), uid=uid)


def silent(_: str) -> None:
    pass


def errors(project: Project, found: tuple[Garbage, ...]) -> Mapping[str, str]:
    return {one.garbage.kind: one.error for one in sweep(project).remove(found, Stuck(), silent)}


def test_a_failure_must_be_said_and_the_rest_go_on(project: Project) -> None:
    project.up(args={"fake_children": 1})
    child, folder = orphan(project), runtime(project, KEY)
    done = errors(project, find(sweep(project).look()))
    assert done == {"processes": "cannot stop a: it is stuck", "runtime": ""}
    assert alive(child) and not folder.exists()


def test_left_overs_of_another_user_must_be_left_to_him_though_root_sees_them(project: Project) -> None:
    project.up(args={"fake_children": 1})
    orphan(project)
    assert len(sweep(project).look().processes) == 1
    assert sweep(project, os.getuid() + 1).look().processes == ()


def test_processes_that_went_by_themselves_must_be_no_failure(project: Project) -> None:
    project.up(args={"fake_children": 1})
    child = orphan(project)
    found = find(sweep(project).look())
    kill(child)
    assert errors(project, found) == {"processes": ""}


def use_it(project: Project, folder: Path) -> None:
    project.sandbox.start_command([sys.executable, "-c", SLEEP, f"{folder}/bin/python"])


def finish_it(_: Project, folder: Path) -> None:
    (folder / "bin/python").unlink()
    (folder / "bin").rmdir()
    (folder / build.MARK).unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    ("change", "said"),
    [(use_it, f"cannot remove runtime {KEY}: it is no left-over any more"), (finish_it, "")],
    ids=["used", "gone"],
)
def test_what_changed_meanwhile_must_be_seen(
    project: Project, change: Callable[[Project, Path], None], said: str
) -> None:
    folder = runtime(project, KEY)
    found = find(sweep(project).look())
    change(project, folder)
    assert errors(project, found) == {"runtime": said}
    assert folder.exists() == bool(said)


def test_what_another_orch_works_on_by_now_must_be_left_to_it(project: Project) -> None:
    folder = runtime(project, KEY)
    found = find(sweep(project).look(KINDS))
    with held(folder.with_name(f"{KEY}.lock")):
        assert errors(project, found) == {
            "runtime": f"cannot remove runtime {KEY}: another orch is working on it; try again later"
        }
    assert folder.exists()
