"""One release of a model at a time, over any number of runners; different models do not wait for each other."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency

WAIT_S = 1800
_LEASE_S = 60


@contextmanager
def one_release_at_a_time(model_name: str) -> Iterator[None]:
    """Hold the model's slot in a Prefect global concurrency limit; wait at most half an hour for it.

    The lease of a holder that crashed ends within a minute.
    """
    limit = f"slipway-release-{model_name}"
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(limit, 1)
    with concurrency(limit, timeout_seconds=WAIT_S, lease_duration=_LEASE_S, strict=True):
        yield
