"""Clients on every replica while versions come and go."""

from contextlib import AbstractContextManager

import numpy as np

from blocks.environment import Environment
from flows.deployment import Deployment, deploy_model
from flows.rollback import rollback_model
from infra.local.settings import LocalStack
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.given import given
from tests.apparatus.models import random_weights, register_linear
from tests.apparatus.traffic import INPUT, Traffic, Window, constant_load
from tests.apparatus.transports import interfering, timed_loads


def load_on(stack: LocalStack, environment: Environment, model_name: str) -> AbstractContextManager[Traffic]:
    """Load every replica of a fleet, over both protocols."""
    addresses = environment.fleet.list_addresses()
    http_of = dict(zip(stack.triton_addresses, stack.triton_urls.values(), strict=False))
    return constant_load(model_name, addresses, [http_of[a] for a in addresses if a in http_of])


def switch_under_load(
    stack: LocalStack, environment: Environment, model_name: str, rounds: int
) -> tuple[Traffic, list[Window]]:
    """Release a version and go back from it, so many times; return the traffic and when a replica was loading.

    The version of seed n is Triton's version n, and version 1 is live afterwards.
    """
    given(environment, model_name).released()
    switches: list[Window] = []
    with interfering(timed_loads(switches)), load_on(stack, environment, model_name) as traffic:
        for version in range(2, rounds + 2):
            register_linear(environment.registry, model_name, seed=version)
            release = deploy_model(model_name)
            assert isinstance(release, Deployment) and release.plan.version == version
            rollback_model(model_name, reason="a test")
    return traffic, switches


def assert_answered_right(environment: Environment, model_name: str, traffic: Traffic) -> None:
    """Assert that nothing failed, and that each version answered what its own weights compute."""
    assert traffic.failures == []
    for version in traffic.answered_by:
        expected = (INPUT @ random_weights(version))[0]
        for output in traffic.outputs_of(version):
            np.testing.assert_allclose(output, expected, atol=2e-3)
    assert assert_consistent(environment, model_name) == 1
