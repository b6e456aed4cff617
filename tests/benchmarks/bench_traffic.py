"""What clients notice of twenty releases and twenty rollbacks: failed requests, and latency during the switches."""

import pytest
from rich.console import Console

from blocks.environment import Environment
from infra.local.settings import LocalStack
from tests.apparatus.switching import assert_answered_right, switch_under_load

ROUNDS = 20


@pytest.mark.timeout(1800)
def test_no_request_fails_during_twenty_releases_and_twenty_rollbacks(
    stack: LocalStack, environment: Environment, model_name: str
) -> None:
    traffic, switches = switch_under_load(stack, environment, model_name, ROUNDS)

    inside, outside = traffic.percentile_ms(99, within=switches), traffic.percentile_ms(99, without=switches)
    Console(highlight=False).print(
        f"\n{ROUNDS} releases and {ROUNDS} rollbacks: {traffic.summary(switches)}\n"
        f"p99 during switches {inside / outside:.2f} times that outside"
    )
    assert_answered_right(environment, model_name, traffic)
