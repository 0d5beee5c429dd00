"""What a pattern must hold never hides what it finds."""

import re
from pathlib import Path

import pytest

from orchestrator import diagnosis_data
from orchestrator.diagnosis.literals import Quick, holds_one, literals
from orchestrator.stage_data import load_stages

RECORDED = Path(__file__).parent.parent / "recorded"
STAGES = load_stages()


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("CUDA out of memory", ("CUDA out of memory",)),
        (r"^(?:\w+\.)*\w*Error: CUDA (?:error: )?out of memory", ("out of memory",)),
        (r"colou?r", ("colo",)),
        (r"ab+cde*", ("ab",)),
        (r"a{0,3}bc{2}d", ("bc",)),
        (r"x(?:one|two three)+y", ("one", "two three")),
        (r"x(?:one|two three)?yz", ("yz",)),
        (r"(?P<a>one|two)", ("one", "two")),
        (r"one|\d+", ()),
        (r"one|two", ("one", "two")),
        (r"(?!never)(?<!never)now(?=then)", ("then",)),
        (r"\[Errno 98\] [Aa]ddress", ("[Errno 98] ",)),
        (r"[]x|)]ab|[^]()|]cd", ("ab", "cd")),
        (r"a{x}b", ("a{x}b",)),
        (r"(?i)abc", ()),
        (r"\x41bc", ()),
        (r"(a)\1bcd", ()),
        (r"(?P<a>x)(?P=a)bcd", ()),
        (r"(a)?(?(1)bcd|ef)", ()),
        (r"\S", ()),
        ("", ()),
    ],
)
def test_what_must_stand_there_is_found(pattern: str, wanted: tuple[str, ...]) -> None:
    assert literals(re.compile(pattern)) == wanted


def patterns() -> list[re.Pattern[str]]:
    found = [one for _, one in STAGES.facts] + [one.pattern for one in (*STAGES.marks, *STAGES.bars, *STAGES.measures)]
    for one in diagnosis_data.load():
        found += (*one.patterns, *one.hints, *one.last, *one.beside)
    return found


def test_nothing_that_is_found_is_hidden() -> None:
    texts = [text for one in diagnosis_data.load() for text in one.example.splitlines()]
    texts += [text for file in RECORDED.rglob("*.log") for text in file.read_text(errors="replace").splitlines()]
    found = 0
    for pattern in dict.fromkeys(patterns()):
        told = [text for text in dict.fromkeys(texts) if pattern.search(text)]
        found += len(told)
        assert all(holds_one(text, literals(pattern)) for text in told), pattern.pattern
    assert found > 100


def test_most_patterns_must_hold_something() -> None:
    every = patterns()
    assert sum(not literals(one) for one in every) < len(every) / 20


def test_it_finds_what_the_pattern_finds() -> None:
    quick = Quick(r"no (?P<what>room|time)")
    assert [found and found["what"] for found in map(quick.search, ["no room", "there is no time", "no"])] == [
        "room",
        "time",
        None,
    ]
    assert quick.match("there is no time") is None
