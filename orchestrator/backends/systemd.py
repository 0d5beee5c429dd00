"""Engines as transient units of this user's service manager, each in a cgroup of its own: what sits in the cgroup is
ours, whatever it did to its session and its environment, and a stop takes all of it.

systemd starts nothing again by itself (`Restart=no`): the restart policy has one mind, which is the watcher's. What an
engine writes goes into the journal; its environment is told to it by `unit_main`, and in no property of the unit.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orchestrator import logfiles, proc
from orchestrator.backends import cgroups
from orchestrator.backends.handover import Handover
from orchestrator.backends.local import started
from orchestrator.backends.processes import CHILD_GRACE, LEADER_GRACE, Processes
from orchestrator.errors import HostError
from orchestrator.identity import Family, families
from orchestrator.model import Attempt, Backend, Exit, Instance, Launch, Marker, Phase, Process
from orchestrator.ports import Say
from orchestrator.shell import CommandFailed
from orchestrator.unit_file import instance_unit
from orchestrator.user_manager import UserManager

UNIT_MAIN = Path(__file__).with_name("unit_main.py")
SETTLING = 10.0
"""Seconds for systemd to learn that a main process is gone; it takes 5 ms."""
LOOK_EVERY = 0.02  # seconds
_ENDING = ("LoadState", "Result", "ExecMainCode", "ExecMainStatus")
_EXITED, _KILLED, _DUMPED = "1", "2", "3"  # as the kernel's si_code has it


class SystemdReader:
    def __init__(self, manager: UserManager) -> None:
        self._manager = manager

    @property
    def boot(self) -> str:
        return proc.boot_id()

    def list(self, project: str, attempts: Mapping[Marker, Attempt]) -> tuple[Instance, ...]:
        here = {marker: one for marker, one in attempts.items() if one.boot == self.boot and not one.adopted}
        rows = _signed({instance_unit(marker): marker for marker in here})
        found = families(rows, project, {marker.attempt: one.pid for marker, one in here.items()})
        return tuple(_instance(family) for family in found)

    def everywhere(self) -> tuple[Instance, ...]:
        rows = tuple(_signed({}))
        projects = sorted({row.marker.project for row in rows if row.marker})
        return tuple(_instance(family) for project in projects for family in families(rows, project, {}))

    def ended(self, marker: Marker, attempt: Attempt) -> Exit | None:
        """Of a unit that failed systemd remembers it, until it is told to forget."""
        return _ending(self._manager.show(instance_unit(marker), *_ENDING)) if attempt.boot == self.boot else None


class Systemd(Processes, SystemdReader):
    def __init__(
        self, manager: UserManager, leader_grace: float = LEADER_GRACE, child_grace: float = CHILD_GRACE
    ) -> None:
        Processes.__init__(self, leader_grace, child_grace)
        SystemdReader.__init__(self, manager)

    def check(self, backend: Backend, say: Say) -> None:
        manager = self._manager
        if why := manager.trouble:
            cure = "write `backend: local` in the environment"
            own = f"`{manager.enable_linger}` starts one and keeps it, or "
            raise HostError("use `backend: systemd`", why, cure if manager.absence else own + cure)
        if manager.lingers is False:
            cure = f"`{manager.enable_linger}` prevents that"
            say(f"warning: systemd ends its units when {manager.user} logs out for the last time; {cure}")
        if manager.hides_journal:
            say(f"warning: {manager.user} may not read what it will write: {logfiles.READABLE}")

    def start(self, marker: Marker, launch: Launch, secrets: Mapping[str, str], log: Path) -> Instance:
        """Raises HostError when the program cannot be executed, or systemd does not start its unit."""
        unit = instance_unit(marker)
        self.forget(marker.project, marker.name)
        try:
            logfiles.point_to_journal(log, unit)
        except OSError as error:
            raise HostError(f"write {log}", error.strerror or str(error)) from error
        try:
            row = self._launch(unit, marker, launch, secrets, log.parent)
        except HostError:
            self._clear(unit)
            raise
        row = replace(row, marker=marker, command=Path(launch.argv[0]).name)
        return Instance(marker, Phase.STARTING, row, started_at=proc.started_at(row), backend="systemd")

    def stop(self, instance: Instance, drain: float) -> None:
        super().stop(instance, drain)
        self._clear(instance_unit(instance.marker))

    def forget(self, project: str, name: str) -> None:
        """Those that failed stay loaded until they are told to go."""
        attempt = "[0-9]" * 5 + "-" + "[0-9a-f]" * 8
        with suppress(CommandFailed):
            self._manager.ctl("reset-failed", instance_unit(Marker(project, name, attempt)))

    def _launch(self, unit: str, marker: Marker, launch: Launch, secrets: Mapping[str, str], folder: Path) -> Process:
        with Handover(self._manager.runtime_dir / "orch", marker.name) as handover:
            program = [sys.executable, "-I", "-S", str(UNIT_MAIN), str(handover.path)]
            try:
                self._manager.run("systemd-run", *_options(unit, marker, launch), "--", *program)
            except CommandFailed as error:
                why = f"systemd does not start its unit: {error.why}"
                raise HostError(f"start {marker.name}", why, "see `systemctl --user status`") from error
            return handover.give(launch.argv, {**launch.env, **secrets}, folder)

    def _clear(self, unit: str) -> None:
        """Once nothing of it lives; systemd may not know yet, and waits for that."""
        for verb in ("stop", "reset-failed"):
            with suppress(CommandFailed):  # it is not loaded any more
                self._manager.ctl(verb, unit)

    def _members(self, instance: Instance) -> Sequence[Process]:
        return cgroups.members().get(instance_unit(instance.marker), ())

    def _exit(self, instance: Instance) -> Exit:
        deadline = time.monotonic() + SETTLING
        while time.monotonic() < deadline:
            shown = self._manager.show(instance_unit(instance.marker), *_ENDING)
            if (ending := _ending(shown)) is not None:
                with suppress(CommandFailed):  # only root may: its last words are not on their way any more
                    self._manager.run("journalctl", "--sync")
                return ending
            if shown.get("LoadState") != "loaded":
                # Forgotten by itself is only what ended well: with 0, or by the TERM that somebody sent.
                return Exit(code=0) if shown else Exit()
            time.sleep(LOOK_EVERY)
        return Exit()


def _options(unit: str, marker: Marker, launch: Launch) -> Iterator[str]:
    """The unit's properties. An engine that lost a process to the kernel's hunt for memory is none any more, so all of
    it goes. A stop that is not orch's, at the machine's shutdown say, ends it as orch would: TERM to the main process
    alone, the drain, then the cgroup."""
    yield from ("--user", "--quiet", "--no-ask-password", f"--unit={unit}")
    yield f"--description=orch: {marker.name} of {marker.project}"
    properties = {
        "Type": "exec",
        "Restart": "no",
        "KillMode": "mixed",
        "TimeoutStopSec": f"{launch.drain + LEADER_GRACE:.0f}s",
        "OOMPolicy": "kill",
        "CPUAccounting": "no",
        "TasksMax": "infinity",
        "StandardOutput": "journal",
        "StandardError": "journal",
        "SyslogIdentifier": f"orch-{marker.name}",
    }
    yield from (f"--property={name}={value}" for name, value in properties.items())


def _signed(recorded: Mapping[str, Marker]) -> Iterator[Process]:
    """All that lives in units of orch's, with the marker of the unit; ``recorded`` by the unit's name, for where every
    process has blanked its environment."""
    for unit, rows in cgroups.members().items():
        carried = (row.marker for row in rows if row.marker and instance_unit(row.marker) == unit)
        if marker := next(carried, recorded.get(unit)):
            yield from (replace(row, marker=marker) for row in rows)


def _instance(family: Family) -> Instance:
    return replace(started(family), backend="systemd")


def _ending(shown: Mapping[str, str]) -> Exit | None:
    """None while it runs, and when systemd does not know."""
    code, status = shown.get("ExecMainCode"), int(shown.get("ExecMainStatus") or 0)
    killed = shown.get("Result") == "oom-kill" or None
    if code == _EXITED:
        return Exit(code=status, oom_killed=killed)
    if code in {_KILLED, _DUMPED}:
        return Exit(signal=status, oom_killed=killed)
    return None
