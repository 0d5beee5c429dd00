"""Secrets, taken out of what is shown: by what keys look like, by the values that this process can read, and, of those
that it cannot (another terminal, a key that was changed since), by the keyed hash that is kept of each."""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache

from orchestrator.diagnosis.mask import HIDDEN, mask
from orchestrator.errors import HostError
from orchestrator.model import Deployment
from orchestrator.ports import Eyes

_WORDS = (re.compile(r"[^\s'\"`,;()\[\]{}<>|]{6,}"), re.compile(r"[^\s'\"`,;()\[\]{}<>|=:&]{6,}"))
"""What may be a value: with signs that join it to its name, and without."""
_REMEMBERED = 1 << 16  # words: a log says the same ones again and again

Hide = Callable[[str], str]


def hider(eyes: Eyes, wanted: Iterable[Deployment]) -> Hide:
    """Of these deployments' secrets, as they were started with and as they are now."""
    values: set[str] = set()
    unseen: set[str] = set()
    for one in wanted:
        now = _values(eyes, one)
        values |= set(now.values())
        hashes = {name: eyes.state.fingerprint(value) for name, value in now.items()}
        unseen |= {kept for name, kept in one.spec.secrets.items() if kept and hashes.get(name) != kept}
    known = tuple(sorted(values, key=len, reverse=True))
    if not unseen:
        return lambda text: mask(text, known)

    @lru_cache(_REMEMBERED)
    def shown(word: str) -> str:
        return HIDDEN if eyes.state.fingerprint(word) in unseen else word

    def hide(text: str) -> str:
        text = mask(text, known)
        for words in _WORDS:
            text = words.sub(lambda found: shown(found[0]), text)
        return text

    return hide


def _values(eyes: Eyes, wanted: Deployment) -> dict[str, str]:
    """As far as this process can read them."""
    found = {}
    for name, ref in wanted.secret_refs.items():
        with suppress(HostError):
            found[name] = eyes.host.secret(name, ref)
    return found
