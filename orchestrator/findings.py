"""What is wrong with one document, gathered until all of it is known; and how values and keys are shown in words.

Nothing here prints. Values under ``secrets`` and the user information of URLs are never shown: a person who pasted
one gets a message without it.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orchestrator.errors import InputError, OrchError, Problems, raise_all
from orchestrator.model import Json, Notice, Path, Source

_WIDTH = 60
_USERINFO = re.compile(r"://[^/?#\s]*@")


class Findings:
    """Errors and warnings of one file, each at its place, in the order in which they stand in the file, and what could
    not be checked in it. Who loads a file raises the errors together; the warnings go with what was loaded.

    ``code`` is one of `rules`."""

    def __init__(self, source: Source, kind: str) -> None:
        self.source, self.kind = source, kind
        self._found: dict[tuple[tuple[int, int], int, str], InputError] = {}
        self._warned: dict[tuple[tuple[int, int], int, str], Notice] = {}
        self._noted: dict[tuple[tuple[int, int], int, str], Notice] = {}
        self.paths: set[Path] = set()  # of the errors

    def add(self, path: Path, why: str, do: str = "", *, code: str) -> None:
        error = InputError(f"use {dotted(path) or 'the ' + self.kind}", why, do, self.source.at(*path), code)
        self._found.setdefault((self._place(path), len(path), str(error)), error)
        self.paths.add(path)

    def warn(self, path: Path, what: str, do: str, *, code: str) -> None:
        notice = Notice(self.source.at(*path), f"{dotted(path)} {what}", do, code)
        self._warned.setdefault((self._place(path), len(path), str(notice)), notice)

    def note(self, path: Path, what: str) -> None:
        """``what`` could not be checked, and why, as a sentence of its own."""
        self._noted.setdefault((self._place(path), len(path), what), Notice(self.source.at(*path), what, ""))

    @property
    def errors(self) -> tuple[InputError, ...]:
        return tuple(self._found[key] for key in sorted(self._found))

    @property
    def warnings(self) -> tuple[Notice, ...]:
        return tuple(self._warned[key] for key in sorted(self._warned))

    @property
    def notes(self) -> tuple[Notice, ...]:
        return tuple(self._noted[key] for key in sorted(self._noted))

    def raise_all(self) -> None:
        raise_all(self.errors)

    def _place(self, path: Path) -> tuple[int, int]:
        places = (self.source.positions.get(path[:end]) for end in range(len(path), -1, -1))
        return next((place for place in places if place), (0, 0))


@contextmanager
def coded(code: str) -> Iterator[None]:
    """Whatever is wrong inside has this code, unless it has one of its own."""
    try:
        yield
    except OrchError as error:
        for one in each(error):
            one.code = one.code or code
        raise


def each(error: OrchError) -> tuple[OrchError, ...]:
    """The several errors that this one stands for."""
    return error.errors if isinstance(error, Problems) else (error,)


def dotted(path: Path) -> str:
    """``serve.names[0]`` for ``("serve", "names", 0)``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_safe(part)}" for part in path)
    return text.removeprefix(".")


def shown(value: Json, path: Path = ()) -> str:
    """A value in a few words, on one line."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    if path and path[0] == "secrets":
        return "what is written here"
    if isinstance(value, str):
        value = _USERINFO.sub("://...@", value)
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() and len(text) <= _WIDTH else json.dumps(value)[: _WIDTH - 3] + "..."


def listed(words: Iterable[str], last: str = "and") -> str:
    """``a, b and c``."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """``did you mean X?`` for the closest option, or nothing."""
    close = difflib.get_close_matches(word[:_WIDTH], sorted(set(options)), n=1)
    return f"did you mean {close[0]}?" if close else ""


def _safe(part: str) -> str:
    text = part if part.isprintable() else json.dumps(part)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
