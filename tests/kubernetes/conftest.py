"""One installation for all tests here: it begins with an empty cluster and leaves it empty."""

import os
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.kubernetes.cluster import Cluster


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
        print(f"\ninstalled in {time.monotonic() - start:.0f} s")  # noqa: T201
        yield cluster
    finally:
        cluster.leave()
        if existing is None and "SLIPWAY_KEEP_CLUSTER" not in os.environ:
            cluster.remove()
        os.environ.clear()
        os.environ.update(before)
        refresh_global_settings_context()
