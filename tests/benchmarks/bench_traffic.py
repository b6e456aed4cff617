"""What clients notice of twenty releases and twenty rollbacks: failed requests, and latency during the switches."""

import pytest
from rich.console import Console

from blocks.environment import Environment
from infra.local.settings import LocalStack
from tests.apparatus.switching import assert_answered_right, switch_under_load
from tests.benchmarks.size import Size

ROUNDS = 20
pytestmark = pytest.mark.benchmark


@pytest.mark.timeout(1800)
def test_no_request_fails_during_twenty_releases_and_twenty_rollbacks(
    stack: LocalStack, environment: Environment, model_name: str, size: Size
) -> None:
    rounds = size.choose(ROUNDS, 1)
    traffic, switches = switch_under_load(stack, environment, model_name, rounds)

    inside, outside = traffic.percentile_ms(99, within=switches), traffic.percentile_ms(99, without=switches)
    Console(highlight=False).print(
        f"\n{rounds} releases and {rounds} rollbacks: {traffic.summary(switches)}\n"
        f"p99 during switches {inside / outside:.2f} times that outside"
    )
    assert_answered_right(environment, model_name, traffic)
