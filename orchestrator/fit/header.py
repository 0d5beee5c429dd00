"""What comes of reading the beginning of a weight file: its header, a wish for more bytes, or a refusal."""

import json
from dataclasses import dataclass

from orchestrator.errors import InputError
from orchestrator.fit.model import Header


class BadHeader(InputError):
    """The file is no weight file of its kind, or damaged so that its tensors cannot be told. The only error that the
    readers of headers raise."""


@dataclass(frozen=True, slots=True)
class More:
    """So many bytes from the file's start are needed, at least, to go on."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Read:
    """``length`` bytes of the file are before the tensors' data, and ``data`` bytes of data are told of, padding
    included. ``notes`` say what could not be found out, or does not add up, a sentence each."""

    header: Header
    length: int
    data: int
    notes: tuple[str, ...] = ()


def refuse_other(data: bytes, file: str) -> None:
    """What is often found under a weight file's name. Raises BadHeader."""
    start = data[:64].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise BadHeader(f"read {file}", "it is a pointer of git-lfs, not the file", "run `git lfs pull` in its folder")
    if start.startswith((b"<!doctype", b"<html")):
        raise BadHeader(f"read {file}", "it is a web page, not weights", "download it again, by `orch pull`")


def plain(name: object) -> str:
    """Any text of a file as a short piece of a message, without what a terminal would obey."""
    text = json.dumps(str(name))[1:-1]
    return text if len(text) <= 80 else f"{text[:77]}..."


def whole(text: str) -> str:
    """Text that can be encoded: JSON may hold halves of characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
