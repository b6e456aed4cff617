"""How large a benchmark is: as its limits are meant, or small, which only shows that it still runs."""

import math
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Size(NamedTuple):
    """What a benchmark counts up to, and what it holds what it measured against."""

    full: bool
    pace: float = 1.0  # how many times longer this machine takes than the one that limits in seconds are of

    def choose(self, full: T, small: T) -> T:
        """Return how many there are of something at this size."""
        return full if self.full else small

    def most(self, limit: float) -> float:
        """Return what a measured value may be at most."""
        return limit if self.full else math.inf

    def within(self, limit_s: float) -> float:
        """Return how many seconds something may take at most for which there are `limit_s` where the limits are of."""
        return self.most(limit_s * self.pace)

    def least(self, goal: float) -> float:
        """Return what a measured value has to be at least."""
        return goal if self.full else -math.inf
