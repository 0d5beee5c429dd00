"""Ports that are made when they are first asked: a command that needs no weights does not import what reads them."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class _Later:
    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> Any:
        """So that isinstance() sees what it stands for."""
        return type(self._made)

    def __getattr__(self, name: str) -> Any:
        """Only for what is not here yet; the port itself is kept."""
        if name == "_made":
            self._made = self._make()
            return self._made
        return getattr(self._made, name)


def later(make: Callable[[], T]) -> T:
    """Stands for what ``make`` will answer."""
    return cast(T, _Later(make))
