"""Who would start an engine again when it ends, or has it in another world than this one: told by what the system shows
of its processes. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_CONTAINER = re.compile(r"(?:docker|libpod|crio|cri-containerd|kubepods|machine|lxc)(?:[-_./]|$)")
_LOGINS = frozenset((
    "sshd", "sshd-session", "dropbear", "login", "cron", "crond", "atd", "tmux: server", "tmux", "screen", "SCREEN",
))  # fmt: skip
"""Whatever these start is a person's, or a job's: they start nothing again."""
_SUPERVISORS: Mapping[str, str] = {
    "supervisord": "take it out of supervisord (`supervisorctl stop` it, then remove its section)",
    "PM2": "take it out of pm2 (`pm2 delete` it)",
    "runsv": "take it out of runit (`sv down` it, and remove its link)",
    "s6-supervise": "take it out of s6 (`s6-svc -d` it, and remove its folder)",
    "circusd": "take it out of circus",
    "process-compose": "take it out of process-compose",
    "pebble": "take it out of pebble",
    "containerd-shim": "end its container",
    "conmon": "end its container",
}
"""By the beginning of the process's name, which the kernel cuts after 15 letters."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd service. ``user``: of a person's own manager."""

    name: str
    user: bool = False

    @property
    def systemctl(self) -> str:
        return "systemctl --user" if self.user else "sudo systemctl"


@dataclass(frozen=True, slots=True)
class Keeper:
    """``why`` and ``do`` as in an error."""

    why: str
    do: str


def unit(cgroup: str) -> Unit | None:
    """The service that a process runs in, by its /proc/PID/cgroup. A scope (a login, a terminal) starts nothing."""
    parts = _path(cgroup).split("/")
    units = [i for i, part in enumerate(parts) if part.endswith((".service", ".scope"))]
    if not units or parts[units[-1]].endswith(".scope"):
        return None
    name = parts[units[-1]]
    if re.fullmatch(r"user@[0-9]+\.service", name):
        return None
    return Unit(name, any(part.startswith("user@") for part in parts[: units[-1]]))


def container(cgroup: str) -> bool:
    return bool(_CONTAINER.search(_path(cgroup)))


def _path(cgroup: str) -> str:
    """The one place in the unified tree, or, where there is none, in systemd's own."""
    rows = [line.split(":", 2) for line in cgroup.splitlines() if line.count(":") >= 2]
    found = [path for number, names, path in rows if (number == "0" and not names) or names == "name=systemd"]
    return max(found, key=len, default="")


def of_unit(
    unit: Unit, pid: int, main: int | None, restart: str, names: Iterable[str], line: Iterable[int]
) -> Keeper | None:
    """``main`` and ``restart`` as systemd tells them, None and "" when it could not be asked; ``line`` are the engine's
    pid and those of its parents, ``names`` what these are called."""
    if restart == "no" or (main is not None and main not in line) or set(names) & _LOGINS:
        return None
    how = f" (Restart={restart})" if restart else ""
    why = f"it belongs to the systemd unit {unit.name}, which would start it again{how}"
    return Keeper(why, f"{_first(pid)}, then `{unit.systemctl} disable --now {unit.name}` and `orch apply`")


def of_parents(pid: int, parents: Iterable[tuple[int, str]]) -> Keeper | None:
    """``parents`` are (pid, name), the nearest first."""
    for parent, name in parents:
        for known, do in _SUPERVISORS.items():
            if name == known or (known == "PM2" and name.startswith("PM2 ")):
                why = f"it runs under {name} (pid {parent}), which would start it again"
                return Keeper(why, f"{_first(pid)}, {do}, then `orch apply`")
    return None


def of_container(pid: int) -> Keeper:
    why = "it runs in a container, whose files, processes and ports are not those of this system"
    return Keeper(why, "use orch inside it, or end it and begin with `orch init --from-command 'docker run ...'`")


def of_first() -> Keeper:
    why = "it is process 1, and all of its container ends with it"
    return Keeper(why, "use `orch run` as the container's command")


def _first(pid: int) -> str:
    return f"write its profile with `orch init --from-pid {pid}`"
