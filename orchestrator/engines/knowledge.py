"""What each version of the engine takes on its command line: flags, their types, choices and bounds. Pure.

The documents come from inside/snapshot.py. What a document does not tell is not known: nothing here guesses, and a
check of something unknown finds nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.model import Json

SCHEMA = 1
"""Of the documents. An older one is not read: what a runtime told is asked again, what is shipped is made again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Inclusive ``least`` and ``most``, exclusive ``over`` and ``under``; None where there is none."""

    least: float | None = None
    most: float | None = None
    over: float | None = None
    under: float | None = None
    multiple_of: float | None = None

    def __str__(self) -> str:
        """'at least 1', 'over 0 and at most 1'."""
        words = {"over": self.over, "at least": self.least, "under": self.under, "at most": self.most}
        parts = [f"{word} {_number(value)}" for word, value in words.items() if value is not None]
        if self.multiple_of is not None:
            parts.append(f"a multiple of {_number(self.multiple_of)}")
        return " and ".join(parts)

    def hold(self, value: float) -> bool:
        return not (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
            or (self.over is not None and value <= self.over)
            or (self.under is not None and value >= self.under)
            or (self.multiple_of is not None and value % self.multiple_of != 0)
        )


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of one version, or one key of the mapping that a flag takes (then ``options`` is empty).

    ``type`` is one of int, float, str, bool, list, json (a mapping or list), json_or_str, human_int ("4k"),
    human_int_or_auto; "" is unknown. ``nargs`` as argparse has it. ``open`` says why there may be more choices: "class"
    (any dotted path to a class), "plugin", "platform", or "" where there are none. ``optional``: the words "None" and
    "" stand for none. ``default`` is None as well where it is unknown, and then ``default_known`` is false. JSON
    ``holds`` a "mapping" or a "list"; ``fields`` are the keys of a mapping, all of them where it is ``closed``: 0.10
    passes over keys that it does not know. ``config`` names the field of the engine's config class, ``instead`` and
    ``removed_in`` what the engine says of a deprecated flag."""

    name: str
    options: tuple[str, ...] = ()
    dest: str = ""
    type: str = ""
    nargs: str | int | None = None
    negations: tuple[str, ...] = ()
    repeats: bool = False
    choices: tuple[Json, ...] = ()
    open: str = ""
    any_case: bool = False
    any_dash: bool = False
    bounds: Bounds = Bounds()
    lengths: tuple[int | None, int | None] = (None, None)
    optional: bool = False
    default: Json = None
    default_known: bool = False
    holds: str = ""
    fields: Mapping[str, "Flag"] = field(default_factory=dict)
    closed: bool = False
    config: str = ""
    deprecated: bool = False
    removed_in: str = ""
    instead: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Engine:
    """``quantization`` maps each method to its least compute capability times ten (80 is 8.0, less than 0 is none), or
    None where that is not known. ``source`` says how the document was made, ``unread`` what could not be read."""

    version: str
    flags: Mapping[str, Flag]
    quantization: Mapping[str, int | None] = field(default_factory=dict)
    architectures: frozenset[str] = frozenset()
    source: str = ""
    unread: tuple[str, ...] = ()

    def find(self, name: str) -> Flag | None:
        """By flag or alias, in snake or kebab case, with dashes before it or without. What negates a flag
        (``no_enable_x``) is found as a flag of its own, ``x.key`` as the key of a mapping."""
        head, dot, rest = name.lstrip("-").partition(".")
        bare = head.replace("_", "-")
        found = self.flags.get(bare)
        if found is None or not found.options:
            found = self._other(bare)
        return key_of(found, rest) if found is not None and dot else found

    def _other(self, bare: str) -> Flag | None:
        for flag in self.flags.values():
            if any(option.lstrip("-") == bare for option in flag.options):
                return flag
            if any(option.lstrip("-") == bare for option in flag.negations):
                return Flag(bare, (f"--{bare}",), flag.dest, "bool", config=flag.config, deprecated=flag.deprecated)
        return None

    def by_dest(self, dest: str) -> Flag | None:
        """By the name that the engine gives the value, which is no option where the two differ."""
        return next((flag for flag in self.flags.values() if flag.dest == dest), None)

    def abbreviated(self, name: str) -> Flag | None:
        """The only flag that begins with this: the engine's parser takes that too."""
        start = "--" + name.lstrip("-").replace("_", "-")
        found = {flag.name: flag for flag in self.flags.values() if any(one.startswith(start) for one in flag.options)}
        return next(iter(found.values())) if len(found) == 1 else None

    def names(self) -> tuple[str, ...]:
        """Every long option without its dashes, negations too, sorted: what a misspelt one is compared with."""
        words = (word for flag in self.flags.values() for word in (*flag.options, *flag.negations))
        return tuple(sorted({word.removeprefix("--") for word in words if word.startswith("--")}))


def key_of(flag: Flag, path: str) -> Flag | None:
    """The key ``a.b`` of the mapping that the flag takes; one of which nothing is known where its keys are not."""
    head, _, rest = path.partition(".")
    if not flag.fields:
        return Flag(path) if flag.type in ("json", "json_or_str", "") else None
    found = flag.fields.get(head.replace("-", "_"))
    return key_of(found, rest) if found is not None and rest else found


def read(document: Json) -> Engine | None:
    """None for anything that is no document of this schema."""
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        return None
    try:
        return Engine(
            version=str(document["version"]),
            flags={name: _flag(name, one) for name, one in sorted(document["flags"].items())},
            quantization={name: one.get("capability") for name, one in sorted(document["quantization"].items())},
            architectures=frozenset(document["architectures"]),
            source=str(document.get("source", "")),
            unread=tuple(document["unread"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _flag(name: str, data: Mapping[str, Any]) -> Flag:
    deprecated = data.get("deprecated")
    least, most = data.get("lengths", (None, None))
    return Flag(
        name=name,
        options=tuple(data.get("options", ())),
        dest=data.get("dest", name.replace("-", "_")),
        type=data.get("type", ""),
        nargs=data.get("nargs"),
        negations=tuple(data.get("negations", ())),
        repeats=data.get("repeats", False),
        choices=tuple(data.get("choices", ())),
        open=data.get("open", ""),
        any_case=data.get("any_case", False),
        any_dash=data.get("any_dash", False),
        bounds=Bounds(data.get("ge"), data.get("le"), data.get("gt"), data.get("lt"), data.get("multiple_of")),
        lengths=(least, most),
        optional=data.get("optional", False),
        default=data.get("default"),
        default_known="default" in data,  # what is no JSON is nothing that a profile could say
        holds=data.get("holds", ""),
        closed=data.get("closed", False),
        fields={key: _flag(key, one) for key, one in sorted(data.get("fields", {}).items())},
        config=data.get("field", ""),
        deprecated=deprecated is not None,
        removed_in=(deprecated or {}).get("removed_in", ""),
        instead=tuple((deprecated or {}).get("instead", ())),
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)
