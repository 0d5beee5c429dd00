"""Secrets in what an engine wrote: it prints its own flags, its API key among them."""

import re
from collections.abc import Iterable

HIDDEN = "***"
_KEYS = re.compile(r"\b(hf_|sk-)[A-Za-z0-9_-]{6,}")
_GIVEN = re.compile(r"""(api[-_]key['"]?\s*[:= ]\s*\[?['"]?)[^\s'",\]\[]+""", re.IGNORECASE)
_BEARER = re.compile(r"(Bearer )[^\s'\"]+")
_SHORTEST = 6
"""Characters of a value that is looked for by itself: a shorter one stands in other words too."""


def mask(text: str, values: Iterable[str] = ()) -> str:
    """Without what looks like a key, and without ``values``, which are known to be secrets."""
    for value in values:
        if len(value) >= _SHORTEST:
            text = text.replace(value, HIDDEN)
    text = _KEYS.sub(lambda found: found[1] + HIDDEN, text)
    text = _GIVEN.sub(lambda found: found[1] + HIDDEN, text)
    return _BEARER.sub(lambda found: found[1] + HIDDEN, text)
