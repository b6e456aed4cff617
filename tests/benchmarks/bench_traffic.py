"""What clients notice of twenty releases and twenty rollbacks: failed requests, and latency during the switches.

They are measured in four series, since what else the machine does is in a single ratio as much as the switches are.
"""

import statistics
from uuid import uuid4

import pytest
from rich.console import Console

from blocks.environment import Environment
from infra.local.settings import LocalStack
from tests.apparatus.given import withdraw
from tests.apparatus.switching import assert_answered_right, switch_under_load
from tests.benchmarks.size import Size

SERIES, ROUNDS = 4, 5
LIMIT = 1.2  # of the p99 outside; shown beside what is seen, not held: a load computes on the cores that answer
# tests/flows/test_traffic.py switches under the same load
pytestmark = [pytest.mark.benchmark, pytest.mark.exhaustive]


@pytest.mark.timeout(1800)
def test_no_request_fails_during_twenty_releases_and_twenty_rollbacks(
    stack: LocalStack, environment: Environment, size: Size
) -> None:
    rounds, ratios = size.choose(ROUNDS, 1), []
    for _ in range(size.choose(SERIES, 1)):
        name = f"bench-traffic-{uuid4().hex[:8]}-onnx"
        traffic, switches = switch_under_load(stack, environment, name, rounds)
        inside, outside = traffic.percentile_ms(99, within=switches), traffic.percentile_ms(99, without=switches)
        ratios.append(inside / outside)
        print_figures(f"\n{rounds} releases and {rounds} rollbacks: {traffic.summary(switches)}")
        assert_answered_right(environment, name, traffic)
        withdraw(environment, name)
    seen = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print_figures(f"p99 during switches, outside = 1: {seen}; median {statistics.median(ratios):.2f} (goal {LIMIT:g})")


def print_figures(text: str) -> None:
    Console(highlight=False, soft_wrap=True).print(text)
