"""One installation for all tests here: it begins with an empty cluster and leaves it empty."""

import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from blocks.registry import ModelRegistry
from tests.apparatus.automations import pause_schedules
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.released import DIGITS, POD_S, TRAINED_S, release_of
from tests.kubernetes.runs import completed, read_run, watched_pods


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Everything installed, with two Triton replicas; this process' Prefect points there."""
    if "KUBECONFIG" not in os.environ:
        pytest.skip("KUBECONFIG names no cluster")
    from prefect.context import refresh_global_settings_context

    before, start = dict(os.environ), time.monotonic()
    existing = os.environ.get("SLIPWAY_TEST_NAMESPACE")  # left by an earlier session with SLIPWAY_KEEP_CLUSTER=1
    cluster = Cluster(existing or f"slipway-{uuid.uuid4().hex[:6]}")
    try:
        if existing is None:
            cluster.install()
        cluster.reach()
        refresh_global_settings_context()
        pause_schedules()
        cluster.installed_in_s = time.monotonic() - start
        yield cluster
    finally:
        cluster.leave()
        if existing is None and "SLIPWAY_KEEP_CLUSTER" not in os.environ:
            cluster.remove()
        os.environ.clear()
        os.environ.update(before)
        refresh_global_settings_context()


@pytest.fixture(scope="session")
def registry(cluster: Cluster) -> ModelRegistry:
    return cluster.registry


@pytest.fixture(scope="session")
def trained(cluster: Cluster) -> dict[str, Any]:
    """The first training, from its start by `prefect deployment run` to the release its alias triggers."""
    start = time.monotonic()
    with watched_pods(cluster) as pods:
        training = completed(cluster.run("train-model/kubernetes", **DIGITS), TRAINED_S)
        release = release_of(1)
        completed(release, POD_S)
    return {"training": training, "release": read_run(release), "pods": pods, "total_s": time.monotonic() - start}
