"""How it stands with a project's watcher as a systemd unit, and how that is told. Pure."""

from dataclasses import dataclass

from orchestrator.model import Json
from orchestrator.units import format_duration


@dataclass(frozen=True, slots=True)
class Status:
    """``since`` in seconds since the epoch, ``log`` the last lines of its journal, oldest first. ``lingers``: whether
    the ``user``'s units run without anyone logged in, None where nobody tells; ``trouble``: why systemd cannot be
    asked, and nothing else is known."""

    unit: str
    file: str
    user: str
    installed: bool
    enabled: bool = False
    active: bool = False
    since: float | None = None
    pid: int = 0
    restarts: int = 0
    lingers: bool | None = None
    log: tuple[str, ...] = ()
    trouble: str = ""


def status_text(one: Status, now: float) -> str:
    if not one.installed:
        more = f": {one.trouble}" if one.trouble else "; `orch service install` installs it"
        return f"{one.unit} is not installed{more}"
    lines = [f"{one.unit} ({one.file})"]
    if one.trouble:
        lines.append(f"  runs     unknown: {one.trouble}")
    elif one.active:
        since = f", for {format_duration(max(0, round(now - one.since)))}" if one.since is not None else ""
        lines.append(f"  runs     yes: pid {one.pid}{since}, {_times(one.restarts)}")
    else:
        lines.append(f"  runs     no; `systemctl --user start {one.unit}` starts it")
    if not one.trouble:
        lines.append(f"  at boot  {_at_boot(one)}")
    return "\n".join([*lines, *(f"  | {line}" for line in one.log)])


def _at_boot(one: Status) -> str:
    if not one.enabled:
        return "no, it is not enabled; `orch service install` enables it"
    if one.lingers:
        return f"yes: it is enabled, and {one.user} lingers"
    if one.lingers is None:
        return f"if {one.user} lingers, which loginctl does not tell"
    return f"no, only once {one.user} logs in; `sudo loginctl enable-linger {one.user}` changes that"


def _times(count: int) -> str:
    return {0: "never restarted", 1: "restarted once"}.get(count, f"restarted {count} times")


def status_json(one: Status) -> Json:
    return {
        "version": 1,
        "unit": one.unit,
        "file": one.file,
        "installed": one.installed,
        "enabled": one.enabled,
        "active": one.active,
        "since": one.since,
        "pid": one.pid,
        "restarts": one.restarts,
        "lingering": one.lingers,
        "trouble": one.trouble,
        "log": list(one.log),
    }
