"""How long MLflow's server may take to answer a request.

MLflow reads that from the environment of the process with each request. A file is another matter than a question: the
server answers an upload when it has handed the whole file on to its store, and a download when it has fetched it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_transfers: list[int] = []
_lock = Lock()


def limit_requests(timeout_s: int) -> None:
    """Give each request `timeout_s` seconds from now on, or as long as the transfers of other threads need."""
    with _lock:
        os.environ[_TIMEOUT] = str(max([timeout_s, *_transfers]))


@contextmanager
def allow_transfers(transfer_timeout_s: int, request_timeout_s: int) -> Iterator[None]:
    """Give each request of the process `transfer_timeout_s` seconds meanwhile, and `request_timeout_s` afterwards."""
    _transfers.append(transfer_timeout_s)
    limit_requests(request_timeout_s)
    try:
        yield
    finally:
        _transfers.remove(transfer_timeout_s)
        limit_requests(request_timeout_s)
