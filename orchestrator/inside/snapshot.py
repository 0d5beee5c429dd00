"""Tells what command line the engine in this runtime takes, as data. Takes 10 to 40 s: it imports most of the engine.

Prints {"schema", "engine", "version", "flags": {NAME: FLAG}, "quantization", "architectures", "unread"}. A NAME is the
first long option without its dashes, or the name of a positional. A FLAG holds only what could be read:

- "options": what may be written; "negations": what turns it off; "dest" where it is not NAME in snake case.
- "type": int, float, str, bool, json (a mapping or list as text), json_or_str, human_int ("4k"; 1k is 1000, 1K is
  1024), human_int_or_auto; "nargs" and "const" as argparse has them; "repeats": every occurrence adds one.
- "choices"; "open" with them where the engine takes others too: "class" (a dotted path), "plugin" (what a plugin
  registers); "any_case". Bounds "ge", "gt", "le", "lt", "multiple_of", and "lengths" [least, most] of a list.
- "optional": the words "None" and "" stand for none. "default", or "default_repr" where it is no JSON.
- "holds": "mapping" or "list", of JSON. "fields": what the mapping may hold, described alike; "closed": and nothing
  else. "field": the field of the config class behind it.
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
DEPRECATED = (
    r"^\W*deprecated\b",
    r"\bdeprecated:",
    r"\bthis (option|argument|flag|parameter|field) (is|has been) deprecated",
    r"--\S+ is deprecated",
)
"""What the engine's remark on a flag says of the flag itself, and not of one of its values or of what it lets through."""
HOLDS = {"json": "mapping", "list": "list"}
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

    def flag(self, action: argparse.Action, words: list[str], deprecated: bool) -> Description:
        off = [word for word in words if turns_off(action, word)]
        options = [word for word in words if word not in off]
        found: Description = {"options": options}
        if off:
            found["negations"] = off
        if action.dest != flag_name(action).replace("-", "_"):
            found["dest"] = action.dest
        origin = self.origins.of(action)
        behind: Description = {}
        if origin:
            found["field"] = f"{origin[0].__name__}.{origin[1]}"
            behind = self.field(origin[0], origin[1], DEPTH)
            # What the parser makes of the word is its own matter; what it may be is the field's.
            found.update(
                {key: value for key, value in behind.items() if key not in ("type", "default", "default_repr")}
            )
        found.update(self.syntax(action))
        self.registered(action.dest, found)
        found.update(lenience([action.type, *(befores(*origin) if origin else ())], found.get("choices", [])))
        if origin and found.get("type") == "json":
            if reads_more(*origin):
                found["type"] = "json_or_str"
            if behind.get("type") in HOLDS:
                found["holds"] = HOLDS[behind["type"]]
        if action.dest in MAPPINGS:
            cls = attribute(*MAPPINGS[action.dest])
            if cls is not None:
                found.update(self.mapping(cls, DEPTH))
        if action.default is not argparse.SUPPRESS:
            found.update(default(action.default))
        if found.get("open", "") is None:
            del found["open"]
        remark = " ".join(MARK.sub("", action.help or "").split())
        if deprecated or is_deprecated(action, remark):
            found["deprecated"] = deprecation(remark, options)
        return found

    def syntax(self, action: argparse.Action) -> Description:
        """What the parser itself does with the words."""
        found: Description = {}
        kind = type(action).__name__
        if isinstance(action, argparse.BooleanOptionalAction) or (action.nargs == 0 and isinstance(action.const, bool)):
            return {"type": "bool"}
        word, optional = word_type(action.type)
        own = not kind.startswith("_")  # the engine's own action, which reads the word itself
        if word and not own:
            found["type"] = word
        elif not own and (action.type is None or action.choices):
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
            words = [plain(choice) for choice in action.choices]
            found["choices"] = [word for word in words if word not in (None, "None")]
            found["open"] = None
            if len(found["choices"]) < len(words):
                found["optional"] = True
        return {key: value for key, value in found.items() if value is not None or key == "open"}

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
        found.update(self.values(hints, cls, name))
        found.update(bounds([*metadata, *(info.metadata if info is not None else ())]))
        if type(None) in hints:
            found["optional"] = True
        nested = next((hint for hint in hints if dataclasses.is_dataclass(hint)), None)
        if nested is not None and depth > 0:
            found.update(self.mapping(nested, depth))
        self.registered(name, found)
        found.update(lenience(befores(cls, name), found.get("choices", [])))
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
            if not found.get("choices"):
                self.unread.add(f"the choices of {name}")
            return
        found["choices"] = sorted({*names, *ALSO.get(name, ()), *found.get("choices", ())}, key=str)
        found["open"] = "plugin"


def turns_off(action: argparse.Action, word: str) -> bool:
    """The action itself is asked, for what negates a flag has changed: `--no-enable-x`, since 0.33 `--disable-x`."""
    if not isinstance(action, argparse.BooleanOptionalAction):
        return False
    into = argparse.Namespace()
    action(argparse.ArgumentParser(add_help=False), into, [], word)
    return getattr(into, action.dest) is False


def flag_name(action: argparse.Action) -> str:
    longs = [option for option in action.option_strings if option.startswith("--")]
    return (longs or action.option_strings or [action.dest])[0].lstrip("-")


def reads_more(cls: Any, name: str) -> bool:
    """Up to 0.10 a config class could read other words than JSON as well: a level, as in `-O3`."""
    field = next(one for one in dataclasses.fields(cls) if one.name == name)
    return any(hasattr(hint, "from_cli") for hint in flat(resolved(cls, field))[0])


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
    known = TYPES.get(getattr(function, "__name__", ""))
    texts = inspect.isfunction(function) and function.__annotations__.get("return") in (str, "str")
    return known or ("str" if texts else None), optional


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


def is_deprecated(action: argparse.Action, remark: str) -> bool:
    if "Deprecated" in type(action).__name__ or getattr(action, "deprecated", False):
        return True
    return any(re.search(phrase, remark, re.IGNORECASE) for phrase in DEPRECATED)


def deprecation(remark: str, options: list[str]) -> Description:
    found: Description = {}
    version = re.search(r"removed in (?:version )?v?(\d+\.\d+(?:\.\d+)*)", remark)
    if version:
        found["removed_in"] = version[1]
    instead = {word for word in re.findall(r"(?i)\b(?:use|by|of)\W+(--[a-z][\w.-]*\w)", remark) if word not in options}
    if instead:
        found["instead"] = sorted(instead)
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


def actions(parser: Any) -> Iterator[tuple[argparse.Action, list[str], bool]]:
    """Each with every option that leads to it, those that no help shows among them, and whether the parser itself
    counts it among the deprecated."""
    marked = {id(action) for action in getattr(parser, "_deprecated", ())}
    hidden = parser._option_string_actions
    for action in parser._actions:
        if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction, argparse._VersionAction)):
            more = [word for word, leads in hidden.items() if leads is action and word not in action.option_strings]
            yield action, [*action.option_strings, *more], id(action) in marked


def snapshot() -> dict[str, Any]:
    reader = Reader()
    try:
        reader.origins.follow(importlib.import_module("vllm.engine.arg_utils"))
    except Exception:  # noqa: BLE001 (importing the engine runs anything; the parser tells what is wrong with it)
        reader.unread.add("which config field is behind a flag")
    _, parser, _ = build("serve")
    flags = {flag_name(action): reader.flag(action, words, marked) for action, words, marked in actions(parser)}
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
