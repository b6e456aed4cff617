"""Gate 3 on the serving replica: a candidate that keeps its limits is released, one that misses them never serves."""

from dataclasses import replace

import pytest

from blocks.environment import Environment, using
from blocks.errors import InvalidInput, ServiceLevelMissed
from flows.deployment import Deployment, deploy_model
from slipway.releases.service_level import ServiceLevel
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.given import Given, given


@pytest.fixture(autouse=True)
def model(environment: Environment, model_name: str) -> Given:
    """What each test begins with: version 1 live, version 2 registered."""
    return given(environment, model_name).released().registered()


def test_candidate_and_live_version_are_measured_on_the_same_replica(environment: Environment, model_name: str) -> None:
    level = ServiceLevel(
        max_p99_ms=5_000, max_p99_ratio=1_000, min_throughput_per_s=1, max_memory_mib=5_000, requests=40
    )

    release = deploy_model(model_name, service_level=level)

    assert isinstance(release, Deployment) and release.receipt is not None and release.receipt.candidate is not None
    found = release.receipt.candidate.service_level
    assert found is not None and found.live is not None and found.candidate.requests == found.live.requests == 40
    assert found.memory_mib is not None and "gate 3" in release.receipt.gates
    assert release.receipt.candidate.live_during_load is not None
    assert assert_consistent(environment, model_name) == 2


def test_a_candidate_that_misses_a_limit_is_undone(environment: Environment, model_name: str) -> None:
    with pytest.raises(ServiceLevelMissed, match=r"version 2 on Triton .*: gate 3 failed, p99 .* > 0.001 ms allowed"):
        deploy_model(model_name, service_level=ServiceLevel(max_p99_ms=0.001))

    assert assert_consistent(environment, model_name) == 1


def test_a_memory_limit_needs_the_replicas_metrics(environment: Environment, model_name: str) -> None:
    blind = replace(environment, fleet=environment.fleet.model_copy(update={"metrics": []}))

    with using(blind), pytest.raises(InvalidInput, match=r"names no metrics address.*SLIPWAY_TRITON_METRICS"):
        deploy_model(model_name, service_level=ServiceLevel(max_memory_mib=100))

    assert assert_consistent(environment, model_name) == 1
