"""Whatever bytes a file holds: what is wrong with it is told at its place, in one line each, and no more than that."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.rules import RULES
from orchestrator.validation import Question, validate
from orchestrator.verdicts import findings

TESTS = Path(__file__).parents[1]
CORPUS = [file.read_bytes() for file in sorted((TESTS / "corpus").rglob("*.yaml"))]
WORDS = [
    *(b"name: ", b"model: ", b"serve: ", b"args: ", b"gpus: ", b"env: ", b"runtime: ", b"secrets: ", b"repo: "),
    *(b"${HOME}", b"${", b"$$", b"~/x", b"20m", b"auto", b"null", b"no", b"-1", b"1e400", b"0x", b"\xff", b"\0", b"\t"),
    *(
        b"\n",
        b"\n  ",
        b"\n- ",
        b": ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"&a ",
        b"*a",
        b"!!int ",
        b"<<: ",
        b"'",
        b'"',
        b"#",
        b"|\n",
    ),
    *("\u2028".encode(), "\ufeff".encode(), "\u00e9".encode(), b"\r\n", b"---\n", b"...\n", b"%TAG ! x\n"),
]
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("profiles", "environments"):
        (tmp_path / folder).mkdir()
    for name in ("cpu", "ada"):
        (tmp_path / f"environments/{name}.yaml").write_bytes((TESTS / f"corpus/environments/{name}.yaml").read_bytes())
    return tmp_path


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A file of the corpus, cut and with other things in a few places."""
    data = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 4))):
        place, dropped = draw(st.integers(0, len(data))), draw(st.sampled_from((0, 0, 1, 5, 100)))
        data = data[:place] + draw(st.sampled_from(WORDS)) + data[place + dropped :]
    return data


def look(project: Path, data: bytes) -> None:
    for file in ("profiles/a.yaml", "environments/a.yaml"):
        (project / file).write_bytes(data)
        for verdict in validate([file], Question(project, {"HOME": "/home/me"})):
            for one in findings(verdict):
                assert one.code in RULES
                assert one.text.startswith(f"{file}:")
                assert one.text.isprintable()
                if one.line is not None and one.column is not None:
                    lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\x80\xa8") + data.count(b"\x85")
                    assert 1 <= one.line <= lines + 2
                    assert 1 <= one.column <= len(data) + 1


@FUZZ
@given(data=st.binary(max_size=300))
def test_any_bytes(project: Path, data: bytes) -> None:
    look(project, data)


@FUZZ
@given(data=st.lists(st.sampled_from(WORDS), max_size=25).map(b"".join))
def test_any_words(project: Path, data: bytes) -> None:
    look(project, data)


@FUZZ
@given(data=mutated())
def test_any_change_of_a_file(project: Path, data: bytes) -> None:
    look(project, data)
