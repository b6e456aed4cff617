"""Random models on real servers: whatever one is made of, 16 clients at once never get a wrong answer."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from blocks.environment import Environment
from tests.apparatus.given import new_name, withdraw
from tests.apparatus.kinds.random_kinds import Plan, make_kind, plans
from tests.apparatus.releasing_kinds import CLIENTS, REQUESTS, ask_kind, is_served_in_batches, release_kind


def on_servers(examples: int) -> Callable[[Callable[..., None]], Any]:
    """Have a test repeated with so many plans, the same ones every time; what fails is not sought a smaller form of."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


def assert_answers_every_client_right(environment: Environment, plan: Plan) -> None:
    """Release a random model and ask it; it is taken from the replicas again."""
    kind, model_name = make_kind(plan), new_name()
    try:
        release_kind(environment, model_name, kind, seed=1)
        asked = ask_kind(environment, model_name, kind, seed=1)
        is_batched = is_served_in_batches(environment, model_name)
    finally:
        withdraw(environment, model_name)

    assert asked.wrong == []
    assert asked.answers == CLIENTS * REQUESTS
    assert is_batched == kind.is_batched


@on_servers(2)
@given(plan=plans())
def test_a_random_model_answers_every_client_right(environment: Environment, plan: Plan) -> None:
    assert_answers_every_client_right(environment, plan)


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@on_servers(50)
@given(plan=plans())
def test_fifty_random_models_answer_every_client_right(environment: Environment, plan: Plan) -> None:
    assert_answers_every_client_right(environment, plan)
