"""Reading a config.json that anybody may have written: a number is a number or it is not there. Pure."""

from collections.abc import Mapping, Sequence

Config = Mapping[str, object]

LARGEST = 1 << 50
"""No count in a model's config is larger; what is, is not a count."""


def number(config: Config, *names: str) -> int:
    """The first of ``names`` that holds a whole number above 0, else 0. Of a list (one entry a layer) the largest."""
    for name in names:
        value = config.get(name)
        if isinstance(value, list):
            value = max((item for item in value if isinstance(item, int)), default=0)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < LARGEST:
            return value
    return 0


def real(config: Config, *names: str) -> float:
    for name in names:
        value = config.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LARGEST:
            return float(value)
    return 0.0


def word(config: Config, *names: str) -> str:
    return next((value for name in names if isinstance(value := config.get(name), str)), "")


def flag(config: Config, *names: str, default: bool = False) -> bool:
    return next((value for name in names if isinstance(value := config.get(name), bool)), default)


def part(config: Config, *names: str) -> Config:
    """The first of ``names`` that is a mapping, else an empty one."""
    return next((value for name in names if isinstance(value := config.get(name), Mapping)), {})


def items(config: Config, *names: str) -> Sequence[object]:
    """The first of ``names`` that is a list, else nothing."""
    return next((value for name in names if isinstance(value := config.get(name), list)), ())


def words(config: Config, *names: str) -> tuple[str, ...]:
    return tuple(item for item in items(config, *names) if isinstance(item, str))


def numbers(config: Config, *names: str) -> tuple[int, ...]:
    return tuple(item for item in items(config, *names) if isinstance(item, int) and not isinstance(item, bool))
