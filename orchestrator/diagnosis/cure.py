"""A cure in words and as a change of YAML: templates, filled with what is known."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.diagnosis.amounts import AMOUNTS, Known
from orchestrator.diagnosis.model import Cure
from orchestrator.model import Scalar

_PLACE = re.compile(r"\{([A-Za-z_][\w.]*)\}")
_OPTION = re.compile(r"\[([^\[\]]*\{[A-Za-z_][\w.]*\}[^\[\]]*)\]")
_EITHER = re.compile(f"{_OPTION.pattern}|{_PLACE.pattern}")
_PLAIN = re.compile(r"[A-Za-z_/][\w./@+-]*|\d{1,6}[smhd]")
_NOT_TEXT = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
ENVIRONMENT = "environment."
_FILES = (("", "profile_file", "the profile"), (ENVIRONMENT, "environment_file", "the environment"))
GENERAL = {"name": "NAME", "environment": "ENVIRONMENT", "python": "python3", "path": "PATH", "repo": "OWNER/NAME"}
"""What stands in a command for what nobody knows."""


@dataclass(frozen=True, slots=True)
class Filled:
    """``changes`` as in Diagnosis; those that would change nothing are left out."""

    changes: Mapping[str, Scalar]
    diff: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def value(name: str, known: Known) -> Scalar:
    """What is known by a name, None if nothing is."""
    if (found := known.get(name)) is not None and found != "":
        return found
    return AMOUNTS[name](known) if name in AMOUNTS else None


def fill(template: Scalar, known: Known) -> Scalar:
    """The template with its places filled; as a number where it is nothing but one place; None if one is unknown."""
    if not isinstance(template, str):
        return template
    if whole := _PLACE.fullmatch(template):
        return value(whole[1], known)
    filled = {name: value(name, known) for name in _PLACE.findall(template)}
    if None in filled.values():
        return None
    return _PLACE.sub(lambda found: str(filled[found[1]]), template)


def say(text: str, known: Known, quote: Callable[[str], str] = str) -> str:
    """A text for people. A part in brackets with a place in it falls away if that is unknown. What is filled in is
    never read as a template, and comes through ``quote``."""

    def filled(found: re.Match[str]) -> str:
        if found[1] is None:
            return _word(found[2], known, quote)
        places = _PLACE.findall(found[1])
        if any(value(name, known) is None for name in places):
            return ""
        return _PLACE.sub(lambda place: _word(place[1], known, quote), found[1])

    return _EITHER.sub(filled, text)


def _word(name: str, known: Known, quote: Callable[[str], str]) -> str:
    found = value(name, known)
    return quote(str(found)) if found is not None else GENERAL.get(name, "?")


def prescribe(cure: Cure, known: Known) -> Filled:
    changes: dict[str, Scalar] = {}
    for path, template in cure.set.items():
        where, new = fill(path, known), fill(template, known)
        if isinstance(where, str) and new is not None and str(known.get(where)) != str(new):
            changes[where] = new
    for path in cure.remove:
        where = fill(path, known)
        if isinstance(where, str) and (where in known or not known.get("profile_file")):
            changes[where] = None
    words = (say(cure.command, known, shlex.quote), say(cure.advice, known))
    return Filled(changes, diff(changes, known), tuple(text for text in words if text))


def diff(changes: Mapping[str, Scalar], known: Known) -> tuple[str, ...]:
    """The changes as lines of YAML behind "-", "+" or " ", each file's under a line that names it."""
    lines: list[str] = []
    for prefix, file, name in _FILES:
        mine = {
            path.removeprefix(prefix): new
            for path, new in sorted(changes.items())
            if path.startswith(ENVIRONMENT) == bool(prefix)
        }
        if mine:
            lines += [f"# {known.get(file) or name}", *_tree(mine, known, prefix)]
    return tuple(lines)


def _tree(changes: Mapping[str, Scalar], known: Known, prefix: str) -> list[str]:
    lines: list[str] = []
    open_sections: Sequence[str] = ()
    for path, new in changes.items():
        *sections, leaf = path.split(".")
        same = 0
        while same < min(len(sections), len(open_sections)) and sections[same] == open_sections[same]:
            same += 1
        lines += [f"  {'  ' * depth}{yaml(section)}:" for depth, section in enumerate(sections) if depth >= same]
        open_sections, indent = sections, "  " * len(sections)
        old = known.get(prefix + path)
        if old is not None and old != "":
            lines.append(f"- {indent}{yaml(leaf)}: {yaml(old)}")
        elif new is None:
            lines.append(f"- {indent}{yaml(leaf)}: ...")
        if new is not None:
            lines.append(f"+ {indent}{yaml(leaf)}: {yaml(new)}")
    return lines


def yaml(scalar: Scalar) -> str:
    """As YAML writes it: a text in quotes unless it can be read as nothing else."""
    if scalar is None:
        return "null"
    if isinstance(scalar, bool):
        return "true" if scalar else "false"
    if isinstance(scalar, int | float):
        return f"{scalar:g}" if isinstance(scalar, float) else str(scalar)
    if _PLAIN.fullmatch(scalar) and scalar.lower() not in _NOT_TEXT:
        return scalar
    return '"' + scalar.replace("\\", "\\\\").replace('"', '\\"') + '"'
