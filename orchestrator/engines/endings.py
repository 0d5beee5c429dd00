"""Ends that another start cannot change, by what the engine's log says last. Read off vLLM 0.10 to 0.33."""

import re
from collections.abc import Sequence

_FINAL = (
    (r"error: unrecognized arguments: (.+)", "the engine refuses its flags: {0}"),
    (r"error: argument (\S+): (.+)", "the engine refuses its flag {0}: {1}"),
    (r"validation errors? for (\w+)", "the engine refuses its settings ({0})"),
    (r"No available memory for the cache blocks", "there is no room for a KV cache beside the weights"),
    (
        r"larger than the (?:available KV cache memory|maximum number of tokens)",
        "its context does not fit the KV cache",
    ),
    (r"(GatedRepoError|RepositoryNotFoundError)", "the Hub does not give it its files ({0})"),
    (r"ModuleNotFoundError: (No module named \S+)", "its runtime lacks a package: {0}"),
    (r"(\S+): cannot open shared object file", "its runtime lacks a library: {0}"),
    (r"(undefined symbol: \S+)", "its libraries do not fit each other: {0}"),
    (r"Model architectures? (\[.+?\]) (?:are|is) not supported", "this version of the engine does not know {0}"),
    (r"no kernel image is available", "its runtime was not built for this GPU"),
)


def final(tail: Sequence[str]) -> str:
    """Why a start with the same inputs would end as this one did; empty where that is not known."""
    for pattern, why in _FINAL:
        for line in tail:
            if found := re.search(pattern, line):
                return why.format(*found.groups())
    return ""
