"""Words that several texts of fit need. Pure."""

from collections.abc import Sequence


def cards_word(count: int) -> str:
    return "1 card" if count == 1 else f"{count} cards"


def listed(words: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
