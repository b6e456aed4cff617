"""Clients' requests while models are released, rolled back and refused: none fails, none meets a bad model."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from blocks.environment import Environment
from blocks.errors import LoadFailed, ServiceLevelMissed, SlipwayError, VerificationFailed
from blocks.registry import ModelRegistry
from flows.deployment import deploy_model
from infra.local.settings import LocalStack
from slipway.releases.service_level import ServiceLevel
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.given import given
from tests.apparatus.models import (
    FEATURES,
    linear_model,
    random_weights,
    register,
    register_linear,
    register_overflowing,
)
from tests.apparatus.replicas import Replica, around_first_load
from tests.apparatus.switching import assert_answered_right, load_on, switch_under_load
from tests.apparatus.thinning import keep
from tests.apparatus.traffic import Traffic, Window
from tests.conftest import Measured

pytestmark = pytest.mark.faults

Registering = Callable[[ModelRegistry, str], None]


@pytest.mark.parametrize("rounds", [1, pytest.param(4, marks=pytest.mark.exhaustive)])
@pytest.mark.timeout(1800)
def test_no_request_fails_while_versions_are_released_and_rolled_back(
    stack: LocalStack, environment: Environment, model_name: str, measured: Measured, rounds: int
) -> None:
    traffic, switches = switch_under_load(stack, environment, model_name, rounds)

    measured(f"{rounds} releases and {rounds} rollbacks: {traffic.summary(switches)}")
    assert_answered_right(environment, model_name, traffic)


def wrong_outputs(registry: ModelRegistry, model_name: str) -> None:
    register_linear(registry, model_name, seed=2, lie=0.1)


def not_a_number(registry: ModelRegistry, model_name: str) -> None:
    register_overflowing(registry, model_name)


def does_not_load(registry: ModelRegistry, model_name: str) -> None:
    inputs = np.ones((2, FEATURES), np.float32)
    model: ModelProto = linear_model(random_weights(2))
    model.graph.node[0].CopyFrom(helper.make_node("Unknown", ["input", "weights"], ["output"], domain="nowhere"))
    model.opset_import.append(helper.make_opsetid("nowhere", 1))
    register(registry, model_name, model, inputs, inputs @ random_weights(2))


BAD_MODELS: dict[str, tuple[Registering, type[SlipwayError]]] = {
    "wrong outputs": (wrong_outputs, VerificationFailed),
    "NaN": (not_a_number, VerificationFailed),
    "does not load": (does_not_load, LoadFailed),
}
WITH_TWO = pytest.mark.parametrize(("bad", "error"), keep(BAD_MODELS, {"wrong outputs"}))
WITH_ONE = pytest.mark.parametrize(("bad", "error"), keep(BAD_MODELS, {"wrong outputs"}))


def assert_refused(
    environment: Environment,
    model_name: str,
    load: AbstractContextManager[Traffic],
    error: type[SlipwayError],
    **parameters: Any,
) -> Traffic:
    """Try to release a bad second version under load; prove that version 1 went on as if nothing had been tried."""
    before = environment.registry.get_aliases(model_name)

    with load as traffic, pytest.raises(error):
        deploy_model(model_name, **parameters)

    assert set(traffic.answered_by) == {1}
    assert len(traffic.outputs_of(1)) <= 2  # gRPC's and HTTP's, rounded
    assert environment.registry.get_aliases(model_name) == before
    assert assert_consistent(environment, model_name) == 1
    return traffic


@WITH_TWO
def test_a_bad_model_answers_no_client(
    stack: LocalStack, environment: Environment, model_name: str, bad: Registering, error: type[SlipwayError]
) -> None:
    given(environment, model_name).released()
    bad(environment.registry, model_name)

    traffic = assert_refused(environment, model_name, load_on(stack, environment, model_name), error)

    assert traffic.failures == []


def test_a_model_too_slow_answers_no_client(stack: LocalStack, environment: Environment, model_name: str) -> None:
    given(environment, model_name).released().registered()
    level = ServiceLevel(max_p99_ms=0.001)

    load = load_on(stack, environment, model_name)
    traffic = assert_refused(environment, model_name, load, ServiceLevelMissed, service_level=level)

    assert traffic.failures == []


@pytest.mark.exhaustive  # of two replicas it answers none either, above
@WITH_ONE
def test_a_bad_model_answers_no_client_of_a_single_replica(
    stack: LocalStack,
    environment: Environment,
    model_name: str,
    bad: Registering,
    error: type[SlipwayError],
    use: Callable[[Environment], object],
) -> None:
    single = replace(
        environment, fleet=environment.fleet.model_copy(update={"replicas": environment.fleet.replicas[:1]})
    )
    use(single)
    given(environment, model_name).released()
    bad(environment.registry, model_name)

    traffic = assert_refused(single, model_name, load_on(stack, single, model_name), error)

    assert traffic.failures == []


def test_a_bad_model_answers_no_client_of_a_replica_restarted_meanwhile(
    stack: LocalStack, environment: Environment, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(environment, model_name).released()
    wrong_outputs(environment.registry, model_name)
    second, away = Replica(stack, 1), list[Window]()

    def restart() -> None:
        begin_s = time.time()
        second.restart()
        time.sleep(0.5)  # gRPC's clients try to connect again a tenth of a second after a failure at the earliest
        away.append((begin_s, time.time()))

    with around_first_load(
        environment.fleet.list_addresses()[0], after=restart
    ):  # the candidate is loaded, not yet proven
        traffic = assert_refused(environment, model_name, load_on(stack, environment, model_name), VerificationFailed)

    assert away
    assert [failure for failure in traffic.failures if not failure.overlaps(away)] == []
    assert {failure.address for failure in traffic.failures} <= {second.address, second.url}
