"""Words that several texts of fit need. Pure."""

from collections.abc import Sequence

from orchestrator.units import format_memory


def cards_word(count: int) -> str:
    return "1 card" if count == 1 else f"{count} cards"


def listed(words: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def memory_text(size: float) -> str:
    """As the tools for GPUs have it; of a tiny model in KiB."""
    if size < 0:
        return "-" + memory_text(-size)
    return format_memory(size) if size >= 1 << 20 else small_text(size)


def small_text(size: float) -> str:
    return f"{size / 1024:.4g} KiB" if size >= 1024 else f"{size:.0f} B"
