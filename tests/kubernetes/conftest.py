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
    cluster = Cluster(f"slipway-{uuid.uuid4().hex[:6]}")
    try:
        cluster.install()
        refresh_global_settings_context()
        print(f"\ninstalled in {time.monotonic() - start:.0f} s")  # noqa: T201
        yield cluster
    finally:
        if "SLIPWAY_KEEP_CLUSTER" not in os.environ:
            cluster.remove()
        os.environ.clear()
        os.environ.update(before)
        refresh_global_settings_context()
