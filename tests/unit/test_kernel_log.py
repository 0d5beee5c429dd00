"""Reading the kernel's log. The records are as kernels 5.x and 6.x give them; that of a real kill is in
test_oom_kill.py."""

import os
import time
from pathlib import Path

import pytest

from orchestrator import kernel_log
from orchestrator.kernel_log import entries, texts

KILL = "Memory cgroup out of memory: Killed process 11110 (python3) total-vm:221368kB"
XID = "NVRM: Xid (PCI:0000:02:00): 79, pid=11110, GPU has fallen off the bus."


def record(text: str, at: float, *, priority: int = 3, more: str = "", flags: str = "-") -> bytes:
    return f"{priority},489,{round(at * 1e6)},{flags};{text}\n{more}".encode()


def test_what_tells_something_is_kept_from_that_time_on_in_its_order() -> None:
    records = [
        record(KILL, 99.9),
        record(XID, 100.0, more=" SUBSYSTEM=pci\n DEVICE=+pci:0000:02:00.0\n"),
        record("eth0: link becomes ready", 101.0),
        record(KILL, 102.5, flags="-,caller=T11110"),
    ]
    assert texts(records, 100.0) == (XID, KILL)


def test_a_line_of_a_record_that_only_looks_like_one_is_none() -> None:
    assert texts([record("usb 1-1: new device", 5.0, more=f" PRODUCT={KILL}\n")], 0.0) == ()


@pytest.mark.parametrize("facility", [1, 3, 16])
def test_what_a_program_wrote_there_is_not_the_kernel_s_word(facility: int) -> None:
    assert texts([record(KILL, 5.0, priority=facility << 3 | 3)], 0.0) == ()


def test_odd_bytes_are_harmless() -> None:
    broken = [b"", b"\n", b";", b"a,b,c,d;x", b"3,1,5;x", b"3,1,,-;" + KILL.encode(), b"\xff,1,2,-;" + KILL.encode()]
    assert texts(broken, 0.0) == ()
    name = KILL.replace("python3", "p\\x0aNVRM: Xid (")  # a name with a line feed in it stays one line
    assert texts([record(name, 1.0)], 0.0) == (name,)


def test_the_journal_tells_the_same() -> None:
    told = f"99.900000 kernel: {KILL}\n100.500000 kernel: {XID}\n101.000000 kernel: eth0: up\n101.5 systemd: {KILL}\n"
    assert entries(told, 100.0) == (XID,)
    assert entries(told, 200.0) == ()


def test_a_journal_without_the_kernel_proves_nothing() -> None:
    assert entries("", 0.0) is None
    assert entries("-- No entries --\n", 0.0) is None


def journal(folder: Path, script: str) -> None:
    folder.mkdir()
    program = folder / "journalctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the device nor a journal; in its place something of another kind, which is never read."""
    os.mkfifo(tmp_path / "kmsg")
    monkeypatch.setattr(kernel_log, "DEVICE", tmp_path / "kmsg")
    monkeypatch.setattr(kernel_log, "_counts_as_here", lambda: True)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


@pytest.mark.usefixtures("no_device")
def test_without_the_device_the_journal_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    journal(tmp_path / "bin", f"echo '{now:f} kernel: {KILL}'")
    assert kernel_log.lines(now - 10) == (KILL,)
    assert kernel_log.lines(now + 10) == ()
    monkeypatch.setattr(kernel_log, "_counts_as_here", lambda: False)
    assert kernel_log.lines(now - 10) == (KILL.replace("11110", "?"),)


@pytest.mark.usefixtures("no_device")
@pytest.mark.parametrize("script", ["exit 1", "echo no such thing", "exec sleep 60"])
def test_a_journal_that_fails_or_hangs_is_one_that_cannot_be_read(tmp_path: Path, script: str) -> None:
    journal(tmp_path / "bin", script)
    begun = time.monotonic()
    assert kernel_log.lines(0.0) is None
    assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("no_device")
def test_without_either_it_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kernel_log.lines(0.0) is None
