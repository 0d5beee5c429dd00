"""How many connections at once. Pure: it is told rates and decides."""

from dataclasses import dataclass

FEW = 2
SLOW = 64_000_000
"""Bytes a second: a connection that brings less is held back by the other side or the way there, and another one beside
it may bring as much again. Faster ones only fight for this machine's processors."""
WORTH = 1.25
"""What twice as many connections must bring, as a factor, for twice as many again to be tried."""


@dataclass(slots=True)
class Lanes:
    """Begins with a few, and doubles them up to ``most`` as long as each is slow and more of them bring more."""

    most: int
    open: int = 0
    before: float = 0.0  # the rate when they were doubled last

    def __post_init__(self) -> None:
        self.open = min(FEW, self.most)

    def widen(self, rate: float) -> bool:
        """Whether more were opened; ``rate`` in bytes a second, of all together since the last call."""
        if self.open >= self.most or rate >= SLOW * self.open or rate < WORTH * self.before:
            return False
        self.open, self.before = min(self.most, 2 * self.open), rate
        return True
