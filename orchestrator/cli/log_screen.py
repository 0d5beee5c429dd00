"""Where `orch logs` writes: lines, and on a terminal below them a progress bar that is drawn over."""

import os
import select
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.log_view import Shown

STDOUT = 1
BATCH = 1 << 16  # characters of a write; each writes what it has at its end


class Screen:
    """Raises BrokenPipeError once nobody reads any more."""

    def __init__(self, prefixes: Mapping[str, str], *, terminal: bool) -> None:
        self._prefixes, self._terminal = prefixes, terminal
        self._drawn = ""
        self._reader = select.poll()
        self._reader.register(STDOUT, 0)  # asks for no more than whether it is gone

    def show(self, lines: "Iterable[tuple[str, Shown]]") -> None:
        """With the names of their deployments."""
        said, size = [], 0
        for name, line in lines:
            said += [self._prefixes[name], line.text]
            size += len(line.text)
            if size > BATCH:
                self._write("".join(said))
                said, size = [], 0
        self._write("".join(said))

    def draw(self, name: str, text: str) -> None:
        """In place of what is drawn, until a line comes; nothing elsewhere than on a terminal."""
        if self._terminal and text != self._drawn:
            width = _width() - len(name) - len(" | ") - 1
            self._write(f"{self._prefixes[name]}{text[: max(0, width)]}" if text else "")
            self._drawn = text

    def clear(self) -> None:
        if self._drawn:
            self._drawn = ""
            self._write("\r\x1b[K")

    def wait(self, seconds: float) -> None:
        if self._reader.poll(seconds * 1000):
            raise BrokenPipeError

    def _write(self, text: str) -> None:
        """Past the buffer of Python's own, which knows of text alone."""
        if text:
            self.clear()
        left = text.encode(errors="surrogateescape")
        try:
            while left:
                left = left[os.write(STDOUT, left) :]
        except BrokenPipeError:
            raise BrokenPipeError from None  # with its number typer would take it for its own, and end with 1


def _width() -> int:
    with suppress(OSError):
        return os.get_terminal_size(STDOUT).columns or 80
    return 80
