"""Durations and sizes as people write them. Pure: text to numbers and back, nothing else.

Seconds are floats; bytes are whole numbers. Decimal units (GB) are powers of 1000, binary ones (GiB) of 1024.
"""

import math
import re

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION_UNITS = tuple(_SECONDS)  # from the longest to the shortest, the order in which they must be written
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[dhms])")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")
_DECIMAL = ("B", "KB", "MB", "GB", "TB", "PB")
_BYTES = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(_DECIMAL)},
    **{unit: 1024**power for power, unit in enumerate(("KIB", "MIB", "GIB", "TIB", "PIB"), 1)},
}
_LONGEST = 60  # characters; nothing longer is a quantity, and int() of a very long text is an error of its own


def parse_duration(value: object) -> float:
    """Seconds of ``"20m"``, ``"1h30m"``, ``"500ms"``, ``30`` or ``"30"``. ValueError says what is wrong."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value, "a duration")
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration such as 20m or 1h30m")
    text = value.strip()
    if len(text) <= _LONGEST and _NUMBER.fullmatch(text):
        return float(text)
    parts = _PART.findall(text)
    units = [_DURATION_UNITS.index(unit) for _, unit in parts]
    written = "".join(number + unit for number, unit in parts)
    if not text or len(text) > _LONGEST or written != text or units != sorted(set(units)):
        raise ValueError(f"{_short(value)} is not a duration such as 20m or 1h30m")
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_size(value: object) -> int:
    """Bytes of ``"49140MiB"``, ``"49 GB"`` or a whole number. ValueError says what is wrong."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(_finite(value, "a size"))
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _LONGEST else None
    if found is None or found[2].upper() not in _BYTES:
        raise ValueError(f"{_short(value)} is not a size such as 49140MiB or 49 GB")
    scale: int = _BYTES[found[2].upper()]
    return round(float(found[1]) * scale) if "." in found[1] else int(found[1]) * scale


def format_duration(seconds: float) -> str:
    """``"500ms"``, ``"2.5s"``, ``"45s"``, ``"1h30m"``: as exact as a person needs at that length."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if 0 < seconds < 0.9995:
        return f"{round(seconds * 1000)}ms"
    tenths = round(seconds * 10)
    if tenths < 600:
        return f"{tenths / 10:g}s"
    rest, text = round(seconds), ""
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_SECONDS[unit]))
        text += f"{count}{unit}" if count else ""
    return text


def format_size(size: float) -> str:
    """``"19.4 GB"``, ``"512 B"``: decimal units, one digit after the point."""
    if size < 0:
        return "-" + format_size(-size)
    if size < 1000:
        return f"{round(size)} B"
    scaled, power = float(size), 0
    while scaled >= 999.95 and power < len(_DECIMAL) - 1:
        scaled, power = scaled / 1000, power + 1
    return f"{scaled:.1f} {'kB' if power == 1 else _DECIMAL[power]}"


def format_memory(size: float) -> str:
    """``"44.2 GiB"``, ``"512 MiB"``: binary units, as the tools for GPUs have them."""
    if size >= 1023.5 * (1 << 20):
        return f"{size / (1 << 30):.1f} GiB"
    return f"{round(size / (1 << 20))} MiB"


def _finite(value: float, noun: str) -> float:
    if not 0 <= value < 1e18:  # also false for NaN
        raise ValueError(f"{value} is not {noun}: it must be 0 or more, and finite")
    return float(value)


def _short(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
