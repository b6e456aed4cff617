"""Where replicas are reached: an address each, or a name behind which the addresses of all of them are."""

import socket
from collections.abc import Sequence
from typing import Annotated

from pydantic import StringConstraints

from blocks.errors import ServiceUnavailable

_DNS = "dns:///"

Replica = Annotated[str, StringConstraints(pattern=r"^(dns:///)?[A-Za-z0-9_.\[\]:-]+:[0-9]+$")]


def expand(replica: Replica) -> list[str]:
    """Return the address itself, or every address that a name resolves to now.

    Raises `ServiceUnavailable` where the name does not resolve.
    """
    if not replica.startswith(_DNS):
        return [replica]
    host, _, port = replica.removeprefix(_DNS).rpartition(":")
    try:
        answers = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServiceUnavailable(
            f"Triton fleet {replica}: the name does not resolve ({error}); expected the address of every replica: "
            "check the headless Service",
            address=replica,
        ) from error
    hosts = sorted({str(answer[4][0]) for answer in answers})
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts]


def find_metrics(address: str, replicas: Sequence[Replica], metrics: Sequence[Replica]) -> str | None:
    """Return where the metrics of the replica at an address are, None where none are named for it.

    Args:
        address: gRPC address of one replica.
        replicas: all replicas, as they are configured.
        metrics: the HTTP addresses of their metrics, in the same order, maybe fewer; of a name only the port counts.
    """
    for replica, place in zip(replicas, metrics, strict=False):
        if address in expand(replica):
            is_name = replica.startswith(_DNS)
            return f"{address.rpartition(':')[0]}:{place.rpartition(':')[2]}" if is_name else place
    return None
