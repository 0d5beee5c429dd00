"""What `orch validate` found, file by file, in every form in which it is shown. Pure.

Text is for a person. JSON is orch's own. github are GitHub's workflow commands, which annotate a pull request; sarif is
SARIF 2.1.0, which code scanning takes; junit is what nearly every CI shows as tests.
"""

import hashlib
import html
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote

from orchestrator.errors import InputError, OrchError
from orchestrator.model import Json, Notice
from orchestrator.rules import RULES

Severity = Literal["error", "warning", "note"]
Where = Callable[[str], str]
"""From a file as a person types it here to its path in the repository; absolute outside of it."""

_PLACE = re.compile(r"(.+):([0-9]+):([0-9]+)", re.DOTALL)
_NOT_XML = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One file, as it is typed here; an empty name stands for what no file is to blame for."""

    file: str
    errors: tuple[OrchError, ...] = ()
    warnings: tuple[Notice, ...] = ()
    notes: tuple[Notice, ...] = ()  # what could not be checked, and why


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in a verdict. ``line`` and ``column`` from 1, or None; ``subject`` is what stays when a value or the
    wording changes; ``text`` begins with the place, ``tail`` are lines below it."""

    severity: Severity
    code: str
    file: str
    line: int | None
    column: int | None
    subject: str
    text: str
    tail: tuple[str, ...] = ()


def valid(verdicts: Iterable[Verdict]) -> bool:
    return not any(one.errors for one in verdicts)


def strict(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """With every warning an error."""
    return tuple(
        replace(one, errors=(*one.errors, *map(_as_error, one.warnings)), warnings=()) if one.warnings else one
        for one in verdicts
    )


def _as_error(notice: Notice) -> InputError:
    return InputError("pass with --strict", notice.what, notice.do, notice.at, notice.code)


def findings(verdict: Verdict) -> tuple[Finding, ...]:
    """Errors first, then warnings, then notes; each in the order of the file."""
    errors = (_finding("error", one.code, verdict, one.at, one.what, str(one), one.tail) for one in verdict.errors)
    warnings = (_finding("warning", one.code, verdict, one.at, one.what, str(one)) for one in verdict.warnings)
    notes = (_finding("note", "not-checked", verdict, one.at, one.what, _note(one)) for one in verdict.notes)
    return (*errors, *warnings, *notes)


def _finding(
    severity: Severity, code: str, verdict: Verdict, at: str, subject: str, text: str, tail: tuple[str, ...] = ()
) -> Finding:
    file, line, column = place(at)
    return Finding(severity, code, file or verdict.file, line, column, subject, text, tail)


def place(at: str) -> tuple[str, int | None, int | None]:
    """File, line and column; no file for what was given by --set."""
    if at.startswith("--set "):
        return "", None, None
    found = _PLACE.fullmatch(at)
    return (found[1], int(found[2]), int(found[3])) if found else (at, None, None)


def _note(notice: Notice) -> str:
    return f"{notice.at}: note: {notice.what}" if notice.at else f"note: {notice.what}"


# ------------------------------------------------------------------------------------------------- for a person


def complaints(verdicts: Sequence[Verdict]) -> list[str]:
    """The lines of what is to be told: errors, warnings, then notes, one line for what holds for several files."""
    found = [one for verdict in verdicts for one in findings(verdict)]
    told = [one for severity in ("error", "warning") for one in found if one.severity == severity]
    lines = [line for one in told for line in (one.text, *(f"  | {line}" for line in one.tail))]
    return [*lines, *_notes(found)]


def _notes(found: Iterable[Finding]) -> list[str]:
    same: dict[str, list[Finding]] = {}
    for one in found:
        if one.severity == "note":
            same.setdefault(one.subject, []).append(one)
    return [
        group[0].text if len(group) == 1 else f"note: {subject} ({len({one.file for one in group})} files)"
        for subject, group in same.items()
    ]


def praise(verdicts: Sequence[Verdict]) -> str:
    """The one line of files that are all good."""
    files = [one.file for one in verdicts if one.file]
    return f"{'1 file is' if len(files) == 1 else f'{len(files)} files are'} valid: {', '.join(files)}"


# ------------------------------------------------------------------------------------------------- for a program


def as_json(verdicts: Sequence[Verdict]) -> dict[str, Json]:
    return {
        "version": 1,
        "valid": valid(verdicts),
        "files": [one.file for one in verdicts if one.file],
        "errors": [
            {"at": error.at, "what": error.what, "why": error.why, "do": error.do, **_fields(found)}
            for one in verdicts
            for error, found in zip(one.errors, findings(one), strict=False)
        ],
        "warnings": [_told(*pair) for one in verdicts for pair in zip(one.warnings, _of("warning", one), strict=True)],
        "notes": [_told(*pair) for one in verdicts for pair in zip(one.notes, _of("note", one), strict=True)],
    }


def _of(severity: Severity, verdict: Verdict) -> list[Finding]:
    return [one for one in findings(verdict) if one.severity == severity]


def _told(notice: Notice, found: Finding) -> dict[str, Json]:
    return {"at": notice.at, "what": notice.what, "do": notice.do, **_fields(found)}


def _fields(one: Finding) -> dict[str, Json]:
    where = {"file": one.file or None, "line": one.line, "column": one.column}
    return {"code": one.code, **where, "severity": one.severity}


def as_github(verdicts: Sequence[Verdict], where: Where) -> list[str]:
    """A command a line. A note that holds for several files is said once, for GitHub shows only ten of a kind."""
    found = [one for verdict in verdicts for one in findings(verdict)]
    commands = [_command(one, where) for one in found if one.severity != "note"]
    return [*commands, *(f"::notice title=not-checked::{_escaped(line)}" for line in _notes(found))]


def _command(one: Finding, where: Where) -> str:
    given = {"file": where(one.file) if one.file else "", "line": one.line, "col": one.column, "title": one.code}
    words = ",".join(f"{name}={_escaped_property(str(value))}" for name, value in given.items() if value)
    return f"::{one.severity}{' ' if words else ''}{words}::{_escaped(chr(10).join((one.text, *one.tail)))}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def as_sarif(verdicts: Sequence[Verdict], where: Where, version: str) -> dict[str, Json]:
    rules = [{"id": code, "shortDescription": {"text": text}} for code, text in RULES.items()]
    number = {code: index for index, code in enumerate(RULES)}
    seen: Counter[str] = Counter()
    results = [_result(one, where, number, seen) for verdict in verdicts for one in findings(verdict)]
    driver = {"name": "orch", "version": version, "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def _result(one: Finding, where: Where, number: dict[str, int], seen: "Counter[str]") -> dict[str, Json]:
    """``seen`` counts the equal ones before it, and is added to: two of a kind in a file are told apart."""
    uri = _uri(where(one.file)) if one.file else {}
    same = hashlib.sha256(
        "\0".join((one.code, uri.get("uri", ""), one.subject)).encode("utf-8", "backslashreplace")
    ).hexdigest()[:32]
    seen[same] += 1
    result: dict[str, Json] = {"ruleId": one.code}
    if one.code in number:
        result["ruleIndex"] = number[one.code]
    text = "\n".join((one.text, *one.tail)).encode("utf-8", "backslashreplace").decode()
    result |= {"level": one.severity, "message": {"text": text}}
    if one.file:
        region = {"region": {"startLine": one.line, "startColumn": one.column}} if one.line else {}
        result["locations"] = [{"physicalLocation": {"artifactLocation": uri, **region}}]
    return result | {"partialFingerprints": {"orch/v1": f"{same}:{seen[same]}"}}


def _uri(path: str) -> dict[str, str]:
    encoded = quote(path, errors="surrogateescape")
    return {"uri": f"file://{encoded}"} if path.startswith("/") else {"uri": encoded, "uriBaseId": "%SRCROOT%"}


def as_junit(verdicts: Sequence[Verdict], where: Where) -> str:
    """A test a file, a failure an error."""
    failed = sum(bool(one.errors) for one in verdicts)
    counts = f'name="orch validate" tests="{len(verdicts)}" failures="{failed}" errors="0"'
    cases = "\n".join(_case(one, where) for one in verdicts)
    inside = f'  <testsuite {counts} skipped="0">\n{cases}{chr(10) if cases else ""}  </testsuite>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites {counts}>\n{inside}\n</testsuites>'


def _case(verdict: Verdict, where: Where) -> str:
    path = where(verdict.file) if verdict.file else ""
    file = f" file={_attribute(path)}" if path else ""
    begin = f'    <testcase classname="orch.validate" name={_attribute(path or "the command line")}{file}'
    found = findings(verdict)
    lines = [
        f"      <failure type={_attribute(one.code)} message={_attribute(one.text)}>{_text(one)}</failure>"
        for one in found
        if one.severity == "error"
    ]
    if others := [_text(one) for one in found if one.severity != "error"]:
        lines.append(f"      <system-out>{chr(10).join(others)}</system-out>")
    return "\n".join((f"{begin}>", *lines, "    </testcase>")) if lines else f"{begin}/>"


def _text(one: Finding) -> str:
    return html.escape(re.sub(_NOT_XML, "\ufffd", "\n".join((one.text, *one.tail))).replace("\r", "\n"))


def _attribute(text: str) -> str:
    """With its quotes. A reader of XML takes a bare line break in one for a space."""
    escaped = html.escape(re.sub(_NOT_XML, "\ufffd", text))
    return '"' + escaped.replace("\n", "&#10;").replace("\r", "&#13;").replace("\t", "&#9;") + '"'
