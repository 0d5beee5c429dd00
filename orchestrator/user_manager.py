"""The service manager of this user (`systemctl --user`), as far as orch needs it: is it there, what does it know of a
unit, and who keeps it running. Nothing here knows what a unit is for."""

import os
import pwd
import re
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from orchestrator import shell
from orchestrator.shell import CommandFailed

BOOTED = Path("/run/systemd/system")  # there when the machine's first process is systemd
PERSISTENT = Path("/var/log/journal")
OLDEST = 243  # of systemd: the first that knows every property of a unit of orch's
TIMEOUT = 60.0  # seconds; an answer takes 10 ms


class UserManager:
    """``variables`` is the environment of whoever runs orch. It may hold no XDG_RUNTIME_DIR: that of cron does not."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    @cached_property
    def user(self) -> str:
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return str(os.getuid())

    @property
    def runtime_dir(self) -> Path:
        """Another user's, left over from `su` or `sudo`, is not taken."""
        given = self._variables.get("XDG_RUNTIME_DIR", "")
        own = Path(f"/run/user/{os.getuid()}")
        return Path(given) if given and _is_ours(Path(given)) else own

    @property
    def absence(self) -> str:
        """Why there can be none on this machine, whoever asks; else empty."""
        lacking = [name for name in ("systemctl", "systemd-run", "journalctl") if not self._which(name)]
        if not BOOTED.is_dir():
            return "this machine is not run by systemd"
        return f"{lacking[0]} is not on PATH" if lacking else ""

    @property
    def trouble(self) -> str:
        """Why it cannot be had now; else empty."""
        if why := self.absence:
            return why
        if not _is_ours(self.runtime_dir):
            return f"no service manager runs for {self.user} ({self.runtime_dir} is not there)"
        try:
            version = self.ctl("show", "--property=Version", "--value").strip()
        except CommandFailed as error:
            return f"the service manager of {self.user} does not answer: {error.why}"
        number = re.search("[0-9]+", version)  # "252.38-1~deb12u1"
        if number and int(number[0]) < OLDEST:
            return f"systemd {version} is too old, {OLDEST} is needed"
        return ""

    def ctl(self, *args: str) -> str:
        """`systemctl --user`. Raises CommandFailed."""
        return self.run("systemctl", "--user", "--no-pager", *args)

    def run(self, *argv: str) -> str:
        """A command of systemd's, as this user. Raises CommandFailed."""
        return shell.run(argv, env=self.env, timeout=TIMEOUT).stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Of a unit, or of the manager itself (""). Of a unit it does not know, LoadState is "not-found". Empty when it
        does not answer."""
        try:
            lines = self.ctl("show", f"--property={','.join(properties)}", *([unit] if unit else [])).splitlines()
        except CommandFailed:
            return {}
        return dict(line.split("=", 1) for line in lines if "=" in line)

    @property
    def lingers(self) -> bool | None:
        """Whether it runs from boot on, without anyone logged in; None where nobody tells."""
        try:
            return self.run("loginctl", "show-user", self.user, "--property=Linger", "--value").strip() == "yes"
        except CommandFailed as error:
            unknown = "not logged in or lingering" in f"{error.why} {' '.join(error.tail)}"
            return False if unknown else None

    @property
    def enable_linger(self) -> str:
        """The command that has it run from boot on; without a session of one's own it takes an administrator."""
        return f"{'sudo ' if os.getuid() else ''}loginctl enable-linger {self.user}"

    @property
    def hides_journal(self) -> bool:
        """Whether this user cannot read what its own units write. A journal on the disk has a file for each user, which
        is made with the first line; one in memory is for root and a group."""
        try:
            self.run("journalctl", "--quiet", "--lines=0")
        except CommandFailed:
            return not PERSISTENT.is_dir()
        return False

    @property
    def env(self) -> dict[str, str]:
        """For a command of systemd's: untranslated, and by the bus of the one manager that is meant."""
        path = self._variables.get("PATH", os.defpath)
        return {"PATH": path, "LC_ALL": "C", "XDG_RUNTIME_DIR": str(self.runtime_dir)}

    def _which(self, name: str) -> str | None:
        return shutil.which(name, path=self._variables.get("PATH", os.defpath))


def _is_ours(folder: Path) -> bool:
    try:
        return folder.stat().st_uid == os.getuid()
    except OSError:
        return False
