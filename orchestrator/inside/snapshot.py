"""Tells what command line the engine in this runtime takes, as data. Takes 10 to 40 s: it imports most of the engine.

Prints {"schema", "engine", "version", "flags": {NAME: FLAG}, "quantization", "architectures", "unread"}. A NAME is the
first long option without its dashes, or the name of a positional. A FLAG holds only what could be read:

- "options": what may be written; "negations": what turns it off; "dest" where it is not NAME in snake case.
- "type": int, float, str, bool, json (a mapping or list as text), json_or_str, human_int ("4k"; 1k is 1000, 1K is
  1024), human_int_or_auto; "nargs" and "const" as argparse has them; "repeats": every occurrence adds one.
- "choices"; "open" with them where the engine takes others too: "class" (a dotted path), "plugin" (what a plugin
  registers), "platform" (they are those of this machine's); "any_case"; "any_dash": "-" stands for "_".
- Bounds "ge", "gt", "le", "lt", "multiple_of", and "lengths" [least, most] of a list.
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
import importlib
import inspect
import json
import os
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config_fields import Description, Fields, befores, default, flat, lenience, plain, resolved
from describe import engine_name, related, version_of
from parse_argv import NoParser, build
from registries import attribute, registry

SCHEMA = 1
MARK = re.compile("\x01(\\d+)\x01")
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
"""What the engine's remark on a flag says of the flag itself, not of one of its values or of what it lets through."""
DEVICE = ("vllm.platforms", "current_platform.device_type")
HOLDS = {"json": "mapping", "list": "list"}
WRAPPERS = ("optional_type", "parse_type")
MAPPINGS = {"speculative_config": ("vllm.config", "SpeculativeConfig")}
"""Flags whose JSON the engine hands to a config class that their type does not name."""


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


class Reader(Fields):
    def __init__(self) -> None:
        super().__init__()
        self.origins = Origins()

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
        found.update(self.syntax(action, behind))
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
            found.update(default(action.default, found.get("choices", ())))
        if found.get("open", "") is None:
            del found["open"]
        remark = " ".join(MARK.sub("", action.help or "").split())
        if deprecated or is_deprecated(action, remark):
            found["deprecated"] = deprecation(remark, options)
        return found

    def syntax(self, action: argparse.Action, behind: Description) -> Description:
        """What the parser itself does with the words; ``behind`` is the config class's field."""
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
            found["open"] = "platform" if attribute(*DEVICE) in found["choices"] and not behind else None
            if len(found["choices"]) < len(words):
                found["optional"] = True
        return {key: value for key, value in found.items() if value is not None or key == "open"}


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
    config_of = attribute("vllm.model_executor.layers.quantization", "get_quantization_config")
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
