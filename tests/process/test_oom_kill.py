"""The kernel really kills a process for want of memory, and one really crashes: what is known of it afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from deploy_kit import Project
from fakes.sandbox import wait_until

from orchestrator import kernel_log
from orchestrator.diagnosis.kernel import UNKNOWN, concerning, killed, oom_killed
from orchestrator.engine_logs import EngineLogs
from orchestrator.model import Exit

LIMIT, WANTED, STEP = 256 << 20, 400 << 20, 4 << 20  # bytes
LIMITS = {
    "memory.max": LIMIT,
    "memory.swap.max": 0,
    "memory.limit_in_bytes": LIMIT,
    "memory.memsw.limit_in_bytes": LIMIT,
}
HUNGRY = f"import sys; sys.stdin.readline(); whole = bytearray({WANTED}); whole[::4096] = b'x' * len(whole[::4096])"
GROWING = f"import sys; held = [b'x' * {STEP} for _ in sys.stdin]"
CRASH = "import sys, ctypes; sys.stdin.readline(); ctypes.string_at(0)"
LOGS = EngineLogs()


@pytest.fixture
def limited() -> Iterator[Path]:
    """A cgroup with little memory; not for every user, nor in every container, whatever is installed."""
    parents = [Path(own) for own in [LOGS.cgroup(os.getpid())] if own] + [Path("/sys/fs/cgroup")]
    for parent in parents:
        folder = parent / f"orch-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        limits = [folder / name for name in LIMITS if (folder / name).exists()]
        try:
            for file in limits:
                file.write_text(str(LIMITS[file.name]))
            if limits:
                yield folder
                return
        except OSError:
            continue
        finally:
            empty(folder)
            folder.rmdir()
    pytest.skip("a limit on memory takes root, and a cgroup with the memory controller that may be written")


def empty(cgroup: Path) -> None:
    for pid in (cgroup / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: not (cgroup / "cgroup.procs").read_text())


def waiting(program: str, cgroup: Path | None = None) -> "subprocess.Popen[str]":
    """A Python that waits for a line; in this cgroup from its beginning."""
    enter = f"echo $$ > {cgroup}/cgroup.procs && " if cgroup else ""
    process = subprocess.Popen(
        ["sh", "-c", f'{enter}echo in && exec "$@"', "sh", sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "in\n"
    return process


def test_a_process_that_is_killed_must_be_known_to_be_killed_for_want_of_memory(limited: Path) -> None:
    begun = time.time()
    process = waiting(HUNGRY, limited)
    pids = {process.pid}
    cgroup = LOGS.cgroup(process.pid)
    before = LOGS.oom_kills(cgroup)
    process.communicate("go\n")
    after = LOGS.oom_kills(cgroup)
    assert (cgroup, before, after) == (str(limited), 0, 1)
    assert oom_killed(Exit(signal=9), pids, None, before, after) is True

    if LOGS.kernel(begun) is None:
        return
    wait_until(lambda: concerning(LOGS.kernel(begun) or (), pids))
    told = LOGS.kernel(begun)
    assert told is not None
    said = concerning(told, pids)[-1]
    assert said.startswith("Memory cgroup out of memory: Killed process")
    if UNKNOWN not in said:
        assert process.pid in killed(told)
        assert oom_killed(Exit(code=1), pids, told, None, None) is True
        assert oom_killed(Exit(code=1), {os.getpid()}, told, None, None) is False
    assert LOGS.kernel(time.time() + 3600) == ()


def test_one_that_somebody_else_killed_must_be_known_to_be_no_victim_of_memory(limited: Path) -> None:
    begun = time.time()
    process = waiting(HUNGRY, limited)
    cgroup = LOGS.cgroup(process.pid)
    before = LOGS.oom_kills(cgroup)
    process.kill()
    process.communicate()
    told = LOGS.kernel(begun)
    assert oom_killed(Exit(signal=9), {process.pid}, told, before, LOGS.oom_kills(cgroup)) is False


def test_why_an_engine_ended_must_be_told_when_the_kernel_killed_it(project: Project, limited: Path) -> None:
    """Its own memory is little: another process in its cgroup asks for more than is left, and it is the one to go."""
    project.profile(args={"fake_never_ready": True})
    apply = project.sandbox.start("apply", "profiles", "--yes")
    (limited / "cgroup.procs").write_text(str(apply.process.pid))
    engine = wait_until(project.engine)
    wait_until(lambda: any(project.folder().glob("record.json")) and project.record()["attempt"])
    assert project.record()["attempt"]["cgroup"] == str(limited)
    Path(f"/proc/{engine}/oom_score_adj").write_text("1000")
    waiting(GROWING, limited).communicate("more\n" * (WANTED // STEP))
    assert apply.process.wait(20) == 1
    assert not project.engine()
    assert "the kernel killed it" in apply.output
    assert "killed by the kernel for want of memory" in apply.output
    assert project.orch("explain", "a", "--output", "json").json["signature"] == "oom-killed"
    assert project.record()["attempt"]["exit"] == {"signal": 9, "oom_killed": True}


def test_a_crash_must_be_found_in_the_kernel_s_log() -> None:
    begun = time.time()
    traced = Path("/proc/sys/debug/exception-trace")
    if LOGS.kernel(begun) is None or not traced.exists() or traced.read_text().strip() == "0":
        pytest.skip("this kernel's log tells this user of no crashes")
    process = waiting(CRASH)
    process.communicate("go\n")
    assert process.returncode == -11
    wait_until(lambda: any("segfault at" in line for line in LOGS.kernel(begun) or ()))
    told = LOGS.kernel(begun) or ()
    if not any(UNKNOWN in line for line in told):
        (line,) = [one for one in concerning(told, {process.pid}) if f"[{process.pid}]" in one]
        assert ": segfault at 0 ip" in line


def test_looking_must_take_no_time() -> None:
    begun = time.monotonic()
    kernel_log.lines(0.0)
    assert time.monotonic() - begun < 2  # 0.3 s where nothing else works
