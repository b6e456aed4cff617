"""The train-model flow as a pod runs it, with a network whose epochs are long enough to be killed in."""

import time
from typing import Any
from unittest import mock

from flows.training import train_model
from tests.apparatus.networks import NormalisedNetwork

__all__ = ["train_model"]

STEP_S = 0.05


class SlowNetwork(NormalisedNetwork):
    """Computes the same, each step of its training a twentieth of a second longer."""

    def train(self, mode: bool = True) -> Any:
        time.sleep(STEP_S if mode else 0)
        return super().train(mode)


mock.patch("slipway.learning.training.ResNet18", SlowNetwork).start()
