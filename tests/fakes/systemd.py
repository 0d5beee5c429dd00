"""A real systemd, booted as PID 1 of namespaces of its own, with a service manager for this user who lingers in it.

Of this machine it shares the files, the network and nothing else: its own processes, cgroups, /run, /tmp, /var/log and
/var/lib/systemd. It is given a handful of units and finds no others: those of a distribution would set sysctls, load
modules and empty folders.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fakes.sandbox import REPOSITORY, Sandbox, wait_until

LIBRARY = Path("/usr/lib/systemd")
NEEDED = {
    "systemd": ("usr/lib/systemd/systemd",),
    "dbus": ("usr/bin/dbus-daemon",),
    "libpam-systemd": ("usr/lib/*/security/pam_systemd.so", "usr/lib64/security/pam_systemd.so"),
}
COMMANDS = ("unshare", "nsenter", "systemctl", "systemd-run", "journalctl", "loginctl")
LINKED = (
    "dbus.service",
    "dbus.socket",
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-logind.service",
    "user-runtime-dir@.service",
    "user@.service",
)
ALIAS = "dbus-org.freedesktop.login1.service"  # by which the bus starts logind
EMPTY = ("basic.target", "shutdown.target", "sockets.target", "sysinit.target")

OUTSIDE = """\
set -eu
work=$1
mount --make-rprivate /
mkdir -p "$work/cgroup"
mount -t cgroup2 none "$work/cgroup"
mkdir "$work/cgroup/$2"
(
    echo 0 > "$work/cgroup/$2/cgroup.procs"
    exec unshare --fork --kill-child --pid --mount --cgroup --ipc --uts --mount-proc sh -c "$3" inside "$work"
) &
echo $! > "$work/outside.pid"
trap '' TERM INT HUP
wait || true
for try in 1 2 3 4 5 6 7 8 9 10; do
    find "$work/cgroup/$2" -depth -type d -exec rmdir {} + 2>&- && break
    sleep 0.1
done
"""
"""A cgroup for all of it, and namespaces; when that ends, the cgroup goes."""

INSIDE = """\
set -eu
umount "$1/cgroup"
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
umount -R /sys/fs/cgroup 2>&- || true
mount -t cgroup2 none /sys/fs/cgroup
for folder in /run /var/log /var/lib/systemd; do mount -t tmpfs -o mode=755 none "$folder"; done
mkdir /run/lock /run/real-tmp
mount --bind /tmp /run/real-tmp
mount -t tmpfs -o mode=1777 none /tmp
{binds}
umount /run/real-tmp
exec env -i container=orch PATH="$PATH" SYSTEMD_UNIT_PATH="$1/units" /usr/lib/systemd/systemd --system --unit=all.target
"""
"""Only what the tests need is seen of the real /tmp."""


class Unbootable(Exception):
    """``privilege``: this user may not; else something is not installed."""

    def __init__(self, why: str, *, privilege: bool = False) -> None:
        self.privilege = privilege
        super().__init__(why)


@dataclass(slots=True)
class Systemd:
    """``home`` is that of the user's manager, whose units lie in ``home``/.config/systemd/user."""

    work: Path
    process: "subprocess.Popen[bytes]"
    become_root: tuple[str, ...]
    pid: int = 0

    @classmethod
    def boot(cls, work: Path, visible: Sequence[Path]) -> "Systemd":
        """``work`` is an empty folder; ``visible`` are folders that are seen inside. Raises Unbootable."""
        become_root = _privileges()
        _check_installed()
        _write_units(work)
        inside = _inside([work, *visible, REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)])
        name = f"orch-test-{os.getpid()}"
        command = [*become_root, "unshare", "--mount", "sh", "-c", OUTSIDE, "outside", str(work), name, inside]
        with (work / "boot.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        system = cls(work, process, become_root)
        try:
            wait_until(system.is_up, 30)
        except BaseException:
            system.close()
            raise
        return system

    @property
    def home(self) -> Path:
        return self.work / "home"

    @property
    def runtime_dir(self) -> str:
        return f"/run/user/{os.getuid()}"

    def is_up(self) -> bool:
        """systemd and the user's manager are up"""
        if self.process.poll() is not None:
            said = (self.work / "boot.log").read_text()
            refused = any(word in said.lower() for word in ("not permitted", "denied", "read-only"))
            raise Unbootable(f"systemd does not boot here: {said.strip()}", privilege=refused)
        if not self.pid:
            self.pid = self._first_process()
        asked = "systemctl --user is-system-running && loginctl list-users"
        return bool(self.pid) and self.run("sh", "-c", asked, check=False).startswith("running")

    def _outside(self) -> int:
        """The pid of the process with which all of it ends; 0 as long as there is none."""
        try:
            return int((self.work / "outside.pid").read_text())
        except (OSError, ValueError):
            return 0

    def _first_process(self) -> int:
        outside = self._outside()
        try:
            children = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
            return int(children[0]) if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n" else 0
        except (OSError, ValueError):
            return 0

    def command(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> list[str]:
        """Runs ``argv`` inside, as this user, with this environment alone."""
        user = ["--setuid", str(os.getuid()), "--setgid", str(os.getgid())] if self.become_root else []
        enter = [*self.become_root, "nsenter", "--target", str(self.pid), "--all", *user]
        settings = [f"{name}={value}" for name, value in env.items()]
        return [*enter, "env", "-i", "-C", str(cwd), *settings, *argv]

    def run(self, *argv: str, check: bool = True) -> str:
        """What it prints, as the user's own shell would have it."""
        env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": self.runtime_dir, "HOME": str(self.home)}
        done = subprocess.run(
            self.command(argv, self.work, env), capture_output=True, text=True, check=False, timeout=30
        )
        assert not check or done.returncode == 0, f"{shlex.join(argv)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def close(self) -> None:
        """Ends all of it."""
        if outside := self._outside():
            subprocess.run([*self.become_root, "kill", "-KILL", str(outside)], check=False, capture_output=True)
        self.process.wait(timeout=30)


@dataclass(slots=True)
class Inside(Sandbox):
    """A sandbox whose commands run where that systemd is PID 1."""

    system: Systemd | None = None

    def command(self, *args: str) -> list[str]:  # type: ignore[override]
        assert self.system
        return self.system.command([sys.executable, "-m", "orchestrator", *args], self.project, self.env)


def _privileges() -> tuple[str, ...]:
    if os.getuid() == 0:
        return ()
    sudo = ("sudo", "-n")
    if not shutil.which("sudo") or subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode:
        raise Unbootable("a systemd to test with takes root, or sudo without a password", privilege=True)
    return sudo


def _check_installed() -> None:
    lacking = [what for what, files in NEEDED.items() if not any(one for file in files for one in Path("/").glob(file))]
    lacking += [name for name in COMMANDS if not shutil.which(name)]
    if lacking:
        raise Unbootable(f"a systemd to test with takes {', '.join(lacking)}")


def _write_units(work: Path) -> None:
    units = work / "units"
    uid = os.getuid()
    (work / "home").mkdir()
    units.mkdir()
    for name in LINKED:
        (units / name).symlink_to(LIBRARY / "system" / name)
    (units / ALIAS).symlink_to("systemd-logind.service")
    for name in EMPTY:
        (units / name).write_text("[Unit]\nDescription=Nothing\nDefaultDependencies=no\n")
    wanted = "systemd-journald.service dbus.socket systemd-logind.service"
    (units / "all.target").write_text(f"[Unit]\nDescription=All\nWants={wanted} user@{uid}.service\nAfter={wanted}\n")
    for unit, line in {"systemd-logind": "PrivateTmp=no", "user@": f"Environment=HOME={work / 'home'}"}.items():
        (units / f"{unit}.service.d").mkdir()
        (units / f"{unit}.service.d" / "own.conf").write_text(f"[Service]\n{line}\n")


def _inside(visible: Sequence[Path]) -> str:
    hidden = {path for path in visible if path.is_relative_to("/tmp")}
    tops = sorted(path for path in hidden if not hidden & set(path.parents))
    return INSIDE.format(binds="\n".join(_bind(shlex.quote(str(path.relative_to("/tmp")))) for path in tops))


def _bind(path: str) -> str:
    return f"mkdir -p /tmp/{path}\nmount --bind /run/real-tmp/{path} /tmp/{path}"
