"""Secrets in what an engine wrote: it prints its flags, its API keys among them, and libraries print what they get."""

import re
from collections.abc import Callable, Iterable

from orchestrator.diagnosis.literals import holds_one

HIDDEN = "***"
_VALUE = re.compile(r"[^\s'\",\[\]]+")
_ANY_CASE = int(re.IGNORECASE)
_SHORTEST = 6
"""Characters of a value that is looked for by itself: a shorter one stands in other words too."""


def _end(found: re.Match[str]) -> str:
    return found[1] + HIDDEN


def _all_of(found: re.Match[str]) -> str:
    """Several keys may be given."""
    return found[1] + _VALUE.sub(HIDDEN, found[2])


_RULES: tuple[tuple[tuple[str, ...], re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (("hf_",), re.compile(r"\b(hf_)[A-Za-z0-9]{20,}"), _end),  # 34 letters; not hf_transfer, nor hf_hub_download
    (("sk-",), re.compile(r"\b(sk-)(?=[A-Za-z_-]{0,99}\d)[A-Za-z0-9_-]{16,}"), _end),
    (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "nvapi-", "xoxa-", "xoxb-", "xoxp-", "AKIA"),
        re.compile(r"\b(gh[pousr]_|nvapi-|xox[abp]-|AKIA)[A-Za-z0-9_-]{10,}"),
        _end,
    ),
    (
        ("api_key", "api-key"),
        re.compile(r"""(api[-_]key['"]?\s*[:=]\s*)(\[[^\]\n]*\]|['"]?[^\s'",\]\[]+)""", re.IGNORECASE),
        _all_of,
    ),
    (("--api-key",), re.compile(r"(--api-key[ =])((?:(?!-)\S+ ?)+)", re.IGNORECASE), _all_of),
    (
        ("TOKEN", "SECRET", "PASSW", "_KEY", "passw"),
        re.compile(
            r"""((?<![A-Z0-9_])[A-Z0-9_]{0,60}(?:TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|SECRET_KEY)"""
            r"""['"]?\s?[=:]\s?['"]?|\bpass(?:word|wd)['"]?\s?[=:]\s?['"]?)[^\s'",;)}\]]+"""
        ),
        _end,
    ),
    (("bearer ",), re.compile(r"(Bearer )[^\s'\"]+", re.IGNORECASE), _end),
    (
        ("authorization",),
        re.compile(r"(authorization['\"]?\s?[:=]\s?['\"]?(?:bearer |basic )?)[^\s'\"]+", re.IGNORECASE),
        _end,
    ),
    (("@",), re.compile(r"(://[^\s/:@'\"]{0,80}:)[^\s/@'\"]{1,200}(?=@)"), _end),
)
"""What is hidden, behind what must stand before it, in small letters where the pattern takes any: to look for that is
ten times as fast."""


def mask(text: str, values: Iterable[str] = ()) -> str:
    """Without what looks like a key, and without ``values``, which are known to be secrets."""
    for value in values:
        if len(value) >= _SHORTEST:
            text = text.replace(value, HIDDEN)
    small = text.lower()
    for texts, pattern, hide in _RULES:
        if holds_one(small if pattern.flags & _ANY_CASE else text, texts):
            lines = text.split("\n")  # most hold none of it
            text = "\n".join(pattern.sub(hide, line) if _may(pattern, line, texts) else line for line in lines)
    return text


def _may(pattern: re.Pattern[str], line: str, texts: tuple[str, ...]) -> bool:
    return holds_one(line.lower() if pattern.flags & _ANY_CASE else line, texts)
