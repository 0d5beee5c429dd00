"""The words of an engine's command line as flags with values, read as the engine's own parser reads them. Pure.

Which flags take values is known from any version of the engine that is given, the first one first. Of a flag that none
of them has, the words that follow it and do not begin with a dash are its values.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engines.knowledge import Engine, Flag
from orchestrator.engines.values import human_int
from orchestrator.model import Json

_NEGATIVE = re.compile(r"-(?:\d+|\d*\.\d+)", re.ASCII)
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?[0-9]{1,15}\.[0-9]{1,15}(?:[eE][-+]?[0-9]{1,2})?|-?[0-9]{1,15}[eE][-+]?[0-9]{1,2}", re.ASCII)
LOOKS_SECRET = re.compile(r"hf_[A-Za-z0-9]{20,}|\bsk-[\w-]{16,}|://[^/?#\s@]*:[^/?#\s@]*@|https?://[^/?#\s]*@")
"""By its form alone: a token of the Hub or of an API, a URL with a password."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_SHORT = {
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-q": "--quantization",
    "-cc": "--compilation-config",
}
_DEEPEST, _MOST = 20, 2000  # of JSON that becomes YAML; anything larger stays a text


@dataclass(frozen=True, slots=True)
class Given:
    """One flag as it is given: ``name`` in snake case. ``words`` are its values; None for a flag alone, and then
    ``on`` is false for ``--no-x``. ``joined``: by ``=``. ``keys`` is the way into its mapping, of ``--x.a.b 1``."""

    name: str
    words: tuple[str, ...] | None = None
    on: bool = True
    joined: bool = False
    keys: tuple[str, ...] = ()
    flag: Flag | None = None
    written: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """``args`` maps each flag to its value as a profile says it. ``remarks`` say what the engine would have ignored
    anyway, ``left`` what a profile cannot say. ``model`` is "" when none is named."""

    model: str = ""
    args: Mapping[str, Json] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def read_words(words: Sequence[str], engines: Sequence[Engine], style: str) -> Values:
    """``words`` are what follows `vllm serve` (``style`` "serve") or the module."""
    given, free = _Reader(words, engines, style).read()
    remarks: list[str] = []
    left: list[str] = []
    args: dict[str, Json] = {}
    grouped: dict[str, list[Given]] = {}
    for one in given:
        if _NAME.fullmatch(one.name) and (one.flag or one.written.startswith("--") or one.written in _SHORT):
            grouped.setdefault(one.name, []).append(one)
        else:
            left.append(f"{shown(one.written)}, which no version of the engine has")
    named = grouped.pop("model", []) + grouped.pop("model_tag", [])
    models = [one.words[0] for one in named if one.words] or free[:1]
    if not models:
        models = _mistaken(grouped)
    for word in (free if named else free[1:]) if free else ():
        left.append(f"{shown(word)}, which belongs to no flag")
    for name, all_of_it in grouped.items():
        value, why = _value(all_of_it, remarks)
        if value is not None:
            args[name] = value
        left += why
    return Values(models[-1] if models else "", args, tuple(remarks), tuple(left))


def config_words(config: Json) -> tuple[str, ...]:
    """What the engine makes of the file that --config names, which comes before the flags given with it."""
    words: list[str] = []
    for key, value in config.items() if isinstance(config, Mapping) else ():
        flag = f"--{key}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{key}")
        elif isinstance(value, list):
            words += [flag, *(_text(item) for item in value)] if value else []
        elif isinstance(value, Mapping):
            words += [flag, json.dumps(value)]
        elif value is not None:
            words.append(f"{flag}={_text(value)}")
    return tuple(words)


def shown(text: str) -> str:
    """On one line, not all of a long one, and nothing of what looks like a secret."""
    if LOOKS_SECRET.search(text):
        return "what looks like a secret"
    clean = text.replace("\0", "")
    clean = clean if clean.isprintable() else ascii(clean)[1:-1]
    return clean if len(clean) <= 60 else clean[:57] + "..."


# ------------------------------------------------------------------------------------------------- words to flags


class _Reader:
    def __init__(self, words: Sequence[str], engines: Sequence[Engine], style: str) -> None:
        self.words, self.engines, self.style = words, engines, style
        self.at = 0

    def read(self) -> tuple[list[Given], list[str]]:
        """The flags, and the words that are none and belong to none: in the beginning, the model."""
        given: list[Given] = []
        free: list[str] = []
        while self.at < len(self.words):
            word = self.words[self.at]
            self.at += 1
            if word == "--":
                free += self.words[self.at :]
                break
            if self._is_value(word):
                free.append(word)
            else:
                given.append(self._flag(word, model_known=bool(free)))
        return given, free

    def _is_value(self, word: str) -> bool:
        """As argparse has it, for a parser without options that look like negative numbers: text that begins with a
        dash and goes on as no option does is a value, too."""
        if not word.startswith("-") or word == "-" or _NEGATIVE.fullmatch(word):
            return True
        return " " in word.partition("=")[0]

    def _flag(self, word: str, *, model_known: bool) -> Given:
        head, equals, value = word.partition("=")
        if not word.startswith("--"):
            head, equals, value = self._short(head, equals, value)
        name, dot, rest = head.partition(".")
        name = _SHORT.get(name, name)
        keys = tuple(rest.split(".")) if dot else ()
        flag = self.find(name)
        bare = (flag.name if flag else name.lstrip("-")).replace("-", "_")
        if keys:
            words = (value,) if equals else self._take(1)
            return Given(bare, words, joined=True, keys=keys, flag=flag, written=head)
        if equals:
            return Given(bare, (value,), joined=True, flag=flag, written=head)
        positive = self._negated(name, flag)
        if positive:
            return Given(positive, None, on=False, written=head)
        if flag is None:
            words = self._take(None if model_known or self.style == "module" else 1)
        elif flag.type == "bool" and flag.options:
            words = ()
        else:
            words = self._take(None if flag.nargs in ("+", "*") else flag.nargs if isinstance(flag.nargs, int) else 1)
        return Given(bare, words or None, flag=flag, written=head)

    def _short(self, head: str, equals: str, value: str) -> tuple[str, str, str]:
        if head.startswith("-O"):  # -O3, -O 3, -O=3, -O.level=3
            if head.startswith("-O."):
                return f"--compilation-config{head[2:]}", equals, value
            level = head[2:] or (value if equals else next(iter(self._take(1)), ""))
            name = "--optimization-level" if self.find("--optimization-level") else "--compilation-config.level"
            return name, "=", level
        if len(head) > 2 and "." not in head and not self.find(head) and self.find(head[:2]):
            return head[:2], "=", head[2:] + equals + value
        return head, equals, value

    def _negated(self, name: str, flag: Flag | None) -> str:
        """The flag that ``--no-x`` turns off, in snake case; "" for one that turns nothing off."""
        bare = name.replace("_", "-")
        if not bare.startswith("--no-") or len(bare) == len("--no-"):
            return ""
        positive = self._exact("--" + bare.removeprefix("--no-"))
        if positive is None and flag is not None:
            return ""
        return (positive.name if positive else bare.removeprefix("--no-")).replace("-", "_")

    def _take(self, most: int | None) -> tuple[str, ...]:
        start = self.at
        while self.at < len(self.words) and self._is_value(self.words[self.at]) and (most is None or most > 0):
            if self.words[self.at] == "--":
                break
            self.at += 1
            most = most - 1 if most is not None else None
        return tuple(self.words[start : self.at])

    def find(self, option: str) -> Flag | None:
        """By its name, by an alias, or by the beginning of its name."""
        found = self._exact(option)
        if found is None and self.engines and option.startswith("--") and len(option) > 3:
            return self.engines[0].abbreviated(option)
        return found

    def _exact(self, option: str) -> Flag | None:
        known = (engine.find(option) for engine in self.engines if option.startswith("-"))
        fits = (one for one in known if one and one.options and (option in one.options or option.startswith("--")))
        return next(fits, None)


def _mistaken(grouped: dict[str, list[Given]]) -> list[str]:
    """The model, where it was taken for the value of a flag that is not known: `--some-switch OWNER/NAME`."""
    likely = [
        (name, one)
        for name, all_of_it in grouped.items()
        for one in all_of_it
        if one.flag is None and one.words and len(one.words) == 1 and not one.joined and "/" in one.words[0]
    ]
    if len(likely) != 1:
        return []
    name, one = likely[0]
    grouped[name] = [Given(name, None, written=one.written) if each is one else each for each in grouped[name]]
    return list(one.words or ())


# ------------------------------------------------------------------------------------------------ words to values


def _value(given: Sequence[Given], remarks: list[str]) -> tuple[Json, list[str]]:
    """The value of one flag, given once or several times; None when it has none. And what of it cannot be said."""
    plain = [one for one in given if not one.keys]
    dotted = [one for one in given if one.keys]
    if dotted:
        if plain:
            remarks.append(f"--{plain[0].name.replace('_', '-')}: the engine takes its dotted keys and not the rest")
        mapping: dict[str, Any] = {}
        if any(len(one.keys) > _DEEPEST for one in dotted):
            return None, [f"--{dotted[0].name.replace('_', '-')}, whose keys are nested too deep"]
        for one in dotted:
            _merge(mapping, _nested(one))
        if not _is_tame(mapping):
            return json.dumps(mapping), []
        return mapping, []
    last = plain[-1]
    written = "--" + last.name.replace("_", "-")
    if last.flag and last.flag.repeats and len(plain) > 1:
        return [_scalar(word, last.flag) for one in plain for word in one.words or ()], []
    if len({(one.words, one.on) for one in plain}) > 1:
        remarks.append(f"{written} is given {len(plain)} times: the engine takes the last")
    return _one(last), []


def _one(given: Given) -> Json:
    flag, words = given.flag, given.words
    if words is None:
        return given.on
    if flag is not None and flag.nargs in ("+", "*"):
        return [_scalar(word, flag) for word in words]
    if len(words) > 1:
        return [_scalar(word, flag) for word in words]
    kind = flag.type if flag else ""
    if kind in ("json", "json_or_str", "") and words[0].lstrip().startswith("{"):
        mapping = _mapping(words[0])
        if mapping is not None:
            return mapping
    return _scalar(words[0], flag)


def _scalar(word: str, flag: Flag | None) -> Json:
    """A number where the engine reads one and nothing is lost, else the text."""
    kind = flag.type if flag else ""
    if kind in ("int", "float", "human_int", "human_int_or_auto", "") and _INT.fullmatch(word) and word != "-0":
        return int(word)
    if kind == "float" and _FLOAT.fullmatch(word) and math.isfinite(float(word)):
        return float(word)
    return float(word) if kind == "" and _FLOAT.fullmatch(word) and str(float(word)) == word else word


def _mapping(word: str) -> dict[str, Any] | None:
    """The JSON object, if YAML can say it and it says each key once."""
    try:
        value = json.loads(word, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _is_tame(value) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _is_tame(value: Json) -> bool:
    count = 0
    work: list[tuple[Json, int]] = [(value, 0)]
    while work:
        one, depth = work.pop()
        count += 1
        inside = list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else []
        texts = [*one] if isinstance(one, dict) else [one] if isinstance(one, str) else []
        if count > _MOST or depth > _DEEPEST or not all(can_be_said(text) and len(text) < 10_000 for text in texts):
            return False
        if isinstance(one, dict) and any(len(key) > 200 for key in one):
            return False
        if isinstance(one, int | float) and not (math.isfinite(one) and abs(one) < 1 << 63):
            return False
        work += [(each, depth + 1) for each in inside]
    return True


def can_be_said(text: str) -> bool:
    """Whether YAML can hold it, and a command line: no NUL, and no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _nested(given: Given) -> dict[str, Any]:
    """``--x.a.b 1`` is ``{"a": {"b": 1}}``, ``--x.a+ 1,2`` is ``{"a": ["1", "2"]}``."""
    word = (given.words or ("",))[0]
    *outer, last = given.keys
    value: Any
    if last.endswith("+"):
        last, value = last[:-1], word.split(",")
    else:
        value = _loaded(word)
    for key in (last, *reversed(outer)):
        value = {key: value}
    return dict(value)


def _loaded(word: str) -> Json:
    try:
        value = json.loads(word, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        number = human_int(word) if len(word) < 20 else None
        return word if number is None else number
    return value if _is_tame(value) else word


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        old = into.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            old += value
        else:
            into[key] = value


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)
