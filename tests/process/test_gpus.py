"""`orch gpus`: the cards, and who holds them, through the stand-in for the driver's library."""

import ctypes
import json
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from deploy_kit import Project, ended, kill
from fakes import nvml as fake
from fakes.nvml import MIB, Nvml
from fakes.sandbox import wait_until

SECRET = "hf_0123456789secret"
NOBODY = 4_000_000  # below the largest pid there can be, and above any that a test machine has


@pytest.fixture
def host(project: Project, nvml: Nvml) -> Project:
    """The project on a host with four cards."""
    project.env |= nvml.env
    return project


def rows(host: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = host.orch("gpus", "--output", "json").json["gpus"]
    return found


def holders(host: Project, gpu: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows(host)[gpu]["holders"]
    return found


def text(host: Project) -> str:
    return host.orch("gpus").stdout


def stranger(host: Project, *words: str, env: dict[str, str] | None = None) -> int:
    """The pid of a ``python train.py WORDS`` that runs."""
    script = host.sandbox.write("train.py", "print('up', flush=True)\nimport signal\nsignal.pause()\n")
    command = host.sandbox.start_command([sys.executable, str(script), *words], env)
    wait_until(lambda: "up" in command.output)
    return command.process.pid


def test_idle_cards(host: Project) -> None:
    assert text(host).splitlines() == [
        "GPU  NAME                            MEMORY             UTIL  TEMP  UUID",
        *(
            f"{gpu}    NVIDIA RTX 6000 Ada Generation  4 MiB of 48.0 GiB  0%    30 C  {fake.uuid(gpu)}"
            for gpu in range(4)
        ),
        "driver 550.54.15, CUDA up to 12.4",
    ]
    document = host.orch("gpus", "-o", "json").json
    assert (document["version"], document["driver"], document["cuda"], document["why"]) == (
        1,
        "550.54.15",
        "12.4",
        None,
    )
    assert [(gpu["used_bytes"], gpu["total_bytes"]) for gpu in document["gpus"]] == [(4 * MIB, 49140 * MIB)] * 4


def test_a_deployment_must_be_named(host: Project, nvml: Nvml) -> None:
    engine = host.up(args={"fake_children": 1})
    child = next(pid for pid in host.family() if pid != engine)
    nvml.process(1, engine, 500)
    nvml.process(1, child, 40_000)
    assert [(one["kind"], one["deployment"], one["pid"]) for one in holders(host, 1)] == [
        ("deployment", "a", child),
        ("deployment", "a", engine),
    ]
    assert f"     39.1 GiB held by a (pid {child})\n     500 MiB held by a (pid {engine})\n" in text(host)


def test_a_deployment_must_be_named_when_its_engine_erased_the_marker(host: Project, nvml: Nvml) -> None:
    engine = host.up(args={"fake_children": 1, "fake_blank_environ": True})
    child = next(pid for pid in host.family() if pid != engine)
    nvml.process(0, child, 40_000)
    assert [(one["kind"], one["deployment"]) for one in holders(host)] == [("deployment", "a")]


def test_a_left_over_must_be_told_with_its_cure(host: Project, nvml: Nvml) -> None:
    engine = host.up(args={"fake_children": 1, "fake_stubborn": True})
    child = next(pid for pid in host.family() if pid != engine)
    nvml.process(0, child, 40_000)
    kill(engine)
    assert [(one["kind"], one["deployment"]) for one in holders(host)] == [("left-over", "a")]
    assert f"     39.1 GiB held by a left-over of a, pid {child}: `orch gc` removes it\n" in text(host)


def test_memory_must_go_with_the_process_that_held_it(host: Project, nvml: Nvml) -> None:
    nvml.process(0, host.up(), 40_000)
    assert rows(host)[0]["used_bytes"] == 40_004 * MIB
    host.orch("stop", "a")
    assert (rows(host)[0]["used_bytes"], holders(host)) == (4 * MIB, [])


def test_an_engine_of_another_project_must_be_told_apart(host: Project, nvml: Nvml) -> None:
    pid = stranger(host, env={"ORCH_MARK": "lab-1234/qwen/00001-a/"})
    nvml.process(0, pid, 40_000)
    assert [(one["kind"], one["deployment"], one["project"]) for one in holders(host)] == [
        ("other project", "qwen", "lab-1234")
    ]
    assert f"     39.1 GiB held by qwen of lab-1234 (pid {pid}), another project of yours\n" in text(host)


def test_a_process_of_someone_else_must_be_told_without_its_secrets(host: Project, nvml: Nvml) -> None:
    pid = stranger(host, "--token", SECRET, env={"HF_TOKEN": SECRET})
    nvml.process(2, pid, 31_744)
    user, command = psutil.Process(pid).username(), f"{Path(sys.executable).name} train.py"
    [one] = holders(host, 2)
    assert (one["kind"], one["user"], one["command"]) == ("process", user, command)
    shown = text(host)
    assert f"     31.0 GiB held by pid {pid} {user} {command}\n" in shown
    assert SECRET not in shown + host.orch("gpus", "-o", "json").stdout


def test_who_cannot_be_seen_must_be_told(host: Project, nvml: Nvml) -> None:
    nvml.process(0, NOBODY, 31_744, sticky=True)
    nvml.gpu(1, used=20_480)
    nvml.process(2, stranger(host), None)
    assert [[one["kind"] for one in gpu["holders"]] for gpu in rows(host)] == [
        ["unknown"],
        ["unknown"],
        ["process"],
        [],
    ]
    shown, hidden = text(host), "a process that cannot be seen (another container or user"
    assert f"     31.0 GiB held by pid {NOBODY}, {hidden})\n" in shown
    assert f"     20.0 GiB held by {hidden}, or just ended)\n" in shown


def test_troubles_of_single_cards_must_not_hide_the_others(host: Project, nvml: Nvml) -> None:
    nvml.lose(0)
    nvml.part(1, "MIG-1234")
    nvml.gpu(2, mode=2)
    shown = text(host)
    assert "\n0    -" in shown
    assert "     has fallen off the bus" in shown
    assert "     is divided into MIG devices: MIG-1234\n" in shown
    assert "     is in the compute mode that prohibits its use" in shown
    assert f"\n3    NVIDIA RTX 6000 Ada Generation  4 MiB of 48.0 GiB  0%    30 C  {fake.uuid(3)}\n" in shown
    assert [gpu["trouble"] is None for gpu in rows(host)] == [False, True, True, True]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (fake.VERSION_MISMATCH, "the kernel still runs the old driver; reboot, or reload the module"),
        (fake.DRIVER_NOT_LOADED, "its kernel module is not loaded; run `sudo modprobe nvidia`"),
        (fake.NO_PERMISSION, "this user may not open the NVIDIA devices; see `ls -l /dev/nvidia*`"),
    ],
)
def test_a_driver_that_does_not_work_must_be_an_error_with_its_cure(
    host: Project, nvml: Nvml, code: int, why: str
) -> None:
    nvml.init(code)
    done = host.orch("gpus", code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("orch: cannot read the GPUs: ")
    assert why in done.stderr
    document = host.orch("gpus", "--output", "json", code=1).json
    assert (document["version"], document["gpus"]) == (1, [])
    assert f"{document['why']}; {document['do']}" in done.stderr


def test_a_driver_that_crashes_must_not_take_orch_along(host: Project, nvml: Nvml) -> None:
    nvml.init(fake.CRASH)
    assert "the driver's library crashed (SIGABRT)" in host.orch("gpus", code=1).stderr
    assert "Nothing is deployed in this project" in host.orch("status").stdout


@pytest.mark.parametrize("verb", ["gpus", "status", "doctor"])
def test_a_driver_that_hangs_must_leave_ctrl_c_alive(host: Project, nvml: Nvml, verb: str) -> None:
    nvml.init(fake.HANG)
    command = host.sandbox.start(verb)
    wait_until(lambda: psutil.Process(command.process.pid).children())
    command.process.send_signal(signal.SIGINT)
    assert ended(command) == 130
    assert "Traceback" not in command.output


def test_no_driver_must_be_said_and_is_no_error(project: Project) -> None:
    try:
        ctypes.CDLL(fake.LIBRARY)
    except OSError:
        pass
    else:
        pytest.skip("this machine has an NVIDIA driver")
    done = project.orch("gpus")
    assert done.stdout.startswith("no NVIDIA driver here: libnvidia-ml.so.1 cannot be loaded; `orch doctor` says more")
    document = project.orch("gpus", "--output", "json").json
    assert (document["version"], document["gpus"]) == (1, [])
    assert document["why"].startswith("no NVIDIA driver here")


def test_watch_must_show_what_changes(host: Project, nvml: Nvml) -> None:
    watching = host.sandbox.start("gpus", "--watch")
    wait_until(lambda: "4 MiB of 48.0 GiB" in watching.output)
    pid = stranger(host)
    nvml.process(0, pid, 31_744)
    wait_until(lambda: f"31.0 GiB held by pid {pid}" in watching.output)
    nvml.init(fake.VERSION_MISMATCH)
    wait_until(lambda: "The GPUs cannot be read: " in watching.output)
    assert "\x1b" not in watching.output
    watching.process.send_signal(signal.SIGINT)
    assert ended(watching) == 130
    assert "Traceback" not in watching.output


def test_watch_as_json_must_be_a_document_each_time(host: Project) -> None:
    watching = host.sandbox.start("gpus", "--watch", "--output", "json")
    wait_until(lambda: "\n}\n" in watching.output)
    watching.process.send_signal(signal.SIGINT)
    ended(watching)
    document, _ = json.JSONDecoder().raw_decode(watching.output)
    assert [gpu["index"] for gpu in document["gpus"]] == [0, 1, 2, 3]
