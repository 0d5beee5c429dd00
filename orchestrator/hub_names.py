"""Environment variables of the Hugging Face stack that go by another name today. Pure: names and values in and out.

People's files and shells are full of them, so they are taken, with a warning. Who still reads which is by
huggingface_hub 2.4 (constants.py, utils/_auth.py) and transformers 5.19.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_TRUE = frozenset(("1", "ON", "YES", "TRUE"))
"""As huggingface_hub's _is_true has it, for the value in capitals."""


@dataclass(frozen=True, slots=True)
class OldName:
    """``today`` is the variable that took its place, ``do`` the cure. ``what`` completes "X is an old name".

    ``switch``: it says nothing unless it is on, and then becomes "1"; any other keeps its value. ``followed``: whether
    ``modern`` translates it.
    """

    today: str
    do: str
    what: str = ""
    switch: bool = False
    followed: bool = True


_NOT_READ = ", which huggingface_hub does not read"
_TRANSFER = (
    "use cache.transfer: hf_transfer for what orch downloads, or HF_XET_HIGH_PERFORMANCE: 1 for what the Hub's own "
    "client does"
)
_CACHE = "use cache.hf_home, or HF_HUB_CACHE"
_TRANSFORMERS_CACHE = OldName("HF_HUB_CACHE", _CACHE, f"{_NOT_READ}: no weights are kept there", followed=False)
"""An engine's weights never were there: it fetches them with the Hub's client. Following it, orch would download to
where the engine does not look."""

OLD: Mapping[str, OldName] = {
    "HF_HUB_ENABLE_HF_TRANSFER": OldName(
        "HF_XET_HIGH_PERFORMANCE", _TRANSFER, ", which huggingface_hub ignores since 1.0", switch=True
    ),
    "HUGGINGFACE_ASSETS_CACHE": OldName("HF_ASSETS_CACHE", "write HF_ASSETS_CACHE"),
    "HUGGINGFACE_CO_RESOLVE_ENDPOINT": OldName("HF_ENDPOINT", "write HF_ENDPOINT", _NOT_READ),
    "HUGGINGFACE_HUB_CACHE": OldName("HF_HUB_CACHE", _CACHE),
    "HUGGINGFACE_HUB_VERBOSITY": OldName("HF_HUB_VERBOSITY", "write HF_HUB_VERBOSITY", _NOT_READ),
    "HUGGING_FACE_HUB_TOKEN": OldName("HF_TOKEN", "write HF_TOKEN"),
    "PYTORCH_PRETRAINED_BERT_CACHE": _TRANSFORMERS_CACHE,
    "PYTORCH_TRANSFORMERS_CACHE": _TRANSFORMERS_CACHE,
    "TRANSFORMERS_CACHE": _TRANSFORMERS_CACHE,
    "TRANSFORMERS_OFFLINE": OldName("HF_HUB_OFFLINE", "write HF_HUB_OFFLINE"),
}


def is_true(value: str) -> bool:
    """As huggingface_hub reads a variable."""
    return value.upper() in _TRUE


def old_name(name: str, value: str | None = None) -> OldName | None:
    """What there is to say of this variable, or None. ``value`` is None where it is not known."""
    old = OLD.get(name)
    is_off = value is not None and not is_true(value)
    return None if old and old.switch and is_off else old


def modern(env: Mapping[str, str]) -> dict[str, str]:
    """A copy of ``env`` with old names replaced by those of today; a name of today that is given stays as it is.

    For a process with this orch's huggingface_hub. An engine may come with another one, and gets what the file says.
    """
    followed = {name: old for name, old in OLD.items() if old.followed and name in env}
    found = {name: value for name, value in env.items() if name not in followed}
    for name, old in followed.items():
        if old_name(name, env[name]):
            found.setdefault(old.today, "1" if old.switch else env[name])
    return found
