"""Logs of failures that a real engine was driven into (`tests/real/failures.py`), read again."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator import diagnosis_data
from orchestrator.diagnosis.errors_of import find
from orchestrator.diagnosis.lines import read
from orchestrator.diagnosis.match import diagnose
from orchestrator.diagnosis.model import Diagnosis, Ending
from orchestrator.diagnosis.pieces import Pieces
from orchestrator.diagnosis.stages import replay
from orchestrator.diagnosis.text import MOST, WIDTH, diagnosis_text
from orchestrator.stage_data import load_stages

RECORDED = Path(__file__).parent.parent / "recorded" / "failures"
CATALOGUE = diagnosis_data.load()
EXPECTED: dict[str, dict[str, Any]] = {
    f"{index.parent.name}/{name}": entry
    for index in sorted(RECORDED.glob("*/expected.toml"))
    for name, entry in tomllib.loads(index.read_text(encoding="utf-8")).items()
}
every_log = pytest.mark.parametrize("name", EXPECTED)


def text_of(name: str) -> str:
    return (RECORDED / f"{name}.log").read_text(encoding="utf-8")


def explained(name: str) -> tuple[Diagnosis, Ending]:
    entry, text = EXPECTED[name], text_of(name)
    stage = replay(load_stages(), Pieces().feed(text.encode() + b"\n")).stage
    ending = Ending(**entry["ending"])
    facts = {"profile_file": "profiles/a.yaml", "environment_file": "environments/a.yaml", **entry["facts"]}
    return diagnose(read(text), ending, stage, CATALOGUE, facts), ending


def test_as_many_were_recorded_as_a_release_wants() -> None:
    assert len({entry["signature"] for entry in EXPECTED.values()}) >= 18
    logs = {str(file.relative_to(RECORDED).with_suffix("")) for file in RECORDED.glob("*/*.log")}
    assert logs == set(EXPECTED)


@every_log
def test_it_is_explained_and_cured_as_it_was_when_it_happened(name: str) -> None:
    diagnosis, ending = explained(name)
    entry = EXPECTED[name]
    assert (diagnosis.signature and diagnosis.signature.id, diagnosis.stage) == (entry["signature"], entry["stage"])
    assert sorted(diagnosis.changes) == entry["fields"]
    lines = diagnosis_text(diagnosis, ending, "cannot start a: ", "logs/a.log")
    assert len(lines) <= MOST
    assert all(len(line) <= WIDTH for line in lines)


@every_log
def test_before_its_first_error_nothing_was_wrong_with_it(name: str) -> None:
    lines = read(text_of(name))
    seen = [find(lines, Ending()).first, *explained(name)[0].evidence]
    seen += [line for line in lines if line.level == "ERROR"]
    begins = min((line.number for line in seen if line), default=0)
    before = [line for line in lines if line.number < begins]
    for ending in (Ending(), Ending(code=1)):
        assert diagnose(before, ending, EXPECTED[name]["stage"], CATALOGUE).signature is None


@every_log
def test_nothing_of_the_machine_it_was_recorded_on_is_in_it(name: str) -> None:
    assert not re.search(r"/root|/home/|(?<!\w)/tmp/|pytest-|\.pyenv|pypi", text_of(name))
