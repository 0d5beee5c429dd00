"""Model values to JSON and back, in one canonical form.

A field that equals its default is left out: a field that a later orch adds changes neither an old digest nor the
diff against an instance started before it existed. Unknown fields of a newer orch are ignored on the way in.
"""

import dataclasses
import hashlib
import json
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from orchestrator.model import Json, Source, Spec

SPEC_SCHEMA = 1
"""Raised when a spec's fields change their meaning; ``read_spec`` then translates the older form."""

T = TypeVar("T")


def to_json(value: Any) -> Json:
    """Dataclasses become objects without their defaults, tuples lists, enums their values; positions are dropped."""
    if dataclasses.is_dataclass(value):
        shown = [field for field in dataclasses.fields(value) if getattr(value, field.name) != _default(field)]
        return {
            field.name: to_json(getattr(value, field.name)) for field in shown if _hint(value, field.name) is not Source
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_json(value[key]) for key in sorted(value)}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def from_json(kind: type[T], data: Json) -> T:
    """The inverse of ``to_json``. Raises TypeError, KeyError or ValueError for data of another shape."""
    made: T = _read(kind, data)
    return made


def from_file(kind: type[T], data: Json) -> T | None:
    """``from_json`` for what was read from a file: None for anything that is not of this shape."""
    try:
        return from_json(kind, data)
    except (TypeError, KeyError, ValueError):
        return None


def canonical(value: Any) -> str:
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"))


def digest(spec: Spec) -> str:
    """12 hex digits that name a spec. Secrets are left out: their hashes are keyed by host."""
    plain = dataclasses.replace(spec, secrets=dict.fromkeys(spec.secrets, ""))
    return hashlib.sha256(f"{SPEC_SCHEMA}{canonical(plain)}".encode()).hexdigest()[:12]


def write_spec(spec: Spec) -> str:
    return json.dumps({"schema": SPEC_SCHEMA, "spec": to_json(spec)}, sort_keys=True, separators=(",", ":"))


def read_spec(text: str) -> Spec | None:
    """None when the text is no spec, or one of a newer schema than this orch knows."""
    try:
        data = json.loads(text)
        return from_json(Spec, data["spec"]) if data["schema"] == SPEC_SCHEMA else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _hint(value: Any, name: str) -> Any:
    return _hints(value.__class__)[name]


def _read(kind: Any, data: Json) -> Any:
    origin = get_origin(kind)
    if origin in {Union, types.UnionType}:
        return _read_union(get_args(kind), data)
    if origin is Literal:
        if data not in get_args(kind):
            raise ValueError(f"{data!r} is none of {get_args(kind)}")
        return data
    if origin is tuple:
        return tuple(_read(get_args(kind)[0], item) for item in _shaped(list, data))
    if origin is not None and issubclass(origin, Mapping):
        return {key: _read(get_args(kind)[1], item) for key, item in _shaped(dict, data).items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        return kind(**{key: _read(hints[key], item) for key, item in _shaped(dict, data).items() if key in hints})
    if issubclass(kind, Enum):
        return kind(data)
    if kind is float:
        return float(_shaped((int, float), data))
    return data if kind is Any else _shaped(kind, data)


def _shaped(kind: Any, data: Json) -> Any:
    """JSON's true and false are no numbers, though they are ints to Python."""
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise TypeError(f"{data!r} is not {kind}")
    return data


def _read_union(options: tuple[Any, ...], data: Json) -> Any:
    """The first option that fits."""
    errors = []
    for option in options:
        try:
            return _read(option, data)
        except (TypeError, ValueError, KeyError) as error:
            errors.append(str(error))
    raise TypeError("; ".join(errors))
