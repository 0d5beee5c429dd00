"""``--set KEY=VALUE``: one field of the profile, for this one call.

KEY is the dotted path of a field, VALUE is YAML (``--set serve.names=[a,b]``); ``null`` removes the field.
"""

import copy
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import InputError, raise_all
from orchestrator.model import Json, Path, Source
from orchestrator.yamldoc import Document, parse

_ARGS = ("serve", "args")


@dataclass(frozen=True, slots=True)
class SetSource(Source):
    """A profile's positions, where a field given by ``--set`` stands on the command line instead of in the file."""

    sets: Mapping[Path, str] = field(default_factory=dict)

    def at(self, *path: str | int) -> str:
        for end in range(len(path), 0, -1):
            if path[:end] in self.sets:
                return self.sets[path[:end]]
        return Source.at(self, *path)


def apply_overrides(document: Document, overrides: Sequence[str], file: str) -> tuple[Document, Source]:
    """The document with ``overrides`` laid over it, later ones winning, and where its fields now stand."""
    if not overrides:
        return document, Source(file, document.positions)
    value, plain = copy.deepcopy(document.value), dict(document.plain)
    sets: dict[Path, str] = {}
    errors: list[InputError] = []
    for text in overrides:
        label = f"--set {text if text.isprintable() else ascii(text)}"
        try:
            path, given = _split(text, label)
            _place(value, path, given.value, label)
        except InputError as error:
            errors.append(error)
            continue
        sets[path] = label
        plain = {place: word for place, word in plain.items() if place[: len(path)] != path}
        plain |= {(*path, *place): word for place, word in given.plain.items()}
    raise_all(errors)
    return Document(value, document.positions, plain), SetSource(file, document.positions, sets)


def _split(text: str, label: str) -> tuple[Path, Document]:
    key, equals, raw = text.partition("=")
    parts = key.strip().split(".")
    path: Path = (*_ARGS, ".".join(parts[2:])) if tuple(parts[:2]) == _ARGS and parts[2:] else tuple(parts)
    if not equals or not raw.strip() or "" in path:
        raise InputError("use it", "it is not KEY=VALUE", "write for example --set serve.port=8001", at=label)
    try:
        given = parse(raw, label)
    except InputError as error:  # its line and column are those of VALUE, which mean nothing to a reader
        raise InputError("read its VALUE as YAML", error.why, error.do, at=label) from error
    if path == ("model", "path") and isinstance(given.value, str) and given.value[:1] not in ("~", "$"):
        # said on the command line, and so relative to where that is typed
        given = Document(os.path.abspath(given.value), given.positions, given.plain)  # noqa: PTH100
    return path, given


def _place(value: Json, path: Path, new: Json, label: str) -> None:
    for i, key in enumerate(path[:-1]):
        if not isinstance(value, dict):
            break
        if value.get(key) is None:
            value[key] = {}
        value = value[key]
        if isinstance(value, list):
            do = f"set it whole: --set '{'.'.join(map(str, path[: i + 1]))}=[...]'"
            raise InputError("use it", f"{key} is a list", do, at=label)
    if not isinstance(value, dict):
        raise InputError("use it", f"there is no section {'.'.join(map(str, path[:-1])) or 'to set it in'}", at=label)
    last = path[-1]
    if path[:-1] == _ARGS:  # the file may spell the same flag the other way
        for spelling in [key for key in value if key.replace("-", "_") == str(last).replace("-", "_")]:
            del value[spelling]
    value.pop(last, None)
    if new is not None:
        value[last] = new
