"""Starts on a host with cards: NVML is a stand-in, the engines are fakes, all else is real."""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from deploy_kit import Project, ended, environ, serves
from fakes.nvml import Nvml
from fakes.sandbox import wait_until

from orchestrator.locks import SHARED


@pytest.fixture
def host(project: Project, nvml: Nvml) -> Project:
    """Two cards, of no other test's host: what runs on a card is looked for among all that this user runs."""
    nvml.gpus(2)
    for index in range(2):
        nvml.gpu(index, uuid=uuid(project, index))
    project.env.update(nvml.env)
    return project


def uuid(host: Project, index: int) -> str:
    return f"GPU-{hashlib.sha256(str(host.sandbox.home).encode()).hexdigest()[:8]}-{index}"


def wants(host: Project, name: str, port: int = 0, **keys: Any) -> None:
    """A profile that takes nine tenths of a card."""
    serve = {"gpu_memory_utilization": 0.9} | keys.pop("serve", {})
    host.profile(name, port or host.port, **{"gpus": "auto", "serve": serve} | keys)


def card(host: Project, name: str = "a") -> str:
    return environ(host.engine(name))["CUDA_VISIBLE_DEVICES"]


def test_each_engine_sees_a_card_of_its_own_and_no_more_start_than_fit(host: Project) -> None:
    ports = [host.port, host.free_port(), host.free_port()]
    for name, port in zip("abc", ports, strict=True):
        wants(host, name, port)
    host.apply("a", "b")
    assert (card(host, "a"), card(host, "b")) == (uuid(host, 0), uuid(host, 1))
    assert environ(host.engine("a"))["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    refused = host.apply("c", code=1)
    assert "cannot place c: it needs 1 GPU with" in refused.stderr
    assert "held by a), GPU 1 has" in refused.stderr
    assert "  | GPU  NAME" in refused.stderr
    assert host.engine("c") == 0
    assert serves(ports[0], "a")
    assert serves(ports[1], "b")


def test_an_engine_stays_where_it_is_though_a_better_card_comes_free(host: Project, nvml: Nvml) -> None:
    nvml.process(0, os.getpid(), 40_000)
    wants(host, "a")
    host.apply("a")
    assert card(host) == uuid(host, 1)
    nvml.forget(os.getpid())
    assert "Nothing to change" in host.plan("a")
    host.orch("restart", "a")
    assert card(host) == uuid(host, 1)


def test_the_status_names_the_card_and_its_memory(host: Project, nvml: Nvml) -> None:
    wants(host, "a")
    host.apply("a")
    nvml.process(0, host.engine(), 30_000)
    assert host.row()["gpus"] == [{"index": 0, "memory_bytes": 30_000 << 20}]
    assert "a: GPU 0 29.3 GiB" in host.orch("status").stdout


def test_a_restart_waits_until_the_driver_shows_the_memory_released(host: Project, nvml: Nvml) -> None:
    wants(host, "a")
    host.apply("a")
    old = host.engine()
    nvml.process(0, old, 44_000, lag=1_000)
    done = host.orch("restart", "a")
    assert "a: waiting for memory: GPU 0 has" in done.stderr
    assert host.engine() not in (0, old)
    assert card(host) == uuid(host, 0)


def test_somebody_elses_process_is_named_in_the_way(host: Project, nvml: Nvml) -> None:
    nvml.process(0, os.getpid(), 40_000)
    nvml.process(1, os.getpid(), 39_000)
    wants(host, "a")
    refused = host.apply("a", code=1)
    assert f"GPU 1 has 9.4 GiB (38.1 GiB held by pid {os.getpid()}" in refused.stderr


@pytest.mark.parametrize(
    ("gpus", "why"),
    [
        ([7], "there is no GPU 7 here, and this host has 2 (GPU 0 to 1)"),
        (3, "it needs 3 GPUs with"),
    ],
)
def test_cards_that_are_not_there(host: Project, gpus: Any, why: str) -> None:
    wants(host, "a", gpus=gpus)
    assert why in host.apply("a", code=1).stderr


def test_a_failed_start_gives_the_card_back_to_what_served(host: Project) -> None:
    wants(host, "a")
    host.apply("a")
    wants(host, "a", args={"fake_exit_code": 3})
    failed = host.apply("a", code=1)
    assert "brought back a" in failed.stderr
    assert card(host) == uuid(host, 0)


def test_who_comes_second_takes_another_card(host: Project, nvml: Nvml) -> None:
    """Whoever starts on a card holds its lock, be it another user: it may show no memory there yet."""
    SHARED.mkdir(exist_ok=True)
    file = os.open(SHARED / "GPU-0", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        wants(host, "a")
        second = host.sandbox.start("apply", "a", "--yes")
        wait_until(lambda: "waiting: another orch is working on GPU 0" in second.output)
        nvml.process(0, os.getpid(), 40_000)
    finally:
        os.close(file)
    assert ended(second) == 0, second.output
    assert "another GPU is taken: GPU 1" in second.output
    assert card(host) == uuid(host, 1)


def test_a_pinned_card_is_taken_restarted_and_come_back_to(host: Project) -> None:
    wants(host, "a", gpus=[1])
    host.apply("a")
    assert card(host) == uuid(host, 1)
    host.orch("restart", "a")
    wants(host, "a", gpus=[1], args={"fake_exit_code": 3})
    assert "brought back a" in host.apply("a", code=1).stderr
    assert card(host) == uuid(host, 1)


def test_a_mig_device_is_one_engines_alone(host: Project, nvml: Nvml) -> None:
    nvml.part(0, "MIG-a")
    wants(host, "a", gpus=["MIG-a"])
    host.apply("a")
    assert card(host) == "MIG-a"
    wants(host, "b", host.free_port(), gpus=["MIG-a"])
    assert "GPU MIG-a is held by a" in host.apply("b", code=1).stderr


def test_a_start_waits_for_what_was_just_stopped(host: Project, nvml: Nvml) -> None:
    wants(host, "a", gpus=[0])
    host.apply("a")
    nvml.process(0, host.engine(), 44_000, lag=1_500)
    host.orch("stop", "a")
    assert "a: waiting for memory: GPU 0 has" in host.orch("start", "a").stderr


def test_a_card_that_is_lost_under_an_engine_is_told(host: Project, nvml: Nvml) -> None:
    wants(host, "a")
    host.apply("a")
    nvml.lose(0)
    assert f"the driver shows no {uuid(host, 0)} any more, on which it runs" in host.orch("status").stdout


def test_a_driver_that_does_not_answer_is_the_reason(host: Project, nvml: Nvml) -> None:
    nvml.init(18)
    wants(host, "a")
    assert "cannot place a: it needs 1 GPU, and" in host.apply("a", code=1).stderr
    host.profile("a", host.port)  # gpus: 0
    host.apply("a")
    assert card(host) == ""


def test_a_run_in_the_foreground_is_placed_too(host: Project) -> None:
    wants(host, "a")
    host.sandbox.start("run", "a")
    wait_until(lambda: host.engine() and serves(host.port, "a"))
    assert card(host) == uuid(host, 0)


def test_a_plan_for_a_declared_host_reads_nothing_but_files(host: Project, fake_runtime: Path) -> None:
    gpus = {"model": "RTX 6000 Ada Generation", "count": 4, "memory": "49140MiB"}
    host.sandbox.environment(fake_runtime, host={"gpus": gpus}, secrets={"HF_TOKEN": {"env": "NOT_SET_HERE"}})
    wants(host, "a", model={"repo": "org/model"}, serve={"tensor_parallel_size": 2})
    host.env.pop("LD_LIBRARY_PATH")
    host.env["HF_ENDPOINT"] = "http://127.0.0.1:9"
    found = host.orch("plan", "a", "--host", "fake", "--detailed-exitcode", code=2)
    assert "start a  org/model on port" in found.stdout
    assert "and GPUs 0, 1" in found.stdout
    assert not host.state.exists()
