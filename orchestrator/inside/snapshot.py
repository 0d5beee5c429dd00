"""Tells what command line the engine in this runtime takes, as data. Takes 10 to 40 s: it imports most of the engine.

Prints {"schema", "engine", "version", "flags": {NAME: FLAG}, "quantization", "architectures", "unread"}. A NAME is the
first long option without its dashes, or the name of a positional. A FLAG holds only what could be read:

- "options": what may be written, without the negations; "dest" where it is not NAME in snake case; "negation": there
  is a `--no-NAME` as well.
- "type": int, float, str, bool, json (a mapping or list as text), json_or_str, human_int ("4k"; 1k is 1000, 1K is
  1024), human_int_or_auto; "nargs" and "const" as argparse has them; "repeats": every occurrence adds one.
- "choices"; "open" with them where the engine takes others too: "class" (a dotted path), "plugin" (what a plugin
  registers); "any_case". Bounds "ge", "gt", "le", "lt", "multiple_of", and "lengths" [least, most] of a list.
- "optional": the words "None" and "" stand for none. "default", or "default_repr" where it is no JSON.
- "fields": what the mapping may hold, described alike. "field": the field of the config class behind it.
- "deprecated": {"removed_in": VERSION, "instead": OPTIONS}, as far as the engine's own remark tells.

"quantization" maps each method to {"capability": 80}, its least compute capability, or to {}. "unread" lists what was
looked for and not found. No text of the engine is kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import importlib
import inspect
import json
import os
import re
import sys
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from describe import engine_name, related, version_of
from parse_argv import NoParser, build

SCHEMA = 1
MARK = re.compile("\x01(\\d+)\x01")
BOUNDS = ("ge", "gt", "le", "lt", "multiple_of")
DEPTH = 2  # how far a mapping in a mapping is described
TYPES = {
    "int": "int",
    "float": "float",
    "str": "str",
    "loads": "json",
    "parse_dataclass": "json",
    "union_dict_and_str": "json_or_str",
    "human_readable_int": "human_int",
    "human_readable_int_or_auto": "human_int_or_auto",
}
"""By the name of the function that turns the word into a value; its wrappers are looked through."""
WRAPPERS = ("optional_type", "parse_type")
QUANTIZATION = ("vllm.model_executor.layers.quantization",)
REGISTRIES: dict[str, tuple[tuple[str, str], ...]] = {
    "quantization": (("vllm.model_executor.layers.quantization", "QUANTIZATION_METHODS"),),
    "load_format": (
        ("vllm.model_executor.model_loader", "_LOAD_FORMAT_TO_MODEL_LOADER"),
        ("vllm.config.load", "LoadFormat"),
        ("vllm.config", "LoadFormat"),
    ),
    "config_format": (
        ("vllm.transformers_utils.config", "_CONFIG_FORMAT_TO_CONFIG_PARSER"),
        ("vllm.config.model", "ConfigFormat"),
        ("vllm.config", "ConfigFormat"),
    ),
    "tool_call_parser": (
        ("vllm.tool_parsers", "ToolParserManager.list_registered"),
        ("vllm.entrypoints.openai.tool_parsers", "ToolParserManager.list_registered"),
        ("vllm.entrypoints.openai.tool_parsers", "ToolParserManager.tool_parsers"),
    ),
    "reasoning_parser": (
        ("vllm.reasoning", "ReasoningParserManager.list_registered"),
        ("vllm.reasoning", "ReasoningParserManager.reasoning_parsers"),
    ),
    "tokenizer_mode": (
        ("vllm.tokenizers.registry", "_VLLM_TOKENIZERS"),
        ("vllm.tokenizers.registry", "TokenizerRegistry.tokenizers"),
    ),
    "kv_connector": (
        ("vllm.distributed.kv_transfer.kv_connector.factory", "KVConnectorFactory._registry"),
        ("vllm.distributed.kv_transfer.kv_connector.v1.factory", "KVConnectorFactory._registry"),
    ),
}
"""Names that a dictionary of the engine knows, by the flag or field that takes them; the first place that has them."""
ALSO = {"config_format": ("auto",)}
"""Words that the engine treats before it looks into the registry."""
MAPPINGS = {"speculative_config": ("vllm.config", "SpeculativeConfig")}
"""Flags whose JSON the engine hands to a config class that their type does not name."""
DEAR = ("ModelConfig", "VllmConfig")
"""Config classes that read a model as soon as one is made."""
SET_BY_ENGINE = ("target_model_config", "target_parallel_config", "draft_model_config", "draft_parallel_config")

Description = dict[str, Any]


class Origins:
    """Which field of which config class each flag was made from. The engine's own ``get_kwargs`` says: the mark goes
    along in the help text, whatever the engine does with the rest."""

    def __init__(self) -> None:
        self.fields: list[tuple[Any, str]] = []

    def follow(self, module: Any) -> None:
        """Must come before the parser is built. Lets the engine read its own remarks too, which tell what is
        deprecated."""
        original = module.get_kwargs
        if hasattr(module, "NEEDS_HELP"):
            module.NEEDS_HELP = True

        def marked(cls: Any) -> Any:
            kwargs = original(cls)
            for name, one in kwargs.items():
                one["help"] = f"\x01{len(self.fields)}\x01" + (one.get("help") or "")
                self.fields.append((cls, name))
            return kwargs

        module.get_kwargs = marked

    def of(self, action: argparse.Action) -> tuple[Any, str] | None:
        mark = MARK.search(action.help or "")
        if mark:
            return self.fields[int(mark[1])]
        # A flag that is spelled out by hand: of the only class with a field of this name.
        same = {id(cls): (cls, name) for cls, name in self.fields if name == action.dest}
        return next(iter(same.values())) if len(same) == 1 else None


class Reader:
    def __init__(self) -> None:
        self.origins = Origins()
        self.unread: set[str] = set()

    def flag(self, action: argparse.Action, deprecated: bool) -> Description:
        no = [option for option in action.option_strings if option.startswith("--no-")]
        options = [
            option for option in action.option_strings if option not in no or len(no) == len(action.option_strings)
        ]
        found: Description = {"options": options}
        if action.dest != flag_name(action).replace("-", "_"):
            found["dest"] = action.dest
        if len(options) < len(action.option_strings):
            found["negation"] = True
        origin = self.origins.of(action)
        if origin:
            found["field"] = f"{origin[0].__name__}.{origin[1]}"
            behind = self.field(origin[0], origin[1], DEPTH)
            # What the parser makes of the word is its own matter; what it may be is the field's.
            found.update(
                {key: value for key, value in behind.items() if key not in ("type", "default", "default_repr")}
            )
        found.update(self.syntax(action))
        self.registered(action.dest, found)
        found.update(lenience(action.type, found.get("choices", [])))
        if action.dest in MAPPINGS:
            cls = attribute(*MAPPINGS[action.dest])
            if cls is not None:
                found["fields"] = self.fields(cls, DEPTH)
        if action.default is not argparse.SUPPRESS:
            found.update(default(action.default))
        if found.get("open", "") is None:
            del found["open"]
        remark = MARK.sub("", action.help or "")
        if deprecated or is_deprecated(remark, action):
            found["deprecated"] = deprecation(remark, options)
        return found

    def syntax(self, action: argparse.Action) -> Description:
        """What the parser itself does with the words."""
        found: Description = {}
        kind = type(action).__name__
        if kind == "BooleanOptionalAction" or (action.nargs == 0 and isinstance(getattr(action, "const", None), bool)):
            return {"type": "bool"}
        word, optional = word_type(action.type)
        if word:
            found["type"] = word
        elif action.type is None or action.choices:
            found["type"] = "str"
        else:
            self.unread.add(f"the type of {flag_name(action)}")
        if optional:
            found["optional"] = True
        if action.nargs is not None:
            found["nargs"] = action.nargs
        if action.const is not None:
            found["const"] = plain(action.const)
        if kind in ("_AppendAction", "_ExtendAction"):
            found["repeats"] = True
        if action.choices is not None:
            found["choices"] = [plain(choice) for choice in action.choices if choice is not None]
            found["open"] = None
        return {key: value for key, value in found.items() if value is not None or key == "open"}

    def fields(self, cls: Any, depth: int) -> dict[str, Description]:
        """What a mapping for this config class may hold."""
        names = [
            field.name
            for field in dataclasses.fields(cls)
            if field.init and not field.name.startswith("_") and field.name not in SET_BY_ENGINE
        ]
        return {name: self.field(cls, name, depth - 1) for name in names}

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
        found.update(self.values(hints, cls, name))
        found.update(bounds([*metadata, *(info.metadata if info is not None else ())]))
        if type(None) in hints:
            found["optional"] = True
        nested = next((hint for hint in hints if dataclasses.is_dataclass(hint)), None)
        if nested is not None and depth > 0:
            found["fields"] = self.fields(nested, depth)
        self.registered(name, found)
        found.update(field_default(field, info))
        return found

    def values(self, hints: list[Any], cls: Any, name: str) -> Description:
        """Choices of a Literal, of a list of Literals, of an enum."""
        inner = [
            arg for hint in hints if typing.get_origin(hint) in (list, set, tuple) for arg in typing.get_args(hint)
        ]
        literals = [hint for hint in hints or () if typing.get_origin(hint) is typing.Literal]
        literals += [hint for arg in inner for hint in flat(arg)[0] if typing.get_origin(hint) is typing.Literal]
        if literals:
            values = sorted(
                {value for hint in literals for value in typing.get_args(hint) if value is not None}, key=str
            )
            return {"choices": [plain(value) for value in values], **openness(hints)}
        enums = [hint for hint in hints if isinstance(hint, type) and issubclass(hint, enum.Enum)]
        return {**enum_values(enums[0], cls, name), **openness(hints)} if enums else {}

    def registered(self, name: str, found: Description) -> None:
        """Adds what a registry of the engine knows; a plugin may register more."""
        if name not in REGISTRIES or found.get("open", 0) is None:
            return
        names = registry(name)
        if not names:
            self.unread.add(f"the registry of {name}")
            return
        found["choices"] = sorted({*names, *ALSO.get(name, ()), *found.get("choices", ())}, key=str)
        found["open"] = "plugin"


def flag_name(action: argparse.Action) -> str:
    longs = [option for option in action.option_strings if option.startswith("--")]
    return (longs or action.option_strings or [action.dest])[0].lstrip("-")


def word_type(function: Any) -> tuple[str | None, bool]:
    """(the type of one word, whether "None" stands for none), from the function that argparse would call."""
    optional = False
    while inspect.isfunction(function) and function.__closure__:
        outer = function.__qualname__.split(".")[0]
        cells = inspect.getclosurevars(function).nonlocals
        if outer not in WRAPPERS or "return_type" not in cells:
            break
        optional = optional or outer == "optional_type"
        function = cells["return_type"]
    if typing.get_origin(function) is typing.Literal:
        function = type(typing.get_args(function)[0])
    return TYPES.get(getattr(function, "__name__", "")), optional


def lenience(function: Any, choices: list[Any]) -> Description:
    """What the parser evens out in a word before it looks at the choices: it is asked."""
    found: Description = {}
    for key, change in (("any_case", str.swapcase), ("any_dash", lambda word: word.replace("_", "-"))):
        words = [word for word in choices if isinstance(word, str) and change(word) != word]
        try:
            if words and callable(function) and all(function(change(word)) == word for word in words):
                found[key] = True
        except Exception:  # noqa: BLE001 (a word that it refuses is no choice)
            continue
    return found


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
            kinds.add("str")
        else:
            return None
    if kinds == {"int", "float"}:
        return "float"
    return kinds.pop() if len(kinds) == 1 else None


def openness(hints: list[Any]) -> Description:
    if any(typing.get_origin(hint) is type or hint is type for hint in hints):
        return {"open": "class"}
    return {"open": "plugin"} if str in hints else {}


def enum_values(kind: Any, cls: Any, name: str) -> Description:
    """An enum is taken by its names or by its values, in any case or not: the config class is asked."""
    names, values = list(kind.__members__), [member.value for member in kind]
    if issubclass(kind, (str, int)):
        return {"choices": [plain(value) for value in values]}
    if cls.__name__ in DEAR:
        return {}
    by_name, by_value = taken(cls, name, names[0]), taken(cls, name, values[0])
    if by_value and not by_name:
        return {"choices": [plain(value) for value in values]}
    if by_name:
        lower = names[0].swapcase() != names[0] and taken(cls, name, names[0].swapcase())
        return {"choices": names, **({"any_case": True} if lower else {})}
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


def field_default(field: Any, info: Any) -> Description:
    value = info.default if info is not None else field.default
    if value is dataclasses.MISSING or type(value).__name__ in ("PydanticUndefinedType", "FieldInfo", "EllipsisType"):
        factory = getattr(info, "default_factory", None) if info is not None else field.default_factory
        if factory not in (list, dict, set, tuple):
            return {}
        value = factory()
    return default(value)


def default(value: Any) -> Description:
    """A config class's own defaults stand in its fields."""
    if dataclasses.is_dataclass(value) or type(value).__name__ == "PydanticUndefinedType":
        return {}
    shown = plain(value)
    try:
        json.dumps(shown, allow_nan=False)
    except (TypeError, ValueError):
        text = repr(value)
        return {} if " at 0x" in text else {"default_repr": text}
    return {"default": shown}


def plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value, (int, str)) else value.name
    if isinstance(value, (set, frozenset)):
        return sorted(plain(one) for one in value)
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return value


def attribute(module: str, path: str) -> Any:
    """None where this version keeps it somewhere else."""
    try:
        found: Any = importlib.import_module(module)
    except Exception:  # noqa: BLE001 (importing the engine runs anything)
        return None
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def registry(name: str) -> list[str]:
    for module, path in REGISTRIES[name]:
        found = attribute(module, path)
        if found is None:
            continue
        if isinstance(found, type) and issubclass(found, enum.Enum):
            return [member.value for member in found]
        if typing.get_origin(found) is typing.Literal:
            return list(typing.get_args(found))
        return [str(one) for one in (found() if callable(found) else found)]
    return []


def is_deprecated(remark: str, action: argparse.Action) -> bool:
    """By the action's class, or by a remark on the flag itself and not on one of its values."""
    return "Deprecated" in type(action).__name__ or bool(getattr(action, "deprecated", False)) or REMARK(remark)


def REMARK(remark: str) -> bool:
    return "deprecated" in remark.lower()


def deprecation(remark: str, options: list[str]) -> Description:
    found: Description = {}
    version = re.search(r"removed in (?:version )?v?(\d+\.\d+(?:\.\d+)*)", remark)
    if version:
        found["removed_in"] = version[1]
    instead = [word for word in re.findall(r"--[a-z][\w.-]*\w", remark) if word not in options]
    if instead:
        found["instead"] = sorted(set(instead))
    return found


def quantization(unread: set[str]) -> dict[str, Description]:
    """Each method with its least compute capability, where its class could be had."""
    config_of = attribute(QUANTIZATION[0], "get_quantization_config")
    found: dict[str, Description] = {}
    for name in registry("quantization"):
        try:
            found[name] = {"capability": int(config_of(name).get_min_capability())}
        except Exception:  # noqa: BLE001 (importing a method runs anything, and some need a GPU)
            found[name] = {}
            unread.add(f"the least compute capability of {name}")
    return found


def architectures(unread: set[str]) -> list[str]:
    known = attribute("vllm.model_executor.models.registry", "ModelRegistry.get_supported_archs")
    try:
        return sorted(known())
    except Exception:  # noqa: BLE001 (likewise)
        unread.add("the architectures")
        return []


def actions(parser: Any) -> Iterator[tuple[argparse.Action, bool]]:
    marked = {id(action) for action in getattr(parser, "_deprecated", ())}
    for action in parser._actions:
        if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction, argparse._VersionAction)):
            yield action, id(action) in marked


def snapshot() -> dict[str, Any]:
    reader = Reader()
    try:
        reader.origins.follow(importlib.import_module("vllm.engine.arg_utils"))
    except AttributeError:
        reader.unread.add("which config field is behind a flag")
    _, parser, _ = build("serve")
    flags = {flag_name(action): reader.flag(action, deprecated) for action, deprecated in actions(parser)}
    engine = engine_name(related())
    return {
        "schema": SCHEMA,
        "engine": "vllm",
        "version": version_of(engine) if engine else None,
        "flags": flags,
        "quantization": quantization(reader.unread),
        "architectures": architectures(reader.unread),
        "unread": sorted(reader.unread),
    }


if __name__ == "__main__":
    here = Path(__file__).resolve().parent  # this folder's files are not modules of the runtime
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    try:
        answer = snapshot()
    except NoParser as error:
        answer = {"schema": SCHEMA, "why": str(error)}
    sys.stdout.write("\n" + json.dumps(answer, sort_keys=True) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the engine's libraries would take seconds to leave, and some print while they do
