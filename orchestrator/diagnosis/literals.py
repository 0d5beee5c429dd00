"""What must stand in a text for a pattern to be found in it. To look for that first is ten times as fast, and most
lines of a log hold none of it."""

import re
from functools import cache

_COUNTED = re.compile(r"[?*+]|\{(\d*)(?:,\d*)?\}")
_GROUP = re.compile(r"\((?:\?(?:(:|P<\w+>|=)|(?:[!>]|<[=!]|[a-zA-Z-]+:)))?")
"""What it holds must be found, if something is captured or nothing follows the bracket."""
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_UNREAD = re.IGNORECASE | re.VERBOSE
_CODED = "xuUN0123456789"  # after a backslash: what follows belongs to it, or it is what was found before


class Quick:
    """A pattern that is tried where the text holds what it must."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)
        self._texts = literals(self._pattern)

    def search(self, text: str) -> re.Match[str] | None:
        return self._pattern.search(text) if holds_one(text, self._texts) else None

    def match(self, text: str) -> re.Match[str] | None:
        return self._pattern.match(text) if holds_one(text, self._texts) else None


def holds_one(text: str, of: tuple[str, ...]) -> bool:
    """Of none, too."""
    for one in of:  # half as fast with any()
        if one in text:
            return True
    return not of


@cache
def literals(pattern: re.Pattern[str]) -> tuple[str, ...]:
    """One of these stands in whatever the pattern is found in; none where nothing is known."""
    if pattern.flags & _UNREAD:
        return ()
    try:
        found, end = _alternatives(pattern.pattern, 0)
    except ValueError:
        return ()
    return found if end == len(pattern.pattern) else ()


def _alternatives(source: str, at: int) -> tuple[tuple[str, ...], int]:
    """Of what is parted by bars, up to the end or a closing bracket."""
    found: list[str] = []
    known = True
    while True:
        best, at = _sequence(source, at)
        known = known and bool(best)
        found += best
        if at == len(source) or source[at] == ")":
            return tuple(dict.fromkeys(found)) if known else (), at
        at += 1


def _sequence(source: str, at: int) -> tuple[tuple[str, ...], int]:
    """Of things that follow each other: what tells the most."""
    best: tuple[str, ...] = ()
    run = ""
    while at < len(source) and source[at] not in "|)":
        inner, letter, at = _item(source, at)
        count = _COUNTED.match(source, at)
        least = 1
        if count:
            at = count.end()
            at += at < len(source) and source[at] in "?+"  # lazy, or possessive
            least = 1 if count[0] == "+" else int(count[1] or 0)
        if least and letter:
            run += letter
        if count or not letter:
            best, run = _better(best, (run,)), ""
        if least and inner:
            best = _better(best, inner)
    return _better(best, (run,)), at


def _item(source: str, at: int) -> tuple[tuple[str, ...], str, int]:
    """What a group must hold, or the letter; neither for what may be several things."""
    first = source[at]
    if first == "(":
        group = _GROUP.match(source, at)
        if group is None or (group[0] == "(" and source.startswith("?", group.end())):
            raise ValueError(source)  # a condition, or what was found before
        inner, end = _alternatives(source, group.end())
        if end == len(source):
            raise ValueError(source)
        return inner if group[0] == "(" or group[1] else (), "", end + 1
    if first == "[":
        found = _CLASS.match(source, at)
        if found is None:
            raise ValueError(source)
        return (), "", found.end()
    if first == "\\":
        if source[at + 1] in _CODED:
            raise ValueError(source)
        return (), "" if source[at + 1].isalnum() else source[at + 1], at + 2
    return (), "" if first in ".^$" else first, at + 1


def _better(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return max(one, other, key=lambda texts: min(map(len, texts), default=0))
