"""What can go wrong on the stand-in Hub, and when: which answers a fault is for, and how often."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Literal

Kind = Literal["reset", "close", "stall", "status", "corrupt", "truncate", "no_range", "wrong_range"]
On = Literal["api", "head", "resolve", "body", "cas", "any"]


@dataclass(eq=False, slots=True)
class Fault:
    """For the next ``times`` answers (None: all) of the sort ``on`` whose path and query hold ``match``.

    ``after`` counts the bytes of that one answer. ``reached`` is set once the fault has been done: for a stall, when
    exactly ``after`` bytes were sent and the rest waits for ``released`` or for the client to go away.
    """

    kind: Kind
    match: str = ""
    times: int | None = 1
    on: On = "body"
    after: int = 0
    offset: int = 0  # in the file, for ``corrupt``
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    hits: int = 0
    reached: Event = field(default_factory=Event)
    released: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        if self.kind == "no_range":  # a property of a server rather than an accident
            self.times = None

    def release(self) -> None:
        """For good: later answers that this fault is for are not held either."""
        self.released.set()

    def applies(self, on: On, path: str, start: int, end: int) -> bool:
        left = self.times is None or self.hits < self.times
        covered = self.kind != "corrupt" or start <= self.offset < end
        return left and self.on in (on, "any") and self.match in path and covered


@dataclass(slots=True)
class Faults:
    """In the order of their adding; the first that applies is taken."""

    added: list[Fault] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.added)

    def add(self, fault: Fault) -> Fault:
        self.added.append(fault)
        return fault

    def take(self, kinds: tuple[Kind, ...], on: On, path: str, start: int = 0, end: int = 0) -> Fault | None:
        with self.lock:
            for fault in self.added:
                if fault.kind in kinds and fault.applies(on, path, start, end):
                    fault.hits += 1
                    return fault
        return None

    def clear(self) -> None:
        """Held answers go on, and nothing more goes wrong."""
        for fault in self.added:
            fault.release()
        self.added.clear()
