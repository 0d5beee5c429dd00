"""What `orch engine` prints: flags of a version, and how two versions differ. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.columns import columns
from orchestrator.engines.changes import Change, Diff
from orchestrator.engines.knowledge import Engine, Flag
from orchestrator.engines.versions import order
from orchestrator.model import Json
from orchestrator.render import VERSION

_SHOWN = 60  # characters of a value in a table

Used = Mapping[str, Sequence[str]]
"""The names of the profiles that use a flag, by flag."""


def flags_text(engine: Engine, flags: Iterable[Flag]) -> str:
    rows = [("FLAG", "TAKES", "DEFAULT")]
    rows += [(_key(flag.name), _short(_takes(flag)), _short(_default(flag))) for flag in flags]
    return "\n".join([f"vllm {engine.version}", *columns(rows)])


def flag_text(flag: Flag, engine: Engine, known: Iterable[Engine]) -> str:
    """One flag in full, with when it came and went."""
    lines = [f"{_key(flag.name)}  (vllm {engine.version}: {', '.join(flag.options)})", f"  takes    {_takes(flag)}"]
    lines += [f"  default  {_default(flag)}"] if flag.default_known else []
    lines += [f"  keys     {', '.join(sorted(flag.fields))}"] if flag.fields else []
    lines.append(f"  known    {_span(flag.name, engine, known)}")
    if flag.deprecated:
        instead = f"; use {', '.join(map(_key, flag.instead))}" if flag.instead else ""
        lines.append(f"  given up {f'goes in {flag.removed_in}' if flag.removed_in else 'deprecated'}{instead}")
    return "\n".join(lines)


def _span(name: str, engine: Engine, known: Iterable[Engine]) -> str:
    """From when until when, around this version: a name that went may come back as another flag's negation."""
    ranked = sorted(known, key=lambda one: order(one.version))
    has = [one.find(name) is not None for one in ranked]
    at = next((place for place, one in enumerate(ranked) if one.version == engine.version), None)
    if at is None:
        return f"in {engine.version}"
    start, end = at, at
    while start and has[start - 1]:
        start -= 1
    while end + 1 < len(ranked) and has[end + 1]:
        end += 1
    first = ranked[start].version
    since = f"since {first}" if start else f"in {first}, the oldest that is known, and since"
    return since + (f"; removed in {ranked[end + 1].version}" if end + 1 < len(ranked) else "")


def flags_json(engine: Engine, flags: Iterable[Flag]) -> Json:
    return {"version": VERSION, "engine": "vllm", "of": engine.version, "flags": [_flag_json(one) for one in flags]}


def _flag_json(flag: Flag) -> Json:
    return {
        "name": _key(flag.name),
        "options": list(flag.options),
        "type": flag.type or None,
        "choices": list(flag.choices),
        "bounds": str(flag.bounds) or None,
        "default": flag.default if flag.default_known else None,
        "deprecated": flag.deprecated,
        "keys": sorted(flag.fields),
    }


def diff_text(old: Engine, new: Engine, found: Diff, used: Used | None) -> str:
    added, removed = _of(found.added, used), _of(found.removed, used)
    changed = {name: found.changed[name] for name in _of(found.changed, used)}
    head = f"vllm {old.version} -> {new.version}"
    if not (added or removed or changed):
        about = ", ".join(sorted({name for names in used.values() for name in names})) if used is not None else ""
        return f"{head}: nothing changed" + (f" for {about}" if about else "")
    lines = [head]
    lines += [f"  + {_key(name)}{_by(name, used)}" for name in added]
    lines += [f"  - {_key(name)}{_by(name, used)}" for name in removed]
    for name, changes in changed.items():
        lines.append(f"  ~ {_key(name)}{_by(name, used)}: {'; '.join(_change(one) for one in changes)}")
    return "\n".join(lines)


def diff_json(old: Engine, new: Engine, found: Diff, used: Used | None) -> Json:
    changed = {name: found.changed[name] for name in _of(found.changed, used)}
    return {
        "version": VERSION,
        "old": old.version,
        "new": new.version,
        "added": [_key(name) for name in _of(found.added, used)],
        "removed": [_key(name) for name in _of(found.removed, used)],
        "changed": {
            _key(name): {one.aspect: {"old": one.old, "new": one.new} for one in changes}
            for name, changes in changed.items()
        },
    }


def _of(names: Iterable[str], used: Used | None) -> list[str]:
    return [name for name in names if used is None or name.partition(".")[0] in used]


def _by(name: str, used: Used | None) -> str:
    return f" (used by {', '.join(used[name.partition('.')[0]])})" if used is not None else ""


def _change(one: Change) -> str:
    if isinstance(one.old, list) and isinstance(one.new, list):
        fresh, gone = [x for x in one.new if x not in one.old], [x for x in one.old if x not in one.new]
        parts = [f"+{', '.join(map(str, fresh))}"] if fresh else []
        parts += [f"-{', '.join(map(str, gone))}"] if gone else []
        return f"{one.aspect} {' '.join(parts)}"
    return f"{one.aspect} {_value(one.old)} -> {_value(one.new)}"


def _value(value: Json) -> str:
    if isinstance(value, Mapping) and value.keys() == {"value"}:
        value = value["value"]
    return "none" if value in (None, "") else value if isinstance(value, str) else json.dumps(value)


def _takes(flag: Flag) -> str:
    if flag.type == "bool":
        return "true or false" if flag.negations else "true"
    one = ", ".join(str(choice) for choice in flag.choices) or flag.type.replace("_", " ") or "something"
    bounds = f" {flag.bounds}" if str(flag.bounds) else ""
    return f"{one}{bounds}" + (", one or more" if flag.nargs in ("+", "*") or flag.repeats else "")


def _default(flag: Flag) -> str:
    return _value(flag.default) if flag.default_known else "-"


def _key(name: str) -> str:
    return name.replace("-", "_")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
