"""Secrets in what an engine wrote: it prints its flags, its API keys among them, and libraries print what they get."""

import re
from collections.abc import Iterable

HIDDEN = "***"
_KEYS = re.compile(
    r"\b(hf_)[A-Za-z0-9]{10,}(?!\w)"  # not hf_transfer, nor hf_hub_download
    r"|\b(sk-)(?=[A-Za-z_-]{0,60}\d|very)[A-Za-z0-9_-]{10,}"
    r"|\b(gh[pousr]_|nvapi-|xox[abp]-|AKIA)[A-Za-z0-9_-]{10,}"
)
_GIVEN = re.compile(
    r"""(api[-_]key['"]?\s*[:=]\s*)(\[[^\]\n]*\]|['"]?[^\s'",\]\[]+)""" r"|(--api-key[ =])((?:(?!-)\S+ ?)+)",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"""((?<![A-Z0-9_])[A-Z0-9_]{0,60}(?:TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|SECRET_KEY)['"]?\s?[=:]\s?['"]?"""
    r"""|\bpass(?:word|wd)['"]?\s?[=:]\s?['"]?)[^\s'",;)}\]]+"""
)
_CARRIED = re.compile(
    r"(Bearer )[^\s'\"]+"
    r"|(authorization['\"]?\s?[:=]\s?['\"]?(?:bearer |basic )?)[^\s'\"]+"
    r"|(://[^\s/:@'\"]{0,80}:)[^\s/@'\"]{1,200}(?=@)",
    re.IGNORECASE,
)
_VALUE = re.compile(r"[^\s'\",\[\]]+")
_SHORTEST = 6
"""Characters of a value that is looked for by itself: a shorter one stands in other words too."""


def mask(text: str, values: Iterable[str] = ()) -> str:
    """Without what looks like a key, and without ``values``, which are known to be secrets."""
    for value in values:
        if len(value) >= _SHORTEST:
            text = text.replace(value, HIDDEN)
    text = _KEYS.sub(lambda found: (found[1] or found[2] or found[3]) + HIDDEN, text)
    text = _GIVEN.sub(_all_of, text)
    text = _NAMED.sub(lambda found: found[1] + HIDDEN, text)
    return _CARRIED.sub(lambda found: (found[1] or found[2] or found[3]) + HIDDEN, text)


def _all_of(found: re.Match[str]) -> str:
    """Several keys may be given."""
    return (found[1] or found[3]) + _VALUE.sub(HIDDEN, found[2] or found[4])
