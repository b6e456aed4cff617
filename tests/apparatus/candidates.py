"""Models with some versions released and the next one registered: what a test of a release begins with."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from onnx import numpy_helper

from blocks.environment import Environment
from blocks.errors import SlipwayError
from flows.deployment import deploy_model
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.models import FEATURES, GOLDEN_SAMPLES, linear_model, random_weights, register

BULK_BYTES = 256 * 1024


class Candidate:
    """A model of a test's own, with its live registry version (0 where there is none) and the next one."""

    def __init__(self, environment: Environment, released: int) -> None:
        self.model_name = f"test-{uuid.uuid4().hex[:8]}-onnx"
        self.live, self.next = 0, 0
        self._registry = environment.registry
        for _ in range(released):
            self.register()
            deploy_model(self.model_name)
        self.register()

    def register(self) -> None:
        """Register another version, large enough to be cut off in the middle; the one before it is live by now."""
        self.live, self.next = self.next, self.next + 1
        random = np.random.default_rng(self.next)
        weights, inputs = random_weights(self.next), random.standard_normal((GOLDEN_SAMPLES, FEATURES), np.float32)
        model = linear_model(weights)
        model.graph.initializer.append(numpy_helper.from_array(random.random(BULK_BYTES // 4, np.float32), "bulk"))
        register(self._registry, self.model_name, model, inputs, inputs @ weights)


@contextmanager
def borrowed(pool: list[Candidate], environment: Environment) -> Iterator[Candidate]:
    """Lend a model with a live version, one before it and the next one; if it comes back sound it is lent again."""
    candidate = pool.pop() if pool else Candidate(environment, released=2)
    yield candidate
    try:
        if assert_consistent(environment, candidate.model_name) == candidate.next:
            candidate.register()
    except (AssertionError, SlipwayError):
        withdraw(environment, candidate.model_name)
    else:
        pool.append(candidate)


def withdraw(environment: Environment, model_name: str) -> None:
    """Take a model from the replicas: each one that stays makes their restarts longer."""
    for name in environment.repository.store.prefixes(f"{environment.repository.repository_prefix}/"):
        if model_name in name:
            environment.repository.store.delete_below(f"{environment.repository.repository_prefix}/{name}/")
            for address in environment.fleet.addresses():
                with suppress(SlipwayError):
                    environment.fleet.unload_model(address, name)
