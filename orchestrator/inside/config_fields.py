"""What the engine's config classes say of their fields: types, choices, bounds, defaults. They are dataclasses, most of
them checked by pydantic. A description holds only what could be read, in the words of snapshot.py."""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from registries import ALSO, REGISTRIES, registry

BOUNDS = ("ge", "gt", "le", "lt", "multiple_of")
DEAR = ("ModelConfig", "VllmConfig")
"""Config classes that read a model as soon as one is made."""
SET_BY_ENGINE = ("target_model_config", "target_parallel_config", "draft_model_config", "draft_parallel_config")

Description = dict[str, Any]


class Fields:
    """``unread`` collects what was looked for and not found."""

    def __init__(self) -> None:
        self.unread: set[str] = set()

    def mapping(self, cls: Any, depth: int) -> Description:
        """What a mapping for this config class may hold, and whether it may hold nothing else."""
        names = [
            field.name
            for field in dataclasses.fields(cls)
            if field.init and not field.name.startswith("_") and field.name not in SET_BY_ENGINE
        ]
        fields = {name: self.field(cls, name, depth - 1) for name in names}
        return {"fields": fields, **({"closed": True} if is_closed(cls) else {})}

    def field(self, cls: Any, name: str, depth: int) -> Description:
        field = next(one for one in dataclasses.fields(cls) if one.name == name)
        info = getattr(cls, "__pydantic_fields__", {}).get(name)
        if info is None and hasattr(field.default, "metadata"):
            info = field.default  # pydantic's, in a class that is not checked by pydantic
        annotation = info.annotation if info is not None and info.annotation is not None else resolved(cls, field)
        hints, metadata = flat(annotation)
        found: Description = {}
        kind = hint_type(hints)
        if kind:
            found["type"] = kind
        found.update(values(hints, cls, name))
        found.update(bounds([*metadata, *(info.metadata if info is not None else ())]))
        if type(None) in hints:
            found["optional"] = True
        nested = next((hint for hint in hints if dataclasses.is_dataclass(hint)), None)
        if nested is not None and depth > 0:
            found.update(self.mapping(nested, depth))
        self.registered(name, found)
        found.update(lenience(befores(cls, name), found.get("choices", [])))
        found.update(field_default(field, info, found.get("choices", ())))
        return found

    def registered(self, name: str, found: Description) -> None:
        """Adds what a registry of the engine knows; a plugin may register more."""
        if name not in REGISTRIES or found.get("open", 0) is None:
            return
        names = registry(name)
        if not names:
            if not found.get("choices"):
                self.unread.add(f"the choices of {name}")
            return
        found["choices"] = sorted({*names, *ALSO.get(name, ()), *found.get("choices", ())}, key=str)
        found["open"] = "plugin"


def values(hints: list[Any], cls: Any, name: str) -> Description:
    """Choices of a Literal, of a list of Literals, of an enum."""
    inner = [arg for hint in hints if typing.get_origin(hint) in (list, set, tuple) for arg in typing.get_args(hint)]
    literals = [hint for hint in hints if typing.get_origin(hint) is typing.Literal]
    literals += [hint for arg in inner for hint in flat(arg)[0] if typing.get_origin(hint) is typing.Literal]
    if literals:
        values = sorted({value for hint in literals for value in typing.get_args(hint) if value is not None}, key=str)
        return {"choices": [plain(value) for value in values], **openness(hints)}
    enums = [hint for hint in hints if isinstance(hint, type) and issubclass(hint, enum.Enum)]
    return {**enum_values(enums[0], cls, name), **openness(hints)} if enums else {}


def lenience(functions: Iterable[Any], choices: list[Any]) -> Description:
    """What the engine evens out in a word before it looks at the choices: those that do so are asked."""
    found: Description = {}
    for function in functions:
        for key, change in (("any_case", str.swapcase), ("any_dash", lambda word: word.replace("_", "-"))):
            words = [word for word in choices if isinstance(word, str) and change(word) != word]
            try:
                if words and callable(function) and all(function(change(word)) == word for word in words):
                    found[key] = True
            except Exception:  # noqa: BLE001 (a word that it refuses is no choice)
                continue
    return found


def befores(cls: Any, name: str) -> list[Any]:
    """What the config class does to the field's value before it looks at its type."""
    known = getattr(getattr(cls, "__pydantic_decorators__", None), "field_validators", {})
    return [getattr(cls, key) for key, one in known.items() if one.info.mode == "before" and name in one.info.fields]


def is_closed(cls: Any) -> bool:
    """Whether a key that it does not know is an error. One with a look at the whole mapping first may take others."""
    looks = getattr(getattr(cls, "__pydantic_decorators__", None), "model_validators", {})
    forbids = getattr(cls, "__pydantic_config__", {}).get("extra") == "forbid"
    return forbids and all(one.info.mode == "after" for one in looks.values())


def flat(hint: Any) -> tuple[list[Any], list[Any]]:
    """(the members of a union, what Annotated says of them)"""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        first, *metadata = typing.get_args(hint)
        hints, below = flat(first)
        extra = [part for one in metadata for part in (getattr(one, "metadata", None) or [one])]
        return hints, [*below, *extra]
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        parts = [flat(part) for part in typing.get_args(hint)]
        return [one for hints, _ in parts for one in hints], [one for _, metadata in parts for one in metadata]
    return [hint], []


def resolved(cls: Any, field: Any) -> Any:
    try:
        return typing.get_type_hints(cls, include_extras=True).get(field.name, field.type)
    except Exception:  # noqa: BLE001 (resolving a name runs anything; without it the type is not known)
        return field.type


def hint_type(hints: list[Any]) -> str | None:
    """The type of a value in JSON; None where several would do."""
    kinds = set()
    for hint in hints:
        origin = typing.get_origin(hint) or hint
        if hint is type(None):
            continue
        if origin is typing.Literal:
            kinds |= {type(value).__name__ for value in typing.get_args(hint) if value is not None}
        elif origin in (bool, int, float, str):
            kinds.add(origin.__name__)
        elif origin in (list, set, tuple, frozenset):
            kinds.add("list")
        elif origin is dict or dataclasses.is_dataclass(origin) or hasattr(origin, "__total__"):
            kinds.add("json")
        elif isinstance(origin, type) and issubclass(origin, enum.Enum):
            kinds.add("str" if issubclass(origin, str) or not issubclass(origin, int) else "enum")
        else:
            return None
    if kinds == {"int", "float"}:
        return "float"
    kind = kinds.pop() if len(kinds) == 1 else None
    return None if kind == "enum" else kind  # its numbers or its names: the choices tell


def openness(hints: list[Any]) -> Description:
    if any(typing.get_origin(hint) is type or hint is type for hint in hints):
        return {"open": "class"}
    return {"open": "plugin"} if str in hints else {}


def enum_values(kind: Any, cls: Any, field: str) -> Description:
    """An enum is taken by its names or by its values, in any case or not: the config class is asked."""
    names, values = list(kind.__members__), [member.value for member in kind]
    if issubclass(kind, str) or cls.__name__ in DEAR:
        return {"choices": values} if issubclass(kind, (str, int)) else {}
    if issubclass(kind, int):
        return {"choices": [*values, *(name for name in names if taken(cls, field, name))]}
    by_name, by_value = taken(cls, field, names[0]), taken(cls, field, values[0])
    if by_value and not by_name:
        return {"choices": [plain(value) for value in values]}
    if by_name:
        names += [word for word in ("auto",) if word not in names and taken(cls, field, word)]
        other = names[0].swapcase() != names[0] and taken(cls, field, names[0].swapcase())
        return {"choices": names, **({"any_case": True} if other else {})}
    return {}


def taken(cls: Any, name: str, value: Any) -> bool:
    try:
        cls(**{name: value})
    except Exception:  # noqa: BLE001 (whatever it raises means no)
        return False
    return True


def bounds(metadata: Iterable[Any]) -> Description:
    found: Description = {}
    for one in metadata:
        for bound in BOUNDS:
            if isinstance(getattr(one, bound, None), (int, float)):
                found[bound] = getattr(one, bound)
        least, most = getattr(one, "min_length", None), getattr(one, "max_length", None)
        if isinstance(least, int) or isinstance(most, int):
            found["lengths"] = [least, most]
    return found


def field_default(field: Any, info: Any, choices: Iterable[Any]) -> Description:
    value = info.default if info is not None else field.default
    if value is dataclasses.MISSING or type(value).__name__ in ("PydanticUndefinedType", "FieldInfo", "EllipsisType"):
        factory = getattr(info, "default_factory", None) if info is not None else field.default_factory
        if factory not in (list, dict, set, tuple):
            return {}
        value = factory()
    return default(value, choices)


def default(value: Any, choices: Iterable[Any]) -> Description:
    """A config class's own defaults stand in its fields; a mark that stands for "not given" is none."""
    if dataclasses.is_dataclass(value) or type(value).__name__ == "PydanticUndefinedType":
        return {}
    if isinstance(value, enum.Enum):
        words = [word for word in (value.value, value.name) if word in choices]
        return {"default": words[0]} if words else {}
    shown = plain(value)
    try:
        json.dumps(shown, allow_nan=False)
    except (TypeError, ValueError):
        text = repr(value)
        return {} if " at 0x" in text else {"default_repr": text}
    return {"default": shown}


def plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(plain(one) for one in value)
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return value
