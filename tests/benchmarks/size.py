"""How large a benchmark is: as its limits are meant, or small, which only shows that it still runs."""

import math
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Size(NamedTuple):
    """What a benchmark counts up to, and what it holds what it measured against."""

    full: bool

    def choose(self, full: T, small: T) -> T:
        """Return how many there are of something at this size."""
        return full if self.full else small

    def most(self, limit: float) -> float:
        """Return what a measured value may be at most."""
        return limit if self.full else math.inf

    def least(self, goal: float) -> float:
        """Return what a measured value has to be at least."""
        return goal if self.full else -math.inf
