"""How the fleet reaches a replica: over one gRPC channel per address, which the process keeps.

A channel that an error came over is given up, so that the next call connects anew: a replica that was restarted is
reached at once, without gRPC's pause before it tries again (up to two minutes by default).
"""

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

import tritonclient.grpc as triton
from cachetools import LRUCache
from tritonclient.utils import InferenceServerException

from blocks.apart import run_apart
from blocks.replica_errors import classify_error
from blocks.transport_security import TransportSecurity

MOST_KEPT = 64
_LARGEST_MESSAGE_BYTES = 2**31 - 1
_OPTIONS = (
    ("grpc.max_send_message_length", _LARGEST_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A channel has a connection of its own: one made anew does not inherit the pause of the one that was given up.
    ("grpc.use_local_subchannel_pool", 1),
    # A host that vanished closes no connection; one that was not used for a while is made anew.
    ("grpc.client_idle_timeout_ms", 30_000),
)


class Transport(Protocol):
    """What lends the fleet a client of one replica; tests put one that injects faults in its place."""

    def connect(self, address: str) -> AbstractContextManager[triton.InferenceServerClient]:
        """Lend a client, to several threads at once; what it raises is raised within the block."""


class _Route(NamedTuple):
    """What two calls that share a channel have in common."""

    address: str
    tls: TransportSecurity | None


class _Channels:
    """The clients this process keeps, one per route; the least used are closed where there are too many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: LRUCache[_Route, triton.InferenceServerClient] = LRUCache(MOST_KEPT)
        self._of_parents: list[object] = []

    def take(self, route: _Route) -> triton.InferenceServerClient:
        """Return the client of a route; whoever no longer uses a client that was given up closes it."""
        with self._lock:
            if (client := self._clients.get(route)) is None:
                client = self._clients[route] = _open_client(route)
            return client

    def give_up(self, route: _Route, client: triton.InferenceServerClient) -> None:
        """Have the next call connect anew, unless another thread has done so."""
        with self._lock:
            if self._clients.get(route) is client:
                del self._clients[route]

    def close(self) -> None:
        """Close every client, while gRPC is still there to do it."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def start_afresh(self) -> None:
        """Begin without clients in a forked process; closing the parent's would wait for threads that are not here."""
        self._of_parents.append(self._clients)
        self._lock, self._clients = threading.Lock(), LRUCache(MOST_KEPT)


_channels = _Channels()
atexit.register(_channels.close)
os.register_at_fork(after_in_child=_channels.start_afresh)


class KeptChannels:
    """The transport of a fleet in service."""

    def __init__(self, tls: TransportSecurity | None = None) -> None:
        self._tls = tls

    @contextmanager
    def connect(self, address: str) -> Iterator[triton.InferenceServerClient]:
        """Lend the client that the process keeps for this address."""
        route = _Route(address, self._tls)
        client = _channels.take(route)
        try:
            yield cast(triton.InferenceServerClient, _Uninterrupted(client))
        except InferenceServerException as error:
            if classify_error(error) is not None:
                _channels.give_up(route, client)
            raise


class _Uninterrupted:
    """A client whose calls no signal breaks off, which would leave its channel locked for every other thread."""

    def __init__(self, client: triton.InferenceServerClient) -> None:
        self._client = client

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return run_apart(partial(getattr(self._client, method), *args, **kwargs))

        return call


def _open_client(route: _Route) -> triton.InferenceServerClient:
    if route.tls is None:
        return triton.InferenceServerClient(route.address, channel_args=[*_OPTIONS])
    options = [*_OPTIONS, *route.tls.options()]
    return triton.InferenceServerClient(route.address, creds=route.tls.credentials(), channel_args=options)
