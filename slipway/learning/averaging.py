"""The average of a model's weights over the last steps, which generalises better than those of any one of them.

An exponential moving average (Polyak and Juditsky, 1992; "Mean teachers", Tarvainen and Valpola, 2017).
"""

from copy import deepcopy

import torch
from torch import nn


class WeightAverage:
    """A model of its own that follows another one's weights and statistics, step by step."""

    def __init__(self, model: nn.Module, steps: float) -> None:
        """Begin with a model's weights; the average reaches `steps` back."""
        self.model = deepcopy(model).requires_grad_(False)
        followed, own = list(model.state_dict().values()), list(self.model.state_dict().values())
        self._pairs = [pair for pair in zip(own, followed, strict=True) if pair[0].is_floating_point()]
        self._counts = [pair for pair in zip(own, followed, strict=True) if not pair[0].is_floating_point()]
        self._weight = min(1.0, 1 / steps)

    @torch.no_grad()
    def follow(self) -> None:
        """Take in the weights as they are now."""
        own, followed = zip(*self._pairs, strict=True)
        torch._foreach_lerp_(own, followed, self._weight)  # as PyTorch's own averages do, one kernel for all
        for count, now in self._counts:
            count.copy_(now)
