"""A log as it comes, in pieces: its lines, and each state of a line that is drawn over."""

import re

LONGEST = 8192  # bytes of a piece that are kept; nothing that is looked for comes later in a line
_ENDS = re.compile(rb"[\r\n]")


class Pieces:
    """Fed with bytes as they were read, wherever they were cut. Blank pieces are left out, and so is what has no end
    yet: a line that is being written, or the last state of a bar."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """In order, without their ends; bytes that are not UTF-8 are replaced."""
        *whole, last = _ENDS.split(chunk)
        if not whole:
            self._rest = (self._rest + last)[:LONGEST]
            return []
        whole[0] = self._rest + whole[0]
        self._rest = last[:LONGEST]
        texts = (one[:LONGEST].decode(errors="replace") for one in whole)
        return [text for text in texts if text and not text.isspace()]
