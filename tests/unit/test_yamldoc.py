import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.yamldoc import MAX_NODES, parse


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, word) for word in ("yes", "no", "on", "off", "y", "N", "tRuE", "nULL")),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("2.", 2.0),
        ("1e3", 1000.0),
        *((word, word) for word in ("012", "1:30", "2024-01-02", "1_000", "0b11", "1.2.3", "8.9a", "0x", "::1")),
        ('"1"', "1"),
        ("'true'", "true"),
        ('"a\\tb"', "a\tb"),
        ('"\\ud83d\\ude00"', "\U0001f600"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(scalar: str, value: object) -> None:
    got = parse(f"key: {scalar}", "f").value["key"]
    assert got == value
    assert type(got) is type(value)


def test_positions_are_one_based_and_a_value_stands_where_its_key_does() -> None:
    document = parse("a: 1\nb:\n  - x\n  - {c: 2}\n", "f")
    assert document.positions == {
        (): (1, 1),
        ("a",): (1, 1),
        ("b",): (2, 1),
        ("b", 0): (3, 5),
        ("b", 1): (4, 5),
        ("b", 1, "c"): (4, 6),
    }


def test_unquoted_scalars_are_remembered_as_they_are_written() -> None:
    document = parse("a: no\nb: 'no'\nc: [1.10, \"1.10\"]\nd: &x {e: on}\nf: *x", "f")
    assert document.plain == {("a",): "no", ("c", 0): "1.10", ("d", "e"): "on", ("f", "e"): "on"}


def test_an_alias_is_a_value_of_its_own() -> None:
    value = parse("a: &x {b: [1]}\nc: *x", "f").value
    assert value == {"a": {"b": [1]}, "c": {"b": [1]}}
    value["a"]["b"].append(2)
    assert value["c"] == {"b": [1]}


def test_a_byte_order_mark_is_no_text() -> None:
    document = parse("\ufeffa: 1", "f")
    assert (document.value, document.positions["a",]) == ({"a": 1}, (1, 1))


def test_block_texts_and_long_keys() -> None:
    value = parse("a: |\n  one\n  two\nb: >-\n  three\n  four\n? c\n: 5\n", "f").value
    assert value == {"a": "one\ntwo\n", "b": "three four", "c": 5}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
TOO_LARGE = (
    "its aliases (*) make it too large: a file stands for at most 20,000 values, 1 MiB of text and 64 levels; "
    "write the values out"
)
TWICE = "the key a is already on line 1; remove one of the two"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml:1:1: cannot read YAML: the document is empty"),
        ("# only a comment\n", "f.yaml:1:1: cannot read YAML: the document is empty"),
        (
            "a: 1\n---\nb: 2\n",
            'f.yaml:2:1: cannot read YAML: it holds several documents; keep one, and remove the "---" between them',
        ),
        ("a: 1\nb:\n  a: 3\na: 2\n", f"f.yaml:4:1: cannot read YAML: {TWICE}"),
        ("a: 1\n'a': 2\n", f"f.yaml:2:1: cannot read YAML: {TWICE}"),
        (
            "a: !!python/object/apply:os.system ['true']\n",
            "f.yaml:1:4: cannot read YAML: a tag (!) is not allowed; write the value without it, or quote the text",
        ),
        (
            "a: !!str 1",
            "f.yaml:1:4: cannot read YAML: a tag (!) is not allowed; write the value without it, or quote the text",
        ),
        (
            "a: ! 1",
            "f.yaml:1:4: cannot read YAML: a tag (!) is not allowed; write the value without it, or quote the text",
        ),
        (
            "a: &x {b: 1}\nc:\n  <<: *x\n",
            "f.yaml:3:3: cannot read YAML: merge keys (<<) are not part of YAML 1.2; write the keys out",
        ),
        ("8000: a\n", "f.yaml:1:1: cannot read YAML: the key '8000' is not text; quote it"),
        ("null: a\n", "f.yaml:1:1: cannot read YAML: the key 'null' is not text; quote it"),
        ("~: a", "f.yaml:1:1: cannot read YAML: the key '~' is not text; quote it"),
        ("? [a]\n: b\n", "f.yaml:1:3: cannot read YAML: a key must be text; quote it"),
        ("a: &x b\n*x : c\n", "f.yaml:2:1: cannot read YAML: a key must be text; quote it"),
        ("a: .inf", "f.yaml:1:4: cannot read YAML: .inf is not a finite number; quote it if it is text"),
        ("a: .nan", "f.yaml:1:4: cannot read YAML: .nan is not a finite number; quote it if it is text"),
        ("a: 1e999", "f.yaml:1:4: cannot read YAML: this number is too large; quote it if it is text"),
        (f"a: 1{'0' * 18}0", "f.yaml:1:4: cannot read YAML: this number is too large; quote it if it is text"),
        (f"a: {'9' * 5000}", "f.yaml:1:4: cannot read YAML: this number is too large; quote it if it is text"),
        ("a: *x", "f.yaml:1:4: cannot read YAML: this alias (*) has no anchor (&) before it; quote it if it is text"),
        ("a: &x [*x]", "f.yaml:1:8: cannot read YAML: this alias (*) contains itself"),
        (BOMB, f"f.yaml:5:1: cannot read YAML: {TOO_LARGE}"),
        ("a\nb\x00c", "f.yaml:2:2: cannot read YAML: the control character U+0000 stands in it; is it a text file?"),
        ("a: \x1b[31m", "f.yaml:1:4: cannot read YAML: the control character U+001B stands in it; is it a text file?"),
        ('a: "\\0"', "f.yaml:1:4: cannot read YAML: a NUL character stands in the text"),
        ('a: "\\ud800"', "f.yaml:1:4: cannot read YAML: half of a surrogate pair stands in the text"),
        ('a: "\\UFFFFFFFF"', "f.yaml: cannot read YAML: a broken escape or directive stands in it; remove it"),
        ("[" * 100_000, "f.yaml:1:65: cannot read YAML: it is nested more than 64 deep"),
        ("- " * 100_000, "f.yaml:1:129: cannot read YAML: it is nested more than 64 deep"),
        ("- x\n" * 30_000, "f.yaml:20000:3: cannot read YAML: it holds more than 20,000 values"),
        # what PyYAML notices, in plain words
        (
            "a: b: c",
            'f.yaml:1:5: cannot read YAML: a ":" stands where no key can be; indent the line, or quote the text',
        ),
        (
            "a:\n  b: 1\n c: 2",
            "f.yaml:3:2: cannot read YAML: this line does not line up with the lines above it; indent it like them",
        ),
        ("a: 1\nname\nb: 2", 'f.yaml:2:1: cannot read YAML: this line has no ":" after its key; write KEY: VALUE'),
        ("a:\n\tb: 1", "f.yaml:2:1: cannot read YAML: a tab stands where only spaces may; indent with spaces"),
        ("a: @b", "f.yaml:1:4: cannot read YAML: a text cannot start with this character; quote the text"),
        ("a: 1\nb: 'c\nd: 2", "f.yaml:2:4: cannot read YAML: the quote that opens here is never closed; close it"),
        ("a: [1, 2\nb: 3", 'f.yaml:2:2: cannot read YAML: a "," or a "]" is missing in the list; add it'),
        ("a: {b: 1\nc: 2", 'f.yaml:2:2: cannot read YAML: a "," or a "}" is missing in the section; add it'),
        (
            "a: - b",
            'f.yaml:1:4: cannot read YAML: a "-" cannot stand here; put the item on its own line, or quote the text',
        ),
        ("a: *", 'f.yaml:1:5: cannot read YAML: a text cannot start with "&" or "*"; quote the text'),
        ('a: "\\q"', "f.yaml:1:6: cannot read YAML: an unknown escape stands in the double quotes; use single quotes"),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_refusals(text: str, message: str) -> None:
    assert refusal(text) == message


def test_a_long_text_cannot_be_multiplied_by_aliases() -> None:
    assert TOO_LARGE in refusal(f"a: &a {'x' * 500_000}\nb: [*a, *a, *a]")


def test_depth_counts_what_aliases_stand_for() -> None:
    deep = "[" * 40 + "]" * 40
    assert TOO_LARGE in refusal(f"a: &a {deep}\nb: {'[' * 40}*a{']' * 40}")


def test_nearly_the_limit_is_fine() -> None:
    assert len(parse("- x\n" * (MAX_NODES - 1), "f").value) == MAX_NODES - 1


# What YAML cannot hold unescaped, or takes for a line break, is not part of the promise.
text = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff\ufffe\uffff"))
keys = text.map(lambda key: key[:80])  # YAML takes no plain key beyond 1,024 characters, escapes counted
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


@given(values, st.booleans(), st.sampled_from([None, 2]))
def test_json_is_yaml(value: Any, ascii_only: bool, indent: int | None) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only, indent=indent), "f").value == value


def check_only_input_errors(text: str) -> None:
    try:
        document = parse(text, "f")
    except InputError as error:
        assert error.at.split(":")[0] == "f"
        assert "\n" not in str(error)
    else:
        json.dumps(document.value, allow_nan=False).encode()
        assert () in document.positions


@given(st.text())
def test_any_text_is_a_document_or_an_input_error(text: str) -> None:
    check_only_input_errors(text)


@given(st.text(st.sampled_from("ab01.:-[]{}&*!|>'\"%@?,#~<\\u \t\n\ufeff")))
def test_anything_that_looks_like_yaml_is_a_document_or_an_input_error(text: str) -> None:
    check_only_input_errors(text)
