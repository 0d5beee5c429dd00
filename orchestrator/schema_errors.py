"""The JSON Schemas of the two files, and a schema's refusals as sentences for a person.

Every property in the schemas carries ``x-wants``, the noun phrase a refusal ends with ("a whole number from 1 to
65535"), and, where one helps, ``examples``. jsonschema's own wording is never shown.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path as FilePath
from typing import Any, Literal, cast

from orchestrator.accepts import Accepts, accepts
from orchestrator.findings import Findings, did_you_mean, dotted, listed, shown
from orchestrator.model import Json, Path

Kind = Literal["profile", "environment"]


def schema_text(kind: Kind) -> str:
    """The schema (JSON Schema draft 2020-12) as it is shipped."""
    return (FilePath(__file__).parent / "schemas" / f"{kind}.schema.json").read_text("utf-8")


def check(kind: Kind, value: Json, plain: Mapping[Path, str], findings: Findings) -> None:
    """Adds to ``findings`` whatever in ``value`` the schema of ``kind`` refuses."""
    if _quick(kind)(value):
        return
    for error in _validator(kind).iter_errors(value):
        _Refusal(error, _schema(kind), plain, findings).explain()


@cache
def _schema(kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(schema_text(kind))
    return found


@cache
def _quick(kind: Kind) -> Accepts:
    return accepts(_schema(kind))


@cache
def _validator(kind: Kind) -> Any:
    """The one that explains. Importing it takes longer than checking a hundred good files without."""
    from jsonschema import Draft202012Validator, validators

    strict = validators.extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]
    return strict(_schema(kind))


def _pattern(_validator: Any, pattern: str, value: Json, _schema: Any) -> Iterator[Any]:
    """Python's "$" also matches before a last newline, which a JSON Schema's must not."""
    from jsonschema import ValidationError

    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield ValidationError("")


class _Refusal:
    """One jsonschema error on its way to a sentence."""

    def __init__(self, error: Any, root: Json, plain: Mapping[Path, str], findings: Findings) -> None:
        self.error, self.root, self.plain, self.findings = error, root, plain, findings
        self.rule: str = error.validator
        self.value: Json = error.instance
        self.schema: dict[str, Any] = error.schema
        self.path: Path = tuple(error.absolute_path)
        self.about_key = "propertyNames" in error.absolute_schema_path

    def explain(self) -> None:
        if self.about_key:
            why = f"{shown(self.value)} is not {self.schema['x-wants']}"
            self.findings.add((*self.path, self.value), why, code="bad-key")
        elif self.rule == "additionalProperties":
            self.unknown_keys()
        elif self.rule in ("required", "dependentRequired"):
            self.missing_keys()
        elif self.rule == "oneOf":
            self.exactly_one()
        else:
            self.wrong_value()

    def unknown_keys(self) -> None:
        where = dotted(self.path) or f"{_article(self.findings.kind)} {self.findings.kind}"
        for key in self.value.keys() - self.schema["properties"].keys():
            known = listed(sorted(self.schema["properties"]))
            do = self.nearest(key) or f"it has {known}"
            self.findings.add((*self.path, key), f"{where} has no such key", do, code="unknown-key")

    def nearest(self, key: str) -> str:
        """The same key elsewhere is the likeliest mistake, then a similar key here, then a similar one elsewhere."""
        here = {word: dotted((*self.path, word)) for word in self.schema["properties"]}
        anywhere: dict[str, str] = {}
        for path in _paths(self.root):
            anywhere.setdefault(path[-1], dotted(cast(Path, path)))
        word = key.replace("-", "_")
        if word in here or word in anywhere:
            return f"did you mean {here.get(word) or anywhere[word]}?"
        for options in (here, anywhere):
            if found := did_you_mean(word, options):
                return f"did you mean {options[found.removeprefix('did you mean ').rstrip('?')]}?"
        return "a flag of the engine itself goes under serve.args" if self.path == ("serve",) else ""

    def missing_keys(self) -> None:
        rules = self.schema.get("dependentRequired", {})
        for key, needed in rules.items() if self.rule == "dependentRequired" else ():
            if key in self.value and not set(needed) <= self.value.keys():
                why = f"it only goes with {listed(needed)}"
                self.findings.add((*self.path, key), why, "remove it", code="misplaced-key")
        for key in self.schema.get("required", ()) if self.rule == "required" else ():
            if key not in self.value:
                example = _example(self.schema["properties"][key], key)
                self.findings.add(self.path, f"{key} is missing", f"add {example or key}", code="missing-key")

    def exactly_one(self) -> None:
        if not isinstance(self.value, dict):
            return  # "type" refuses it, too
        names = [option["required"][0] for option in self.schema["oneOf"]]
        given = [name for name in names if name in self.value]
        has = listed(given) if given else "none of them"
        do = "remove all but one" if given else "add one"
        why = f"it needs exactly one of {listed(names)}, and has {has}"
        self.findings.add(self.path, why, do, code="exactly-one")

    def wrong_value(self) -> None:
        if self.value is None:
            self.findings.add(self.path, "it is empty", "give it a value, or remove the line", code="empty-value")
            return
        why = f"{shown(self.value, self.path)} is not {self.schema.get('x-wants', 'what belongs here')}"
        why = {"minItems": "the list is empty", "uniqueItems": "the list holds the same twice"}.get(self.rule, why)
        if isinstance(self.value, str) and "${" in self.value and self.path[:1] != ("secrets",):
            why += ", and ${...} is not expanded here"
        self.findings.add(self.path, why, self.cure(), code=self.code())

    def code(self) -> str:
        if self.rule in ("minItems", "minLength"):
            return "empty-value"
        if self.rule == "uniqueItems":
            return "duplicate-value"
        return "wrong-type" if self.rule == "type" or self.no_such_type() else "wrong-value"

    def no_such_type(self) -> bool:
        """Whether none of several possibilities has values of this type."""
        options = [*self.error.context]
        return bool(options) and all(one.validator == "type" and one.instance is self.value for one in options)

    def cure(self) -> str:
        kinds = self.schema.get("type", ())
        if self.rule == "type" and "string" in (kinds, *kinds) and isinstance(self.value, bool | int | float):
            text = self.plain.get(self.path, json.dumps(self.value))
            return "quote it" if self.path[0] == "secrets" else f'quote it: "{text}"'
        key = str(self.path[-1]) if self.path else ""
        example = _example(self.schema, key)
        return f"write for example {example}" if example else ""


def _paths(schema: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in schema.get("properties", {}).items():
        yield (*prefix, key)
        yield from _paths(inner, (*prefix, key))


def _example(schema: Mapping[str, Any], key: str) -> str:
    return f"{key}: {_flow(schema['examples'][0])}" if schema.get("examples") else ""


def _flow(value: Json) -> str:
    """An example as a person would write it in YAML: quotes only where text looks like a number."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    looks_like_text = isinstance(value, str) and not value.replace(".", "").isdigit()
    return str(value) if looks_like_text else json.dumps(value)


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"
