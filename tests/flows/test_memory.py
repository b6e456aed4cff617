"""What a replica takes while one model comes and goes: what a load takes, the unload after it gives back."""

import statistics
import time

import numpy as np
import psutil
import pytest

from blocks.environment import Environment
from infra.local.settings import LocalStack
from tests.apparatus.given import given
from tests.apparatus.models import FEATURES
from tests.apparatus.replicas import Replica
from tests.conftest import Measured

SETTLED = 5  # cycles after which allocators and libraries have what they keep
LIMIT_MB = 16.0  # whatever the cycles: 0.7 MB were seen in 130
ENDED_S = 60.0
MB = 1024**2
INPUTS = {"input": np.ones((1, FEATURES), np.float32)}


@pytest.mark.exhaustive  # few cycles show nothing
@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cycles", [10, 200], ids="{} cycles".format)
def test_a_replica_takes_no_more_after_many_loads_and_unloads_of_a_model_than_after_few(
    stack: LocalStack, environment: Environment, model_name: str, measured: Measured, cycles: int
) -> None:
    given(environment, model_name).released()
    replica = Replica(stack, 0)

    taken = [_take_after_a_cycle(replica, environment, model_name) for _ in range(SETTLED + cycles)][SETTLED:]

    first, last = statistics.median(taken[:5]), statistics.median(taken[-5:])
    measured(f"{cycles} loads and unloads of one model: a replica took {first:.1f} MB, then {last:.1f} MB")
    assert last - first <= LIMIT_MB


def _take_after_a_cycle(replica: Replica, environment: Environment, model_name: str) -> float:
    """Unload a model, load it again and ask it; return the MB that the server and the model's processes take."""
    fleet = environment.fleet
    fleet.unload_model(replica.address, model_name)
    fleet.load_model(replica.address, model_name)
    fleet.infer(replica.address, model_name, INPUTS, ["output"], None)
    return (replica.process.memory_info().rss + _await_alone(replica, model_name).memory_info().rss) / MB


def _await_alone(replica: Replica, model_name: str) -> psutil.Process:
    """Return the process that computes the model, once those of earlier loads have ended: none is ever left."""
    end = time.monotonic() + ENDED_S
    while len(stubs := replica.stubs(model_name)) != 1:
        assert time.monotonic() < end, f"{len(stubs)} processes of one version that is loaded once"
        time.sleep(0.05)
    return stubs[0]
