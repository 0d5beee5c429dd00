"""What is said about who keeps a project up. Pure."""

from orchestrator.model import Intent, Json, Record, Watcher
from orchestrator.units import format_duration

NOBODY = "Nothing watches this project, and what crashes stays down: `orch service install`, or `orch watch`."


def covers(watcher: Watcher | None, name: str) -> bool:
    """Whether it starts this deployment again. One that was given PATHs says which ones these are, once it knows."""
    return watcher is not None and not watcher.plans_only and (not watcher.paths or name in watcher.names)


def who(watcher: Watcher) -> str:
    return f"{watcher.unit} (pid {watcher.pid})" if watcher.unit else f"orch watch (pid {watcher.pid})"


def hello(watcher: Watcher) -> str:
    """The first line of its log."""
    does = "reporting on" if watcher.plans_only else "watching"
    return f"{does} {', '.join(watcher.paths) or 'all that is deployed'} (pid {watcher.pid})"


def lines(watcher: Watcher | None, now: float) -> tuple[str, ...]:
    """For the end of `status` and `apply`: who watches, what of, what is wrong with it, and how to change it."""
    if watcher is None:
        return (NOBODY,)
    since = format_duration(max(0, round(now - watcher.since)))
    what = ", ".join(watcher.paths) or "all that is deployed"
    does = "reports on" if watcher.plans_only else "keeps up"
    end = "`orch service uninstall` ends it" if watcher.unit else f"`kill {watcher.pid}` ends it, and nothing that runs"
    found = [f"Watched: {who(watcher)} {does} {what}, since {since} ago; {end}."]
    if watcher.trouble:
        first, *rest = watcher.trouble.splitlines()
        more = f" (and {len(rest)} more; see `orch validate`)" if rest else ""
        found.append(f"The files are not applied: {first}{more}")
    return tuple(found)


def as_json(watcher: Watcher | None) -> Json:
    if watcher is None:
        return None
    return {
        "pid": watcher.pid,
        "since": watcher.since,
        "paths": list(watcher.paths),
        "unit": watcher.unit,
        "plan_only": watcher.plans_only,
        "trouble": watcher.trouble,
    }


def notes(record: Record | None, watcher: Watcher | None, now: float, *, lives: bool) -> list[str]:
    """How it stands with the starts that nobody asked for. ``lives``: its engine does, be it hung."""
    if record is None or record.attempt is None or record.intent is Intent.STOPPED:
        return []
    found: list[str] = []
    policy = record.attempt.deployment.policy.restart
    count = len(record.deaths)
    again = f"`orch {'restart' if lives else 'start'} {record.name}` tries again"
    if lives and count and record.deaths[-1].attempt == record.attempt.id:
        found.append(f"it hangs: {record.deaths[-1].why}")
    if record.given_up:
        known = record.attempt.ended == record.given_up  # and told by the line before
        found.append(f"given up{'' if known else f': {record.given_up}'}; {again}")
    elif record.retry_at is not None and covers(watcher, record.name):
        when = "now" if record.retry_at <= now else f"in {format_duration(round(record.retry_at - now))}"
        counted = f"{count} of {policy.attempts} within {format_duration(policy.window)}"
        found.append(f"{record.refused}; tried again {when}" if record.refused else f"starts again {when} ({counted})")
    elif not lives and watcher and not covers(watcher, record.name):
        found.append(f"nobody starts it again: `orch apply {record.name}` does")
    elif found:
        found[0] += f"; its restart policy leaves it so, {again}"
    elif count:
        times = "once" if count == 1 else f"{count} times"
        found.append(f"ended by itself {times}, last because {record.deaths[-1].why}")
    return found
