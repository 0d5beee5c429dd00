"""Tables as text. Pure."""

from collections.abc import Sequence


def columns(table: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns, two spaces apart, nothing behind the last one."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
