"""What changed between versions of the engine: when a flag came and went, and how two versions differ. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from orchestrator.engines.knowledge import Engine, Flag
from orchestrator.engines.versions import order
from orchestrator.model import Json


@dataclass(frozen=True, slots=True)
class History:
    """``added`` is the first version with the flag, "" when the oldest that is known has it already; ``removed`` the
    first one without it again, "" when the newest still has it. ``last`` is the flag as it was last seen, in version
    ``last_in``."""

    added: str
    removed: str
    last: Flag
    last_in: str


@dataclass(frozen=True, slots=True)
class Change:
    """``aspect`` is type, nargs, choices, bounds, default, deprecated, options or negations."""

    aspect: str
    old: Json
    new: Json


@dataclass(frozen=True, slots=True)
class Diff:
    """Names of flags, and ``flag.key`` for the keys of a mapping; each sorted. A flag that the new version takes as an
    alias of another is not removed."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[Change, ...]]


def history(name: str, engines: Iterable[Engine]) -> History | None:
    """Of a flag by any of its names. None when no version that is known has it."""
    ranked = sorted(engines, key=lambda engine: order(engine.version))
    seen = [(at, flag) for at, engine in enumerate(ranked) if (flag := engine.find(name)) is not None]
    if not seen:
        return None
    (first, _), (last, flag) = seen[0], seen[-1]
    return History(
        added=ranked[first].version if first else "",
        removed=ranked[last + 1].version if last + 1 < len(ranked) else "",
        last=flag,
        last_in=ranked[last].version,
    )


def diff(old: Engine, new: Engine) -> Diff:
    before, after = _named(old), _named(new)
    gone = {name for name in before if name not in after and new.find(name) is None}
    fresh = {name for name in after if name not in before and old.find(name) is None}
    changed = {name: found for name in before if name not in gone and (found := _changes(name, before[name], new))}
    return Diff(tuple(sorted(fresh)), tuple(sorted(gone)), dict(sorted(changed.items())))


def _named(engine: Engine) -> dict[str, Flag]:
    return dict(pair for name, flag in engine.flags.items() for pair in _with_keys(name, flag))


def _with_keys(name: str, flag: Flag) -> Iterator[tuple[str, Flag]]:
    yield name, flag
    for key, below in flag.fields.items():
        yield from _with_keys(f"{name}.{key}", below)


def _changes(name: str, before: Flag, new: Engine) -> tuple[Change, ...]:
    after = new.find(name)
    if after is None:
        return ()
    pairs = zip(_aspects(before).items(), _aspects(after).values(), strict=True)
    return tuple(Change(aspect, old, now) for (aspect, old), now in pairs if old != now and _told(aspect, old, now))


def _told(aspect: str, old: Json, now: Json) -> bool:
    """A type or default that only one of the two documents tells is no change of the engine's."""
    return aspect not in ("type", "default") or (old is not None and now is not None)


def _aspects(flag: Flag) -> dict[str, Json]:
    return {
        "type": flag.type or None,
        "nargs": flag.nargs,
        "choices": sorted(str(choice) for choice in flag.choices),
        "bounds": str(flag.bounds),
        "default": {"value": flag.default} if flag.default_known else None,
        "deprecated": flag.deprecated,
        "options": sorted(flag.options),
        "negations": sorted(flag.negations),
    }
