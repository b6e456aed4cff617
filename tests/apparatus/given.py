"""What a test begins with: `given(environment, model_name).released(2).registered()`, and the end of it.

Version n of such a model is `models.linear_model` with the weights of seed n.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import numpy as np
from onnx import numpy_helper

from blocks.environment import Environment
from blocks.errors import SlipwayError
from flows.deployment import deploy_model
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.models import FEATURES, GOLDEN_SAMPLES, linear_model, random_weights, register
from tests.apparatus.prepared import PREPARED, Snapshot

_prepared: dict[tuple[str, ...], dict[int, Snapshot]] = {}
CUT_OFF_BYTES = 256 * 1024
"""Enough ballast for an upload to be cut off in the middle."""


class Given:
    """A model brought, step by step, to where a test begins; `live` and `next` are registry versions, 0 for none."""

    def __init__(self, environment: Environment, model_name: str, ballast_bytes: int = 0) -> None:
        self.model_name = model_name
        self.live, self.next = 0, 0
        self._environment, self._ballast_bytes = environment, ballast_bytes

    def registered(self, count: int = 1, lie: float = 0.0) -> "Given":
        """Register so many versions more; `lie` is added to what their golden samples claim."""
        for _ in range(count):
            self.next += 1
            weights = random_weights(self.next)
            random = np.random.default_rng(self.next + 1)
            inputs = random.standard_normal((GOLDEN_SAMPLES, FEATURES)).astype(np.float32)
            model = linear_model(weights)
            if self._ballast_bytes:
                ballast = random.random(self._ballast_bytes // 4, np.float32)
                model.graph.initializer.append(numpy_helper.from_array(ballast, "ballast"))
            register(self._environment.registry, self.model_name, model, inputs, inputs @ weights + np.float32(lie))
        return self

    def released(self, count: int = 1) -> "Given":
        """Register so many versions more and release each before the next one is there; the first ones are copied."""
        copied = min(count, PREPARED) if self.next == 0 else 0
        if copied:
            self.live = self.next = copied
            _prepare(self._environment, self._ballast_bytes)[copied].copy(self._environment, self.model_name)
        for _ in range(count - copied):
            self.release()
        return self

    def release(self) -> None:
        """Register one version more and release it by the flow."""
        self.registered()
        deploy_model(self.model_name)
        self.live = self.next


def _prepare(environment: Environment, ballast_bytes: int) -> dict[int, Snapshot]:
    """Return what the flow leaves of a model's first releases on these servers, by their number."""
    place = (environment.repository.store.address, *environment.fleet.list_addresses(), str(ballast_bytes))
    if place not in _prepared:
        template, prepared = Given(environment, new_name(), ballast_bytes), dict[int, Snapshot]()
        for number in range(1, PREPARED + 1):
            template.release()
            prepared[number] = Snapshot.of(environment, template.model_name)
        withdraw(environment, template.model_name)
        environment.registry.connect().delete_registered_model(template.model_name)
        _prepared[place] = prepared
    return _prepared[place]


def given(environment: Environment, model_name: str, ballast_bytes: int = 0) -> Given:
    """Return a model of which nothing is registered yet."""
    return Given(environment, model_name, ballast_bytes)


def new_name() -> str:
    """Return a name that no other test has."""
    return f"test-{uuid4().hex[:8]}-onnx"


@contextmanager
def borrowed(pool: list[Given], environment: Environment) -> Iterator[Given]:
    """Lend a model with a live version, one before it and the next one; if it comes back sound it is lent again."""
    lent = pool.pop() if pool else given(environment, new_name(), CUT_OFF_BYTES).released(2).registered()
    yield lent
    try:
        if assert_consistent(environment, lent.model_name) == lent.next:
            lent.live = lent.next
            lent.registered()
    except (AssertionError, SlipwayError):
        withdraw(environment, lent.model_name)
    else:
        pool.append(lent)


def withdraw(environment: Environment, model_name: str) -> None:
    """Take a model from the replicas: each one that stays makes their restarts longer."""
    for name in environment.repository.store.list_prefixes(f"{environment.repository.repository_prefix}/"):
        if model_name in name:
            environment.repository.store.delete_below(f"{environment.repository.repository_prefix}/{name}/")
            for address in environment.fleet.list_addresses():
                with suppress(SlipwayError):
                    environment.fleet.unload_model(address, name)
