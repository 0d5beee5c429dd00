"""Whether a flag takes a value that a profile gives it, as ``vllm._flag`` would put it on the command line. Pure."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestrator.engines.knowledge import Flag
from orchestrator.model import Json

_HUMAN = re.compile(r"(\d+)(\.\d+)?([kKmMgGtT])", re.ASCII)
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SHORT_NUMBER = re.compile(r"\b\d+(\.\d+)?[kKmMgGtT]\b", re.ASCII)
_SHOWN = 8  # choices; a longer list is not read, and then the closest one is what helps


def check_value(flag: Flag, value: Json) -> str | None:
    """Why the engine would refuse it: 'must be at most 1, not 1.7'. None when it would not, or when that is not known.

    A choice that a plugin might add counts as wrong: ``flag.open`` tells the caller to say so."""
    if value is None:
        return None
    if not flag.options:
        return _inside(flag, value)
    if flag.type == "bool":
        return _switch(flag, value)
    if isinstance(value, bool):
        return _bare(flag, value)
    if isinstance(value, list | tuple):
        return _words(flag, value)
    if isinstance(flag.nargs, int) and flag.nargs != 1:
        return f"takes {flag.nargs} values, not 1"
    return _word(flag, value)


def human_int(text: str) -> int | None:
    """What the engine makes of '4k' (4000), '4K' (4096), '1.5M' (nothing: a half of a binary unit is refused)."""
    match = _HUMAN.fullmatch(text.strip())
    if match is None:
        return _whole(text)
    number, fraction, unit = match.groups()
    if unit in _BINARY:
        return None if fraction else int(number) * _BINARY[unit]
    return int(float(number + (fraction or "")) * _DECIMAL[unit])


def _switch(flag: Flag, value: Json) -> str | None:
    if not isinstance(value, bool):
        quoted = isinstance(value, str) and value.lower() in ("true", "false")
        return f"takes no value: write true or false, {'without quotes' if quoted else f'not {_shown(value)}'}"
    if value is False and f"--no-{flag.name}" not in flag.negations:
        return "can only be true: this version has no flag that turns it off"
    return None


def _bare(flag: Flag, value: bool) -> str | None:
    """The flag alone, or its negation."""
    if value is True and flag.nargs in ("?", "*"):
        return None
    return f"needs {_kind(flag)}, not {_shown(value)}"


def _words(flag: Flag, values: Sequence[Json]) -> str | None:
    """Several words after the flag."""
    least, most = _room(flag)
    if len(values) < least or (most is not None and len(values) > most):
        if flag.type in ("json", "json_or_str"):
            return "needs its list as JSON in one text: '[...]'"
        count = least if most is None or len(values) < least else most
        room = f"{count}" if least == most else f"at least {count}" if count == least else f"at most {count}"
        return f"takes {room} {'value' if count == 1 else 'values'}, not {len(values)}"
    if flag.type == "json" and len(values) == 1 and not isinstance(values[0], Mapping):
        return "needs its list as JSON in one text: '[...]'"
    return next((why for one in values if (why := _word(flag, one)) is not None), None)


def _room(flag: Flag) -> tuple[int, int | None]:
    """How many words may follow."""
    if isinstance(flag.nargs, int):
        return flag.nargs, flag.nargs
    least, most = flag.lengths
    return {"+": (least or 1, most), "*": (least or 0, most), "?": (0, 1)}.get(flag.nargs or "", (1, 1))


def _word(flag: Flag, value: Json) -> str | None:
    if isinstance(value, Mapping):
        return _mapping(flag, value)
    if flag.type in ("json", "json_or_str"):
        return _json_text(flag, value)
    text = value if isinstance(value, str) else str(value)
    if flag.optional and text in ("", "None"):
        return None
    number: float | None = None
    if flag.type in _NUMBERS:
        number = _NUMBERS[flag.type](text)
        if number is None:
            return f"needs {_kind(flag)}, not {_shown(value)}"
    if isinstance(value, list | tuple | bool):
        return f"needs {_kind(flag)}, not {_shown(value)}" if flag.type else None
    return _choice(flag, text) or _bound(flag, number, value)


def _choice(flag: Flag, text: str) -> str | None:
    if not flag.choices or flag.open == "platform" or (flag.open == "class" and "." in text):
        return None
    words = [str(choice) for choice in flag.choices]
    same = _evened(flag)
    if same(text) in {same(word) for word in words}:
        return None
    numbers = not any(isinstance(choice, str) for choice in flag.choices)
    close = "" if numbers else _closest(text, words)
    if close:
        return f"cannot be {_shown(text)}: did you mean {close}?"
    if len(words) > _SHOWN and not numbers:
        return f"cannot be {_shown(text)}: this version knows {len(words)} others"
    return f"cannot be {_shown(text)}: it takes {_either(words)}"


def _evened(flag: Flag) -> Callable[[str], str]:
    def same(text: str) -> str:
        text = text.lower() if flag.any_case else text
        return text.replace("-", "_") if flag.any_dash else text

    return same


def _bound(flag: Flag, number: float | None, value: Json) -> str | None:
    if number is None or flag.bounds.hold(number):
        return None
    return f"must be {flag.bounds}, not {_shown(value)}"


def _mapping(flag: Flag, value: Mapping[str, Json]) -> str | None:
    if flag.type not in ("json", "json_or_str", ""):
        return f"needs {_kind(flag)}, not a mapping"
    if flag.holds == "list":
        return "needs a list, not a mapping"
    for key, one in value.items():
        below = flag.fields.get(key)
        if below is None and flag.closed:
            close = _closest(key, flag.fields)
            return f"has no key {key}" + (f": did you mean {close}?" if close else "")
        why = _inside(below, one) if below is not None else None
        if why is not None:
            return f"{key}: {why}"
    return None


def _inside(key: Flag, value: Json) -> str | None:
    """A value in JSON, which the engine reads with some leniency: only what is certain is said."""
    if value is None or (not key.type and not key.choices):
        return None
    if isinstance(value, Mapping):
        return _mapping(key, value)
    if key.type == "json":
        return f"needs a mapping, not {_shown(value)}"
    if key.type == "list":
        return None if isinstance(value, list | tuple) else f"needs a list, not {_shown(value)}"
    if isinstance(value, list | tuple):
        return f"needs {_kind(key)}, not a list" if key.type else None
    if key.type == "bool" or isinstance(value, bool):
        return None
    return _word(key, value)


def _json_text(flag: Flag, value: Json) -> str | None:
    """One word that is read as JSON. Numbers in short form are the engine's own addition, so they prove nothing."""
    text = value if isinstance(value, str) else json.dumps(value)
    if flag.type == "json_or_str" and not (text.strip().startswith("{") and text.strip().endswith("}")):
        return None
    if flag.optional and text in ("", "None"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None if _SHORT_NUMBER.search(text) else f"needs JSON, not {_shown(value)}"
    if isinstance(found, Mapping):
        return _mapping(flag, found)
    return f"needs a mapping, not {_shown(value)}" if flag.holds == "mapping" else None


def _kind(flag: Flag) -> str:
    one = {
        "int": "a whole number",
        "float": "a number",
        "human_int": "a whole number such as 4096 or 4k",
        "human_int_or_auto": "a whole number such as 4096 or 4k, or auto",
        "bool": "true or false",
        "json": "a mapping",
        "json_or_str": "a text or a mapping",
        "list": "a list",
    }.get(flag.type, "a text")
    return one if flag.nargs in (None, "?") or not flag.options else f"a list, each {one}"


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _real(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _human_or_auto(text: str) -> int | None:
    return -1 if text.strip().lower() == "auto" else human_int(text)


_NUMBERS: Mapping[str, Callable[[str], float | None]] = {
    "int": _whole,
    "float": _real,
    "human_int": human_int,
    "human_int_or_auto": _human_or_auto,
}


def _closest(word: str, words: Iterable[str]) -> str:
    """Compared without regard to case or dashes."""
    plain = {one.lower().replace("-", "_"): one for one in words}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), plain, n=1, cutoff=0.7)
    return plain[found[0]] if found else ""


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _shown(value: Json) -> str:
    if isinstance(value, str):
        return value or "an empty text"
    return json.dumps(value)
