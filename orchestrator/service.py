"""The watcher of a project as a systemd user unit: installed, looked at and taken away."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator import logfiles, watchers
from orchestrator.errors import HostError, OrchError, PlanError
from orchestrator.expand import references
from orchestrator.files import write_text
from orchestrator.find import folder_files
from orchestrator.load import load_environment
from orchestrator.model import Watcher
from orchestrator.ports import Say
from orchestrator.service_text import Status
from orchestrator.shell import CommandFailed
from orchestrator.unit_file import Unit, carried, unit_name, unit_text
from orchestrator.user_manager import UserManager

PATIENCE = 20.0
"""Seconds for a watcher to be there once systemd has started it; it takes 1."""
LOOK_EVERY = 0.05  # seconds
LOG_LINES = 10
_SHOWN = ("UnitFileState", "ActiveState", "ActiveEnterTimestampMonotonic", "MainPID", "NRestarts")


@dataclass(frozen=True, slots=True)
class Blind:
    """A secret that the unit does not see: it is in this ``variable`` of the shell."""

    name: str
    variable: str
    file: str


class Service:
    """``folder`` is the state of the project, ``variables`` the environment of whoever installs it."""

    def __init__(self, project: str, root: Path, folder: Path, variables: Mapping[str, str]) -> None:
        self.project, self.root, self.folder, self.variables = project, root, folder, variables
        self.manager = UserManager(variables)
        self.unit = unit_name(project)

    # ---------------------------------------------------------------------------------------------------- its files

    @property
    def file(self) -> Path:
        """Where the user's manager looks for the user's own units."""
        config = Path(self.variables.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        shown = self.manager.show("", "UnitPath").get("UnitPath", "").split()
        folder = next((one for one in shown if one.endswith("/systemd/user")), f"{config}/systemd/user")
        return Path(folder) / self.unit

    @property
    def secrets(self) -> Path:
        """The file of the user's in which secrets for the unit may stand."""
        config = Path(self.variables.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return config / "orch" / f"{self.project}.env"

    def text(self) -> str:
        variables, _ = carried(self.variables, self._named())
        return unit_text(Unit(self.project, str(self.root), sys.executable, str(self.secrets), variables))

    @property
    def withheld(self) -> tuple[str, ...]:
        """Variables that the unit would need and that no file may hold."""
        kept = _names_in(self.secrets)
        return tuple(name for name in carried(self.variables, self._named())[1] if name not in kept)

    @property
    def blind(self) -> tuple[Blind, ...]:
        """The secrets of the project's environments that the unit does not see."""
        kept = _names_in(self.secrets)
        found = []
        for file in folder_files(self.root / "environments"):
            with suppress(OrchError):  # `orch validate` says what is wrong with it
                refs = load_environment(file, self.variables).secrets
                found += [Blind(name, ref.name, file.name) for name, ref in sorted(refs.items()) if ref.kind == "env"]
        return tuple(one for one in found if one.variable not in kept)

    def _named(self) -> set[str]:
        """The variables that the project's files name."""
        return {name for text in self._texts() for name in references(text)}

    def _texts(self) -> Iterator[str]:
        for folder in ("environments", "profiles"):
            for file in folder_files(self.root / folder):
                with suppress(OSError, UnicodeError):
                    yield file.read_text(encoding="utf-8")

    # ------------------------------------------------------------------------------------------------ what it is now

    def status(self) -> Status:
        file, trouble = self.file, self.manager.trouble
        shown = {} if trouble else self.manager.show(self.unit, *_SHOWN)
        active = shown.get("ActiveState") == "active"
        entered = int(shown.get("ActiveEnterTimestampMonotonic") or 0) / 1e6  # by the clock since boot
        return Status(
            unit=self.unit,
            file=str(file),
            user=self.manager.user,
            installed=file.exists(),
            enabled=shown.get("UnitFileState") == "enabled",
            active=active,
            since=time.time() - time.monotonic() + entered if active and entered else None,
            pid=int(shown.get("MainPID") or 0),
            restarts=int(shown.get("NRestarts") or 0),
            lingers=None if trouble else self.manager.lingers,
            log=logfiles.tail_of_unit(self.unit, LOG_LINES) if file.exists() and not trouble else (),
            trouble=trouble,
        )

    # ----------------------------------------------------------------------------------------------------- to change it

    def check(self) -> None:
        """Raises HostError where there is no systemd, with what to use instead."""
        if why := self.manager.absence:
            watch = f"{sys.executable} -m orchestrator watch --root {self.root}"
            do = (
                f"run `orch watch` under the supervisor you have, or at boot by cron (`@reboot {watch}`); in a "
                "container `orch run` is the entry point"
            )
            raise HostError("install a service", why, do)

    def install(self, say: Say) -> Watcher:
        """Idempotent: what is as it should be is left running. Raises OrchError."""
        self.check()
        self._linger(say)
        if why := self.manager.trouble:
            do = f"log in as {self.manager.user}, or let an administrator run `{self.manager.enable_linger}`"
            raise HostError("install a service", why, do)
        self._alone()
        file, text = self.file, self.text()
        changed = not file.exists() or file.read_text(encoding="utf-8") != text
        if changed:
            self._write(file, text)
            say(f"wrote {file}")
        self._ctl("daemon-reload")
        self._ctl("enable", "--quiet", self.unit)
        self._ctl("restart" if changed else "start", self.unit)
        return self._come_up()

    def uninstall(self) -> bool:
        """Says whether there was anything. The engines go on. Raises HostError."""
        file = self.file
        loaded = self.manager.show(self.unit, "LoadState").get("LoadState") == "loaded"
        if not file.exists() and not loaded:
            return False
        if loaded:
            self._ctl("disable", "--quiet", "--now", self.unit)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"remove {file}", error.strerror or str(error)) from error
        for words in (("daemon-reload",), ("reset-failed", self.unit)):
            with suppress(CommandFailed):  # there may be no manager, and nothing to reset
                self.manager.ctl(*words)
        return True

    @property
    def _see(self) -> str:
        return f"see `systemctl --user status {self.unit}`"

    def _linger(self, say: Say) -> None:
        """Without it the user's manager, and all that it runs, ends with the last session and begins with the first."""
        if self.manager.lingers:
            return
        try:
            self.manager.run("loginctl", "--no-ask-password", "enable-linger", self.manager.user)
            say(f"{self.manager.user} lingers from now on: what systemd runs for this user starts at boot")
        except CommandFailed as error:
            say(f"warning: it ends when {self.manager.user} logs out, and does not start at boot: {error.why}")
            say(f"let an administrator run `{self.manager.enable_linger}`")
            return
        deadline = time.monotonic() + PATIENCE
        while self.manager.trouble and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)

    def _alone(self) -> None:
        other = watchers.living(self.folder)
        if other and other.unit != self.unit:
            why = f"`orch watch` (pid {other.pid}) watches this project already"
            raise PlanError("install a service", why, f"end it first: `kill {other.pid}`")

    def _write(self, file: Path, text: str) -> None:
        try:
            write_text(file, text)
        except OSError as error:
            raise HostError(f"write {file}", error.strerror or str(error)) from error

    def _ctl(self, *words: str) -> None:
        try:
            self.manager.ctl(*words)
        except CommandFailed as error:
            raise HostError(f"{words[0]} {self.unit}", error.why, self._see) from error

    def _come_up(self) -> Watcher:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = watchers.living(self.folder)
            if found and found.unit == self.unit:
                return found
            time.sleep(LOOK_EVERY)
        error = HostError("start the watcher", f"{self.unit} is not up", self._see)
        error.tail = logfiles.tail_of_unit(self.unit, LOG_LINES)
        raise error


def _names_in(file: Path) -> set[str]:
    """The names of a file of NAME=VALUE lines."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    pairs = (line.strip().partition("=") for line in lines)
    return {name.strip() for name, equals, _ in pairs if equals and not name.startswith(("#", ";"))}
