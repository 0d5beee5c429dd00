"""Every file of tests/corpus is what its folder says. A broken one has a .txt beside it with exactly what is to be told
of it; UPDATE_GOLDEN=1 writes these anew, to be read as a person would."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.model import RuntimeSpec, RuntimeState
from orchestrator.rehearsal import Rehearsal
from orchestrator.rules import RULES
from orchestrator.validation import Question, validate
from orchestrator.verdicts import Finding, findings

CORPUS = Path(__file__).parents[1] / "corpus"
BAD, GOOD = (sorted((CORPUS / folder).rglob("*.yaml")) for folder in ("bad", "good"))
VARIABLES = {"HOME": "/home/me", "EMPTY": ""}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CORPUS)


class Unbuilt:
    """No runtime is here: of each environment is known what its file says."""

    def state(self, _: RuntimeSpec) -> RuntimeState:
        return RuntimeState("buildable")


def found(file: Path) -> Iterator[Finding]:
    """But for what could not be checked for lack of a model."""
    judge = Rehearsal(cast(Any, Unbuilt()), CORPUS, VARIABLES | {"HF_HOME": "/nowhere"}).findings
    for verdict in validate([str(file)], Question(CORPUS, VARIABLES, (), judge)):
        yield from (one for one in findings(verdict) if one.severity != "note")


def line(one: Finding, file: Path) -> str:
    """``5:3 error unknown-key: cannot use ...``; only the place is told of the file, for it is this one."""
    name = str(file.relative_to(CORPUS))
    assert one.file == name
    place = f"{one.line}:{one.column}" if one.line else "-"
    return f"{place} {one.severity} {one.code}: {re.sub(rf'^{re.escape(name)}(:[0-9]+)*: ', '', one.text)}"


@pytest.mark.parametrize("file", BAD, ids=lambda file: str(file.relative_to(CORPUS)))
def test_a_broken_file_is_told_exactly(file: Path) -> None:
    told = [line(one, file) for one in found(file)]
    golden = file.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text("\n".join([*told, ""]), encoding="utf-8")
    assert told
    assert told == golden.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("file", GOOD, ids=lambda file: str(file.relative_to(CORPUS)))
def test_a_good_file_is_told_nothing_of(file: Path) -> None:
    assert list(found(file)) == []


def test_the_corpus_is_large_and_has_no_leftovers() -> None:
    assert len(BAD) >= 60
    assert len(GOOD) >= 60
    assert {file.with_suffix(".txt") for file in BAD} == set((CORPUS / "bad").rglob("*.txt"))


def test_every_code_has_its_sentence_and_most_are_in_the_corpus() -> None:
    codes = {text.split()[2].rstrip(":") for file in BAD for text in file.with_suffix(".txt").read_text().splitlines()}
    assert codes - RULES.keys() == set()
    needs_more_than_a_file = {
        *("unknown-path", "bad-override", "variable-unusable", "same-name", "port-clash", "gpu-clash"),
        *("not-checked", "lock-damaged", "lock-newer", "not-locked", "no-hash"),
    }
    given_up_by_no_version_yet = {"deprecated-flag"}
    assert RULES.keys() - codes - needs_more_than_a_file - given_up_by_no_version_yet == set()
