"""The two shortcuts of the loader for good files: they are taken for most files, and never answer anything but what the
long way answers."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orchestrator.accepts import accepts
from orchestrator.schema_errors import schema_text
from orchestrator.yamldoc import careful, parse, quick

PROJECT = Path(__file__).parents[2]
SHIPPED = [file for folder in ("profiles", "environments") for file in sorted((PROJECT / folder).glob("*.yaml"))]
GOOD = sorted((PROJECT / "tests/corpus/good").rglob("*.yaml"))
TEXTS = [file.read_text("utf-8") for file in SHIPPED + GOOD]
PIECES = [
    *("a: 1", "key", "a:\n", "- ", "\n- ", "? ", "? a\n: b\n", ": ", ":", ", ", "[", "]", "{", "}", '"a"', "'b'", "\\"),
    *("\n", "\n  ", "\n    ", " ", "\t", "\r", "\r\n", "\x85", "\u2028", "\ufeff", "\u00e9", "\U0001f600", "\0"),
    *("#c", " # why?\n", "?", "|", ">", "|2-", "|\n", ">-\n", "&x ", "*x", "!t ", "<<: ", "@", "`", "%", "%YAML 1.2\n"),
    *(
        "---",
        "---\n",
        "\n---\n",
        "...\n",
        "~",
        "null",
        "no",
        ".5",
        ".inf",
        "0x1F",
        "1e999",
        "012",
        '"\\n"',
        '"\\u00e9"',
    ),
]

needs_libyaml = pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
pieces = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A part of a good file with something else in a few places."""
    text = draw(st.sampled_from(TEXTS))
    start = draw(st.integers(0, len(text)))
    text = text[start : start + 300]
    for _ in range(draw(st.integers(1, 3))):
        place, dropped = draw(st.integers(0, len(text))), draw(st.sampled_from((0, 0, 1, 3)))
        text = text[:place] + draw(st.sampled_from(PIECES)) + text[place + dropped :]
    return text


def both_ways(text: str) -> None:
    found = quick(text)
    if found is None:
        return
    slow = careful(text, "f")
    assert (found.value, found.positions, found.plain) == (slow.value, slow.positions, slow.plain)
    assert repr(found.value) == repr(slow.value)  # 1 is not 1.0 and not true


@settings(max_examples=400, deadline=None)
@given(pieces)
def test_pieces_of_yaml_are_read_alike(text: str) -> None:
    both_ways(text)


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_changed_files_are_read_alike(text: str) -> None:
    both_ways(text)


@pytest.mark.parametrize(
    "text",
    [
        "a\t",
        "a: b\t# c",
        "a: {b: c?d}",
        "a: ['x # y', c?d]",
        'a: ["x\n # y", c?d]',
        '# "\na: [b?c]',
        "a: |#c\n",
        "a: |2-#c\n",
        "a: 1\n---\nb: 2",
        "--- ",
        "---\n...\n",
        "%YAML 1.2\n---\na: 1",
        "a: \u2028b",
        "a: 1\r\nb: 2",
        "a: &x 1\nb: *x",
        "a: !!str 1",
        "a: 1\na: 2",
        "<<: {a: 1}",
        "1: a",
        "[a]",
        "a: .nan",
        "",
        'a: "\\ud83d\\ude00"',
        "a: " + "[" * 70 + "]" * 70,
        "- x\n" * 20_001,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_the_two_may_read_otherwise_goes_the_long_way(text: str) -> None:
    assert quick(text) is None


@needs_libyaml
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_shipped_files_go_the_short_way(file: Path) -> None:
    assert quick(file.read_text("utf-8")) is not None


@needs_libyaml
def test_so_do_a_first_mark_and_questions_in_comments() -> None:
    text = "# why? so\n\n---\n# a comment\na: b # why? so\n'c': \"d\"\n"
    document = quick(text)
    assert document is not None
    assert document.value == {"a": "b", "c": "d"}
    both_ways(text)


# ------------------------------------------------------------------------------------------------------------- schemas

SCHEMAS = {kind: json.loads(schema_text(kind)) for kind in ("profile", "environment")}  # type: ignore[arg-type]
DOCUMENTS: dict[str, list[Any]] = {"profile": [], "environment": []}
for file in SHIPPED + GOOD:
    kind_of_file = "environment" if file.parent.name == "environments" else "profile"
    DOCUMENTS[kind_of_file].append(parse(file.read_text("utf-8"), "").value)
KEYS = sorted(
    {key for schema in SCHEMAS.values() for key in re.findall(r'"([a-z_]+)": \{"?', json.dumps(schema))} | {"HF_TOKEN"}
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 70000)
    | st.sampled_from([0.0, 0.5, 1.0, 1.5, 8000.0, -1.0])
    | st.sampled_from(["", "a", "auto", "A", "a\n", "0", "GPU-1", "xet", "always", "8.9", "--x", "max-num-seqs", "20m"])
)
sections = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def nearly(draw: st.DrawFn, kind: str) -> Any:
    """A good document with something else in one place, or the same with nothing changed."""
    value = copy.deepcopy(draw(st.sampled_from(DOCUMENTS[kind])))
    here = value
    while draw(st.booleans()):
        inside = [one for one in (here.values() if isinstance(here, dict) else here) if isinstance(one, dict | list)]
        if not inside:
            break
        here = draw(st.sampled_from(inside))
    if draw(st.booleans()):
        if isinstance(here, dict):
            here[draw(st.sampled_from([*here, *KEYS]))] = draw(sections)
        else:
            here.insert(0, draw(sections))
    return value


def strict_errors(kind: str, value: Any) -> list[Any]:
    return list(Draft202012Validator(SCHEMAS[kind]).iter_errors(value))


@pytest.mark.parametrize("kind", ["profile", "environment"])
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_what_is_accepted_quickly_is_valid(kind: str, data: st.DataObject) -> None:
    value = data.draw(nearly(kind) | sections)
    if accepts(SCHEMAS[kind])(value):
        assert strict_errors(kind, value) == []


@pytest.mark.parametrize("kind", ["profile", "environment"])
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_what_is_valid_is_accepted_quickly(kind: str, data: st.DataObject) -> None:
    """But for a name that ends in a line break, which Python's "$" lets pass."""
    value = data.draw(nearly(kind) | sections)
    if "\\n" not in json.dumps(value) and not strict_errors(kind, value):
        assert accepts(SCHEMAS[kind])(value)


@pytest.mark.parametrize(
    "schema",
    [{"format": "uri"}, {"enum": [1, 2]}, {"const": 1.0}, {"oneOf": [{"type": "string"}]}, {"$ref": "#/$defs/none"}],
    ids=str,
)
def test_a_schema_beyond_its_keywords_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises((LookupError, ValueError)):
        accepts({"$defs": {}, **schema})
