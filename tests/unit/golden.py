"""Texts kept in files, to be read as a person would; UPDATE_GOLDEN=1 writes them anew."""

import os
from pathlib import Path

GOLDEN = Path(__file__).parent.parent / "golden"


def check(kind: str, name: str, text: str) -> None:
    file = GOLDEN / kind / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == file.read_text(encoding="utf-8")


def unused(kind: str, names: set[str]) -> set[str]:
    """Files that no case is compared with."""
    return {file.stem for file in (GOLDEN / kind).glob("*.txt")} - names
