"""Reads the catalogue of failures: the files that are shipped with orch, and those of a person's own. Run as a program
it writes docs/troubleshooting.md anew:

    python -m orchestrator.diagnosis_data [--check]
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from orchestrator.diagnosis.endings import CONDITIONS
from orchestrator.diagnosis.model import Cure, Signature, Stage
from orchestrator.diagnosis.page import page
from orchestrator.errors import InputError

SHIPPED = Path(__file__).resolve().parent / "diagnosis" / "data"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "troubleshooting.md"
_TEXTS = ("id", "title", "means", "example")
_PATTERNS = ("patterns", "hints", "last", "beside")
_LISTS = ("stages", "endings", "issues", "over")
_FLAGS = ("general", "final", "alone")
_CURE = ("set", "remove", "command", "advice")
_SCALAR = (bool, int, float, str)
_TRIED = ("ending", "stage", "facts", "expect")  # what the tests of an entry need, of no use here


def load(own: Path | None = None) -> tuple[Signature, ...]:
    """All that is known; of two with one id, the one in the folder ``own`` counts. Raises InputError."""
    found = {signature.id: signature for _, signatures in shipped() for signature in signatures}
    for file in sorted(own.glob("*.toml")) if own is not None else ():
        found |= {signature.id: signature for signature in _signatures(file, _document(file))}
    return tuple(found.values())


def own_folder(variables: Mapping[str, str]) -> Path:
    """Where a person keeps signatures of their own."""
    home = variables.get("XDG_CONFIG_HOME") or str(Path(variables.get("HOME") or "~").expanduser() / ".config")
    return Path(home) / "orch" / "signatures"


def shipped(folder: Path = SHIPPED) -> list[tuple[str, tuple[Signature, ...]]]:
    """By heading, in the order of the files' names."""
    documents = [(file, _document(file)) for file in sorted(folder.glob("failures-*.toml"))]
    return [(str(one["heading"]), tuple(_signatures(file, one))) for file, one in documents]


def _document(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = str(getattr(error, "strerror", None) or error).split("\n", maxsplit=1)[0]
        raise InputError(f"read {file}", why, "correct or remove it") from error


def _signatures(file: Path, document: Mapping[str, Any]) -> Iterator[Signature]:
    entries = document.get("signature")
    if not isinstance(entries, list):
        raise InputError(f"read {file}", "it has no [[signature]]", "write one, or remove the file")
    for entry in entries:
        try:
            yield _signature(entry)
        except (TypeError, ValueError, KeyError, re.error, OverflowError, RecursionError) as error:
            name = entry.get("id", "?") if isinstance(entry, dict) else "?"
            why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"read {file}", f"signature {name}: {why}", "correct it") from error


def _signature(entry: Mapping[str, Any]) -> Signature:
    if unknown := set(entry) - {*_TEXTS, *_PATTERNS, *_LISTS, *_FLAGS, *_CURE, *_TRIED}:
        raise ValueError(f"{min(unknown)} is no key of a signature")
    name, title, means = (_text(entry, key) for key in ("id", "title", "means"))
    if not isinstance(cure := entry.get("set", {}), dict) or not all(isinstance(new, _SCALAR) for new in cure.values()):
        raise TypeError("set is no table of plain values")
    lists = {key: _list(entry, key) for key in (*_PATTERNS, *_LISTS, "remove")}
    if unknown := set(lists["stages"]) - set(get_args(Stage)):
        raise ValueError(f"{min(unknown)} is no stage")
    for one in lists["endings"]:
        if not re.fullmatch(r"signal \d{1,3}|code \d{1,3}|fact \w+", one) and one not in CONDITIONS:
            raise ValueError(f"{one!r} is no ending")
    if not any(lists[key] for key in ("patterns", "hints", "last", "endings")):
        raise ValueError("nothing says when it fits: write patterns")
    patterns, hints, last, beside = (tuple(map(re.compile, lists[key])) for key in _PATTERNS)
    return Signature(
        name,
        title,
        means,
        patterns,
        hints,
        last,
        beside,
        stages=lists["stages"],  # type: ignore[arg-type]
        endings=lists["endings"],
        cure=Cure(cure, lists["remove"], str(entry.get("command", "")), str(entry.get("advice", ""))),
        issues=lists["issues"],
        general=bool(entry.get("general", False)),
        over=lists["over"],
        final=bool(entry.get("final", False)),
        example=str(entry.get("example", "")),
        alone=bool(entry.get("alone", False)),
    )


def _text(entry: Mapping[str, Any], key: str) -> str:
    if not isinstance(value := entry[key], str):
        raise TypeError(f"{key} is no text")
    return value


def _list(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"{key} is no list of texts")
    return tuple(value)


def main(words: Sequence[str]) -> int:
    """With --check, 1 if the page in this working tree is not what the catalogue says."""
    text = page(shipped())
    if list(words) != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
