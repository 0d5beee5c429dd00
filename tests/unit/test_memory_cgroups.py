"""Where a process's kills for want of memory are counted, in the layouts that hosts and containers show. That of this
machine is in test_oom_kill.py."""

from pathlib import Path

import pytest

from orchestrator import memory_cgroups

PID = 4000
EVENTS = "low 0\nhigh 0\nmax 5\noom 2\noom_kill {}\noom_group_kill 9\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


class Host:
    """A /proc and cgroup file systems under a folder."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.top = folder / "proc", folder / "sys fs"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / str(PID)).mkdir()
        self.mounts = ""

    def mount(self, at: str, *, root: str = "/", kind: str = "") -> Path:
        point = self.top / at
        point.mkdir(parents=True)
        left = f"31 23 0:28 {root} {str(point).replace(' ', chr(92) + '040')} rw,relatime shared:7"
        self.mounts += f"{left} - {'cgroup cgroup rw,' + kind if kind else 'cgroup2 cgroup2 rw,nsdelegate'}\n"
        (self.proc / "self/mountinfo").write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n{self.mounts}")
        return point

    def member(self, *lines: str) -> None:
        (self.proc / str(PID) / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def found(self) -> str:
        return memory_cgroups.folder(PID, self.proc)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def counting(folder: Path, kills: int = 0, *, text: str = EVENTS) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ("memory.events" if text is EVENTS else "memory.oom_control")).write_text(text.format(kills))
    return str(folder)


def test_version_2(host: Host) -> None:
    top = host.mount("cgroup")
    mine = counting(top / "user.slice/a b.scope", 3)
    host.member("0::/user.slice/a b.scope")
    assert host.found() == mine
    assert memory_cgroups.kills(mine) == 3


def test_a_cgroup_without_the_controller_is_counted_in_the_nearest_above_that_has_it(host: Host) -> None:
    top = host.mount("cgroup")
    above = counting(top / "user.slice", 1)
    (top / "user.slice/leaf/deeper").mkdir(parents=True)
    host.member("0::/user.slice/leaf/deeper")
    assert host.found() == above
    host.member("0::/user.slice/gone/deeper (deleted)")
    assert host.found() == above


def test_the_root_counts_nothing(host: Host) -> None:
    host.mount("cgroup")
    host.member("0::/")
    assert host.found() == ""


def test_a_container_s_own_root_counts(host: Host) -> None:
    mine = counting(host.mount("cgroup"), 2)
    host.member("0::/")
    assert host.found() == mine


def test_a_container_that_sees_the_host_s_paths(host: Host) -> None:
    top = host.mount("cgroup", root="/docker/abc")
    mine, inner = counting(top), counting(top / "worker")
    host.member("0::/docker/abc")
    assert host.found() == mine
    host.member("0::/docker/abc/worker")
    assert host.found() == inner


@pytest.mark.parametrize("path", ["/../..", "/../other", "/docker/xyz"])
def test_a_process_that_sits_elsewhere_than_what_is_mounted_is_counted_where_it_is_listed(
    host: Host, path: str
) -> None:
    top = host.mount("cgroup", root="/docker/abc")
    mine = counting(top)
    host.member(f"0::{path}")
    (top / "cgroup.procs").write_text("1\n14000\n")
    assert host.found() == ""
    (top / "cgroup.procs").write_text(f"1\n{PID}\n")
    assert host.found() == mine


def test_a_mount_that_reaches_above_this_namespace(host: Host) -> None:
    mine = counting(host.mount("cgroup", root="/.."))
    host.member("0::/..")
    assert host.found() == mine


def test_version_1_and_both_at_once(host: Host) -> None:
    host.mount("unified")
    host.mount("cpu", kind="cpu,cpuacct")
    top = host.mount("memory", kind="memory")
    mine = counting(top / "docker/abc", 4, text=CONTROL)
    host.member("8:cpu,cpuacct:/elsewhere", "4:memory:/docker/abc", "9:name=systemd:/init.scope", "0::/init.scope")
    assert host.found() == mine
    assert memory_cgroups.kills(mine) == 4


def test_version_2_where_version_1_lacks_the_controller(host: Host) -> None:
    mine = counting(host.mount("unified") / "init.scope")
    host.mount("memory", kind="memory")
    host.member("9:name=systemd:/", "0::/init.scope")
    assert host.found() == mine


def test_kernels_that_do_not_count(host: Host) -> None:
    old = counting(host.mount("memory", kind="memory"), text="oom_kill_disable 0\nunder_oom 0\n")
    host.member("4:memory:/")
    assert host.found() == ""
    assert memory_cgroups.kills(old) is None


def test_what_is_not_there_is_not_counted(host: Host, tmp_path: Path) -> None:
    assert host.found() == ""
    assert memory_cgroups.folder(PID, tmp_path / "no such folder") == ""
    assert memory_cgroups.kills(str(tmp_path / "gone")) is None
    host.mount("cgroup")
    (host.proc / str(PID) / "cgroup").write_text("nonsense\n0:\n::\n")
    assert host.found() == ""
