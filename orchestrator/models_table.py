"""What `orch models` prints: the weights on this disk, how complete they are and who uses them. Pure."""

from collections.abc import Iterable, Sequence

from orchestrator.cached import Adoption, Cached, Found, User, users_of
from orchestrator.columns import columns
from orchestrator.model import Json
from orchestrator.render import VERSION
from orchestrator.units import format_size

HEAD = ("REPO", "REVISION", "SIZE", "STATE", "WHERE", "USED BY", "LAST USED")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def models_text(found: Found, users: Sequence[User], now: float) -> str:
    if not found.models:
        places = ", ".join(found.places) or "nowhere"
        return f"No model is cached here (looked in {places}); `orch pull OWNER/NAME` fetches one."
    table = [HEAD, *(_row(one, users_of(one, users, found.models), now) for one in found.models)]
    return "\n".join([*columns(table), *_notes(found), _sum(found)])


def _row(one: Cached, users: Sequence[User], now: float) -> tuple[str, ...]:
    return (
        one.repo or "-",
        revision(one),
        format_size(one.size),
        _state(one),
        f"{'hub cache' if one.kind == 'cache' else 'folder'} {one.place}",
        ", ".join(dict.fromkeys(_user(user, users) for user in users)) or "-",
        _used(one, users, now),
    )


def revision(one: Cached) -> str:
    """``main (0123abcd)``, or the short commit alone."""
    names = ", ".join([*one.names, *(f"{name} of other tools" for name in one.others)])
    return f"{names} ({one.commit[:8]})" if names else one.commit[:8] or "-"


def _state(one: Cached) -> str:
    share = one.percent if one.state in {"partial", "being fetched"} else None
    return one.state if share is None else f"{one.state} {share}%"


def _user(user: User, users: Sequence[User]) -> str:
    """Each name once, with the most that is to be said of it."""
    every = [other for other in users if (other.name, other.project) == (user.name, user.project)]
    same = every[0]
    if same.kind == "profile":
        return same.name
    if same.kind == "revision":
        return f"{same.name} (revision {', '.join(str(one.number) for one in every)})"
    return f"{same.name} ({same.kind}{f' in {same.project}' if same.project else ''})"


def _used(one: Cached, users: Sequence[User], now: float) -> str:
    """What is known of it: a start by orch, or when the file system says that its largest file was read."""
    if any(user.kind == "running" for user in users):
        return "running"
    if started := _started(users):
        return f"started {ago(now - started)}"
    return f"read {ago(now - one.read_at)}" if one.read_at else "-"


def _started(users: Iterable[User]) -> float | None:
    return max((user.started for user in users if user.started), default=None)


def ago(seconds: float) -> str:
    """In the largest unit alone: ``3d ago``."""
    for unit, length in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit} ago"
    return "just now"


def _notes(found: Found) -> list[str]:
    lines = []
    for one in found.models:
        lines += [f"  {one.label}: {why}; `orch pull {one.repo}` fetches it again" for why in one.corrupt]
    for (repo, cache), size in sorted(found.leftovers.items()):
        what = f"{format_size(size)} in {cache} are left of downloads that nothing goes on with"
        lines.append(f"  {repo}: {what}; they go with its last commit")
    return lines


def _sum(found: Found) -> str:
    count = len(found.models)
    return f"{count} {'model takes' if count == 1 else 'models take'} {format_size(found.size)} on disk"


def adopted_text(done: Adoption, environment: str | None = None) -> str:
    name, files = f"{done.repo}@{done.commit[:8]}", "file" if done.wanted == 1 else "files"
    if not done.complete:
        count = f"{done.adopted + done.had} of {done.wanted} {files}"
        sizes = f"{format_size(done.here)} of {format_size(done.total)}"
        first = f"{name}: {count}, {sizes}, are in {done.cache} now ({done.adopted} adopted)"
        first += f"; `{_pull(done, environment)}` fetches the rest"
    elif not done.adopted:
        first = f"{name} is in {done.cache} already: {done.wanted} {files}, {format_size(done.total)}, verified"
    else:
        first = f"{name} is adopted: {done.wanted} {files}, {format_size(done.total)}, verified, in {done.cache}"
    lines = [f"  {path} is not what the Hub has, and is left out" for path in done.differing]
    if done.revision == done.commit:
        lines.append(f"  a profile serves this commit with `revision: {done.commit}`")
    return "\n".join([first, *lines])


def _pull(done: Adoption, environment: str | None) -> str:
    revision = [] if done.revision == "main" else [f"--revision {done.revision}"]
    return " ".join(["orch pull", done.repo, *revision, *([f"--environment {environment}"] if environment else [])])


def models_json(found: Found, users: Sequence[User], now: float) -> Json:
    models = [_model_json(one, users_of(one, users, found.models)) for one in found.models]
    left = [{"repo": repo, "cache": cache, "bytes": size} for (repo, cache), size in sorted(found.leftovers.items())]
    return {
        "version": VERSION,
        "at": now,
        "places": list(found.places),
        "models": models,
        "leftovers": left,
        "on_disk_bytes": found.size,
    }


def _model_json(one: Cached, users: Sequence[User]) -> Json:
    return {
        "repo": one.repo or None,
        "commit": one.commit or None,
        "revisions": list(one.names),
        "revisions_of_other_tools": list(one.others),
        "kind": one.kind,
        "place": one.place,
        "path": one.path,
        "state": one.state,
        "percent": one.percent,
        "on_disk_bytes": one.size,
        "total_bytes": one.total,
        "here_bytes": one.here,
        "unverified_bytes": one.unverified,
        "files_missing": one.missing,
        "corrupt": list(one.corrupt),
        "used_by": [
            {"name": name, "as": kind, "project": project or None, **({"revision": number} if number else {})}
            for name, kind, project, number in dict.fromkeys(
                (user.name, user.kind, user.project, user.number) for user in users
            )
        ],
        "last_start": _started(users),
        "last_read": one.read_at,
    }
