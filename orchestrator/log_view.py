"""Engines' logs as a person reads them: of a progress bar its last state, without secrets and control codes, of several
deployments by time. Pure.

A record of vLLM says when it was written, by the engine's clock and without a year: ``INFO 11-23 10:25:42 [x.py:1] A``.
A line without such a stamp belongs to the one before.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import merge
from zlib import crc32

from orchestrator.diagnosis.errors_of import tells
from orchestrator.diagnosis.lines import ANSI, read
from orchestrator.diagnosis.mask import mask

LONGEST = 1 << 20  # bytes of a line; a longer one is cut
_STAMP = re.compile(
    r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):? +(?:(\d{4})-)?(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:[.,]\d+)?(?: |$)"
)
_STAMP_WITHIN = 240  # characters
_BAR = re.compile(r"(\d{1,3})%(?:\|| Completed \|)|\d[^\s\[]{0,40}\s?\[\d{1,4}:\d\d(?::\d\d)?(?:<|, )[^\]]{0,60}\]?$")
_LONGEST_BAR = 1000  # characters: the width of a terminal, and then some
_OF_BARS = re.compile(r"%\||% C|t/s|s/it|B/s")
_TRACEBACK = "Traceback (most recent call last)"
_CHAINED = re.compile(r"During handling of the above exception|The above exception was the direct cause")
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # of terminals; red is for errors
_RESET = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be seen. ``since`` in local time; ``codes``: the engine's control codes are kept; ``raw``: byte for
    byte as written, but for secrets."""

    since: datetime | None = None
    grep: re.Pattern[str] | None = None
    errors: bool = False
    raw: bool = False
    codes: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """``at``: local time of the last stamp. ``text`` with its end, if it has one."""

    at: datetime
    text: str


class View:
    """One log, fed with its bytes wherever they were cut."""

    def __init__(self, choice: Choice, begun: datetime, hide: Callable[[str], str] = mask) -> None:
        """``begun``: when the first line was written, at the earliest; ``hide`` takes secrets out of a text."""
        self._choice, self._hide = choice, hide
        self._lines: _Raw | _Lines = _Raw() if choice.raw else _Lines(codes=choice.codes)
        self._times = Times(begun)
        self._errors = _Errors() if choice.errors else None

    @property
    def drawn(self) -> str:
        """The state of a progress bar that the next line may follow, or draw over."""
        return self._hide(self._lines.drawn)

    def skip(self) -> None:
        """What comes first is the rest of a line."""
        self._lines.skip = True

    def feed(self, chunk: bytes) -> list[Shown]:
        return list(self._chosen(self._lines.feed(chunk)))

    def end(self) -> list[Shown]:
        """What was held back."""
        return list(self._chosen(self._lines.end()))

    def _chosen(self, lines: list[str]) -> Iterator[Shown]:
        choice = self._choice
        for text in self._masked(lines):
            plain = _plain(text)
            at = self._times.at(plain)
            if choice.since and at < choice.since:
                continue
            if self._errors and not self._errors.picks(plain):
                continue
            if choice.grep is None or choice.grep.search(plain):
                yield Shown(at, reset(text) if choice.codes and not choice.raw else text)

    def _masked(self, lines: list[str]) -> list[str]:
        """Most lines hold no secret: all are asked at once."""
        together = "".join(lines)
        return lines if self._hide(together) == together else [self._hide(line) for line in lines]


class Times:
    """When lines were written."""

    def __init__(self, begun: datetime) -> None:
        self._last, self._floor = begun, begun - timedelta(days=1)  # engines may have another time zone
        self._stamp: tuple[str, ...] = ()

    def at(self, text: str) -> datetime:
        self.stamp(text)
        return self._last

    def stamp(self, text: str) -> datetime | None:
        """By this line's own; None where it has none. Time does not go back."""
        found = _STAMP.search(text, 0, _STAMP_WITHIN)
        if found is None:
            return None
        if found.groups() != self._stamp and (at := self._dated(*found.groups())):
            self._last = at if not self._stamp else max(at, self._last)
            self._stamp = found.groups()
        return self._last

    def _dated(self, year: str | None, *rest: str) -> datetime | None:
        """In the first year that is not before all else."""
        first = max(self._floor, self._last - timedelta(days=1)) if self._stamp else self._floor
        for one in (int(year),) if year else range(first.year, first.year + 2):
            try:
                at = datetime(one, *map(int, rest))  # type: ignore[arg-type]
            except ValueError:
                continue
            if year or at >= first:
                return at
        return None


def first_stamp(chunk: bytes, times: Times) -> datetime | None:
    """The first stamp in these bytes of a log."""
    lines = chunk.decode(errors="replace").split("\n")
    return next((at for line in lines if (at := times.stamp(_plain(line)))), None)


# ------------------------------------------------------------------------------------------------------------- lines


class _Raw:
    """Lines as they are, each byte kept."""

    drawn = ""

    def __init__(self) -> None:
        self._rest = b""
        self.skip = False

    def feed(self, chunk: bytes) -> list[str]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        texts = [f"{line.decode(errors='surrogateescape')}\n" for line in lines]
        if self.skip and texts:
            texts, self.skip = texts[1:], False
        return texts + (self.end() if len(self._rest) > LONGEST else [])

    def end(self) -> list[str]:
        rest, self._rest = self._rest, b""
        return [rest.decode(errors="surrogateescape")] if rest else []


class _Lines:
    """Each line without what drew over what; of bars that follow each other, be it by lines of their own, the last."""

    def __init__(self, *, codes: bool = False) -> None:
        self._codes = codes
        self._rest = b""
        self._bar: tuple[str, str, int] | None = None  # its line, its title and how far it is, percent
        self.skip = False

    @property
    def drawn(self) -> str:
        states = self._states(self._rest)
        last = states[-1] if states else ""
        if last.strip():
            return last if _bar(_plain(last)) else ""
        return self._bar[0] if self._bar else ""

    def feed(self, chunk: bytes) -> list[str]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if self.skip and lines:
            lines, self.skip = lines[1:], False
        texts = [state for line in lines for state in self._states(line)]
        if len(self._rest) > LONGEST:
            *before, last = self._states(self._rest)
            self._rest = last.encode()
            if len(self._rest) > LONGEST:
                before, self._rest = [*before, last], b""
            texts += before
        return [f"{text}\n" for text in self._collapsed(texts)]

    def end(self) -> list[str]:
        rest, self._rest = self._rest, b""
        texts = list(self._collapsed(self._states(rest) if rest else []))
        if self._bar:
            texts.append(self._bar[0])
            self._bar = None
        return [f"{text}\n" for text in texts]

    def _states(self, line: bytes) -> list[str]:
        """Of what carriage returns part, all that is no bar and the last that is anything."""
        text = line.decode(errors="replace")
        if not self._codes:
            text = _plain(text)
        if "\r" not in text:
            return [text]
        said = [state for state in text.split("\r") if state.strip()]
        return [*(state for state in said[:-1] if not _bar(_plain(state))), *said[-1:]] or [""]

    def _collapsed(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            bar = _bar(_plain(line))
            if self._bar and (bar is None or bar[0] != self._bar[1] or bar[1] < self._bar[2]):
                yield self._bar[0]
            self._bar = (line, *bar) if bar else None
            if bar is None:
                yield line


def _plain(text: str) -> str:
    return ANSI.sub("", text) if "\x1b" in text else text


def _bar(text: str) -> tuple[str, int] | None:
    """Its title, and how far it is; None for what is no progress bar."""
    if len(text) > _LONGEST_BAR or not _OF_BARS.search(text):
        return None
    found = _BAR.search(text)
    if found is None or _STAMP.search(text, 0, _STAMP_WITHIN):
        return None
    return text[: found.start()].strip(), int(found[1] or 0)


class _Errors:
    """Records of level ERROR or worse, what else tells of an error, and the tracebacks of both."""

    def __init__(self) -> None:
        self._inside: dict[tuple[str, int], str] = {}  # by process: "frames" of a traceback, or its "message"

    def picks(self, text: str) -> bool:
        lines = read(text)
        if not lines:
            return False
        line = lines[-1]
        process = line.process, line.pid
        inside, told = self._inside.pop(process, ""), tells(line)
        if _TRACEBACK in line.text and (told or not line.level):
            self._inside[process] = "frames"
        elif inside and not line.level and (line.text[0].isspace() or _CHAINED.match(line.text)):
            self._inside[process] = inside
        elif told or (inside == "frames" and not line.level):
            self._inside[process] = "message"
        return process in self._inside


# ------------------------------------------------------------------------------------------------ several deployments


def together(sources: Mapping[str, Iterable[Shown]]) -> Iterator[tuple[str, Shown]]:
    """By time, with the names; what one deployment says stays in its order."""
    named = (_named(name, source) for name, source in sources.items())
    return merge(*named, key=lambda one: one[1].at)


def _named(name: str, source: Iterable[Shown]) -> Iterator[tuple[str, Shown]]:
    return ((name, shown) for shown in source)


def prefixes(names: Iterable[str], *, coloured: bool) -> dict[str, str]:
    """What stands before each line of a deployment; a single one has none. A name has its colour whatever the others
    are, unless one of those has the same."""
    known = sorted(set(names))
    width, taken = max(map(len, known), default=0), set[int]()
    if len(known) < 2:
        return dict.fromkeys(known, "")
    found = {}
    for name in known:
        order = [_COLOURS[(crc32(name.encode()) + step) % len(_COLOURS)] for step in range(len(_COLOURS))]
        colour = next((one for one in order if one not in taken), order[0])
        taken.add(colour)
        head = f"{name:<{width}} |"
        found[name] = f"\x1b[{colour}m{head}{_RESET} " if coloured else f"{head} "
    return found


def reset(text: str) -> str:
    """What a line leaves switched on, colours say, is not the next one's."""
    return f"{text[:-1]}{_RESET}\n" if "\x1b[" in text and text.endswith("\n") else text
