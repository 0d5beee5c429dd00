import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError, PlanError
from orchestrator.model import Notice
from orchestrator.rules import RULES
from orchestrator.verdicts import (
    Verdict,
    as_github,
    as_json,
    as_junit,
    as_sarif,
    complaints,
    findings,
    place,
    praise,
    strict,
    valid,
)

PORT = InputError("use serve.port", "0 is not a port", "write 8000", "profiles/a.yaml:5:3", "wrong-value")
OLD = Notice("environments/e.yaml:4:3", "env.X is an old name", "write Y", "old-name")
BAD = Verdict("profiles/a.yaml", (PORT,))
WARNED = Verdict("environments/e.yaml", warnings=(OLD,))
GOOD = Verdict("profiles/b.yaml")
NOTED = [
    Verdict(f"profiles/{name}.yaml", notes=(Notice(f"profiles/{name}.yaml:2:1", "the heads were not checked", ""),))
    for name in "cd"
]
NOWHERE = Verdict("", (InputError('find "x"', "there is no such file", code="unknown-path"),))


def same(file: str) -> str:
    return file


# ---------------------------------------------------------------------------------------------------------- a person


def test_errors_come_first_then_warnings_then_notes() -> None:
    assert complaints([WARNED, *NOTED, BAD, NOWHERE]) == [
        "profiles/a.yaml:5:3: cannot use serve.port: 0 is not a port; write 8000",
        'cannot find "x": there is no such file',
        "environments/e.yaml:4:3: warning: env.X is an old name; write Y",
        "note: the heads were not checked (2 files)",
    ]
    assert complaints(NOTED[:1]) == ["profiles/c.yaml:2:1: note: the heads were not checked"]


def test_what_belongs_below_an_error_stays_below_it() -> None:
    crowd = PlanError("start a", "it does not fit", at="a.yaml:1:1", code="does-not-fit")
    crowd.tail = ("GPU  free", "0    1 GiB")
    assert complaints([Verdict("a.yaml", (crowd,))])[1:] == ["  | GPU  free", "  | 0    1 GiB"]


def test_the_files_that_are_all_good_are_counted() -> None:
    assert praise([GOOD]) == "1 file is valid: profiles/b.yaml"
    assert praise([GOOD, WARNED]) == "2 files are valid: profiles/b.yaml, environments/e.yaml"


def test_strict_makes_errors_of_warnings_and_of_nothing_else() -> None:
    assert valid([WARNED, GOOD, *NOTED])
    assert valid(strict([GOOD, *NOTED]))
    (told,) = strict([WARNED])
    assert not valid([told])
    assert told.warnings == ()
    (found,) = findings(told)
    assert (found.severity, found.code) == ("error", "old-name")
    assert found.text == "environments/e.yaml:4:3: cannot pass with --strict: env.X is an old name; write Y"


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("a.yaml:5:3", ("a.yaml", 5, 3)),
        ("a.yaml", ("a.yaml", None, None)),
        ("odd:1:name.yaml:5:3", ("odd:1:name.yaml", 5, 3)),
        ("a.yaml:5", ("a.yaml:5", None, None)),
        ("--set serve.names=[a:1:2]", ("", None, None)),
        ("--set x=a:1:2", ("", None, None)),
        ("", ("", None, None)),
    ],
)
def test_a_place_is_a_file_with_or_without_a_line(at: str, expected: object) -> None:
    assert place(at) == expected


# -------------------------------------------------------------------------------------------------------------- json


def test_json_has_what_it_had_and_where_and_which() -> None:
    found = as_json([BAD, WARNED, NOTED[0], NOWHERE])
    assert (found["version"], found["valid"]) == (1, False)
    assert found["files"] == ["profiles/a.yaml", "environments/e.yaml", "profiles/c.yaml"]
    assert found["errors"][0] == {
        "at": "profiles/a.yaml:5:3",
        "what": "use serve.port",
        "why": "0 is not a port",
        "do": "write 8000",
        "code": "wrong-value",
        "file": "profiles/a.yaml",
        "line": 5,
        "column": 3,
        "severity": "error",
    }
    assert [found["errors"][1][key] for key in ("at", "file", "line", "code")] == ["", None, None, "unknown-path"]
    assert found["warnings"] == [
        {
            "at": "environments/e.yaml:4:3",
            "what": "env.X is an old name",
            "do": "write Y",
            "code": "old-name",
            "file": "environments/e.yaml",
            "line": 4,
            "column": 3,
            "severity": "warning",
        }
    ]
    assert [(one["severity"], one["code"]) for one in found["notes"]] == [("note", "not-checked")]


# ------------------------------------------------------------------------------------------------------------ github


def test_github_gets_a_command_for_each() -> None:
    assert as_github([BAD, WARNED, GOOD, *NOTED, NOWHERE], lambda file: f"deploy/{file}") == [
        "::error file=deploy/profiles/a.yaml,line=5,col=3,title=wrong-value::"
        "profiles/a.yaml:5:3: cannot use serve.port: 0 is not a port; write 8000",
        "::warning file=deploy/environments/e.yaml,line=4,col=3,title=old-name::"
        "environments/e.yaml:4:3: warning: env.X is an old name; write Y",
        '::error title=unknown-path::cannot find "x": there is no such file',
        "::notice title=not-checked::note: the heads were not checked (2 files)",
    ]


def test_github_cannot_be_told_another_command_by_a_file() -> None:
    error = InputError("use x", "100% of\r\n::set-output name=a::b", at="a,line=9::b.yaml:1:2", code="unknown-key")
    (command,) = as_github([Verdict("a,line=9::b.yaml", (error,))], same)
    assert command == (
        "::error file=a%2Cline=9%3A%3Ab.yaml,line=1,col=2,title=unknown-key::"
        "a,line=9::b.yaml:1:2: cannot use x: 100%25 of%0D%0A::set-output name=a::b"
    )


@given(st.text(), st.text())
def test_a_github_command_is_one_line_whatever_is_in_it(file: str, why: str) -> None:
    (command,) = as_github([Verdict(file, (InputError("use x", why, at=file),))], same)
    assert len(command.split("\n")) == len(command.split("\r")) == 1


# ------------------------------------------------------------------------------------------------------------- sarif


def sarif(*verdicts: Verdict) -> Any:
    return json.loads(json.dumps(as_sarif(verdicts, same, "1.2.3")))["runs"][0]


def test_sarif_names_rule_place_and_message() -> None:
    run = sarif(BAD, WARNED, NOTED[0], GOOD, NOWHERE)
    first = run["results"][0]
    rule = run["tool"]["driver"]["rules"][first["ruleIndex"]]
    assert rule["id"] == first["ruleId"] == "wrong-value"
    assert rule["shortDescription"]["text"] == RULES["wrong-value"]
    assert first["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "profiles/a.yaml", "uriBaseId": "%SRCROOT%"},
                "region": {"startLine": 5, "startColumn": 3},
            }
        }
    ]
    assert [one["level"] for one in run["results"]] == ["error", "warning", "note", "error"]
    assert "locations" not in run["results"][3]


def test_sarif_keeps_to_its_schema() -> None:
    """The parts of sarif-schema-2.1.0.json that these documents touch."""
    document = as_sarif([BAD, WARNED, NOTED[0], NOWHERE], same, "1.2.3")
    assert document.keys() == {"$schema", "version", "runs"}
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    assert run.keys() <= {"tool", "columnKind", "results"}
    assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    driver = run["tool"]["driver"]
    assert driver.keys() <= {"name", "version", "rules"}
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    for result in run["results"]:
        assert result.keys() <= {"ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"}
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
        for location in result.get("locations", ()):
            region = location["physicalLocation"].get("region", {"startLine": 1, "startColumn": 1})
            assert min(region.values()) >= 1


def fingerprints(*verdicts: Verdict) -> list[str]:
    return [one["partialFingerprints"]["orch/v1"] for one in sarif(*verdicts)["results"]]


def test_a_sarif_fingerprint_outlives_other_lines_and_values_and_tells_two_apart() -> None:
    moved = InputError("use serve.port", "99999 is not a port", "write 8000", "profiles/a.yaml:17:3", "wrong-value")
    assert fingerprints(BAD) == fingerprints(Verdict("profiles/a.yaml", (moved,)))
    assert len(set(fingerprints(Verdict("profiles/a.yaml", (PORT, moved))))) == 2
    assert fingerprints(BAD) != fingerprints(Verdict("profiles/b.yaml", (InputError("use serve.port", at="b"),)))


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("a b/ä#?.yaml", {"uri": "a%20b/%C3%A4%23%3F.yaml", "uriBaseId": "%SRCROOT%"}),
        ("/elsewhere/a.yaml", {"uri": "file:///elsewhere/a.yaml"}),
        ("\udcff.yaml", {"uri": "%FF.yaml", "uriBaseId": "%SRCROOT%"}),
    ],
)
def test_a_sarif_uri_is_relative_and_encoded(file: str, uri: dict[str, str]) -> None:
    run = sarif(Verdict(file, (InputError("use x", at=f"{file}:1:1", code="unknown-key"),)))
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"] == uri


# ------------------------------------------------------------------------------------------------------------- junit


def test_junit_has_a_test_a_file_and_a_failure_an_error() -> None:
    text = as_junit([BAD, WARNED, GOOD, NOWHERE], same)
    suites = ET.fromstring(text)
    assert (suites.tag, suites.get("tests"), suites.get("failures")) == ("testsuites", "4", "2")
    (suite,) = suites
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == (
        *("4", "2", "0", "0"),
    )
    cases = {case.get("name"): case for case in suite}
    assert list(cases) == ["profiles/a.yaml", "environments/e.yaml", "profiles/b.yaml", "the command line"]
    (failure,) = cases["profiles/a.yaml"]
    assert (failure.tag, failure.get("type")) == ("failure", "wrong-value")
    assert failure.text == failure.get("message") == str(PORT)
    assert cases["profiles/a.yaml"].get("file") == "profiles/a.yaml"
    (told,) = cases["environments/e.yaml"]
    assert (told.tag, told.text) == ("system-out", str(OLD))
    assert list(cases["profiles/b.yaml"]) == []


@given(st.text(), st.text())
def test_junit_is_xml_whatever_is_in_it(file: str, why: str) -> None:
    error = InputError("use x", why, at=f"{file}:1:1", code="unknown-key")
    (suite,) = ET.fromstring(as_junit([Verdict(file, (error,), (Notice(file, why, why),))], same).encode())
    assert [one.tag for one in suite[0]] == ["failure", "system-out"]


def test_junit_of_nothing_is_xml_too() -> None:
    assert ET.fromstring(as_junit([], same)).get("tests") == "0"
