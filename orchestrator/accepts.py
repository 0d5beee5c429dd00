"""A JSON Schema as one function that says whether it takes a value, and never why not. Pure.

For the keywords that orch's own schemas use. It answers True only where jsonschema finds no error; where it is not sure
it answers False, and whoever asked lets jsonschema decide. A thousand files then cost what jsonschema takes for twenty.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.model import Json

Accepts = Callable[[Json], bool]

_SAYS_NOTHING = frozenset(("$schema", "$defs", "title", "description", "examples", "x-wants"))


def accepts(schema: Mapping[str, Any]) -> Accepts:
    """May raise LookupError or ValueError for a schema beyond what is known here."""
    return _accepts(schema, schema)


def _accepts(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Accepts:
    tests: list[Accepts] = []
    given = dict(schema)
    inner: dict[str, Any] = {
        key: given.pop(key) for key in ("properties", "additionalProperties", "propertyNames") if key in given
    }
    for keyword, wanted in given.items():
        if keyword not in _SAYS_NOTHING:
            tests.append(_KEYWORDS[keyword](wanted, root))
    if inner:
        tests.append(_section(inner, root))
    return _all(tests)


def _all(tests: list[Accepts]) -> Accepts:
    """One or two without a loop, for most have no more and each is asked tens of thousands of times."""
    if len(tests) == 1:
        return tests[0]
    first, *others = tests
    second = _all(others) if others else lambda _value: True
    return lambda value: first(value) and second(value)


def _section(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Accepts:
    known = {key: _accepts(inner, root) for key, inner in schema.get("properties", {}).items()}
    others = schema.get("additionalProperties", True)
    other = (lambda _value: others) if isinstance(others, bool) else _accepts(others, root)
    name = _accepts(schema["propertyNames"], root) if "propertyNames" in schema else None

    def test(value: Json) -> bool:
        if not isinstance(value, dict):
            return True
        if name and not all(map(name, value)):
            return False
        return all(known.get(key, other)(inner) for key, inner in value.items())

    return test


def _reference(to: str, root: Mapping[str, Any]) -> Accepts:
    """Into the schema's own ``$defs``, which do not refer to themselves."""
    return _accepts(root["$defs"][to.removeprefix("#/$defs/")], root)


def _type(names: str | list[str], _root: object) -> Accepts:
    tests = [_TYPES[name] for name in ([names] if isinstance(names, str) else names)]
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def _number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _enum(wanted: list[Json], _root: object) -> Accepts:
    """Of texts: 1, 1.0 and true are another matter in JSON than in Python."""
    if not all(isinstance(one, str) for one in wanted):
        raise ValueError("only texts are compared here")
    texts = frozenset(wanted)
    return lambda value: isinstance(value, str) and value in texts


def _const(wanted: Json, root: object) -> Accepts:
    return (lambda value: value is wanted) if isinstance(wanted, bool) else _enum([wanted], root)


def _pattern(pattern: str, _root: object) -> Accepts:
    """All of the text, as `schema_errors` has it."""
    match = re.compile(pattern).fullmatch
    return lambda value: not isinstance(value, str) or match(value) is not None


def _items(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Accepts:
    test = _accepts(schema, root)
    return lambda value: not isinstance(value, list) or all(map(test, value))


def _different(wanted: bool, _root: object) -> Accepts:
    def test(value: Json) -> bool:
        texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
        return texts and len(set(value)) == len(value)

    return test if wanted else lambda _value: True


def _any(options: list[Mapping[str, Any]], root: Mapping[str, Any]) -> Accepts:
    tests = [_accepts(one, root) for one in options]
    return lambda value: any(test(value) for test in tests)


def _exactly_one(options: list[Mapping[str, Any]], root: Mapping[str, Any]) -> Accepts:
    """Among sections told apart by a key that they need. Other options could take what is not sure here."""
    if any(option.keys() != {"required"} for option in options):
        raise ValueError("only sections are told apart here")
    tests = [_accepts(one, root) for one in options]
    return lambda value: sum(test(value) for test in tests) == 1


_TYPES: Mapping[str, Accepts] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": _number,
    "integer": lambda value: _number(value) and float(value).is_integer(),
}
_KEYWORDS: Mapping[str, Callable[[Any, Any], Accepts]] = {
    "$ref": _reference,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "pattern": _pattern,
    "minLength": lambda least, _: lambda value: not isinstance(value, str) or len(value) >= least,
    "minimum": lambda least, _: lambda value: not _number(value) or value >= least,
    "exclusiveMinimum": lambda least, _: lambda value: not _number(value) or value > least,
    "maximum": lambda most, _: lambda value: not _number(value) or value <= most,
    "items": _items,
    "minItems": lambda least, _: lambda value: not isinstance(value, list) or len(value) >= least,
    "uniqueItems": _different,
    "required": lambda keys, _: lambda value: not isinstance(value, dict) or all(key in value for key in keys),
    "dependentRequired": lambda rules, _: (
        lambda value: (
            not isinstance(value, dict)
            or all(key not in value or all(one in value for one in needs) for key, needs in rules.items())
        )
    ),
    "anyOf": _any,
    "oneOf": _exactly_one,
}
