"""One release of a model at a time, over any number of runners; different models do not wait for each other."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency

from blocks.errors import ReleaseInProgress

WAIT_S = 1800
_LEASE_S = 60


@contextmanager
def one_release_at_a_time(model_name: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the model's slot in a Prefect global concurrency limit.

    The lease of a holder that crashed ends within a minute. Raises `ReleaseInProgress` after `wait_s` seconds.
    """
    limit = f"slipway-release-{model_name}"
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(limit, 1)
    with ExitStack() as held:
        try:
            held.enter_context(concurrency(limit, timeout_seconds=wait_s, lease_duration=_LEASE_S, strict=True))
        except TimeoutError as error:
            raise ReleaseInProgress(
                f"model '{model_name}': another release has held the concurrency limit '{limit}' for {wait_s:g} s; "
                "wait for it or cancel it, then release again"
            ) from error
        yield
