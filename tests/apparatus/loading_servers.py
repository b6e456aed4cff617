"""Servers that speak enough of Triton's protocol to be loaded: each takes a second for it, then serves version 1.

All of them are one process, and none computes anything: many replicas cost no more than the time that they take.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

LOAD_S = 1.0
VERSION = 1


@contextmanager
def loading_servers(ports: list[int]) -> Iterator[list[str]]:
    """Start a server on each port; yield their addresses once all answer."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    with subprocess.Popen([sys.executable, __file__, *addresses], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "answers\n"
            yield addresses
        finally:
            process.kill()


class _Loading(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self) -> None:
        self._loaded: list[str] = []

    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return service_pb2.ServerLiveResponse(live=True)

    def RepositoryModelLoad(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        time.sleep(LOAD_S)
        self._loaded.append(request.model_name)
        return service_pb2.RepositoryModelLoadResponse()

    def RepositoryIndex(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        indexed = service_pb2.RepositoryIndexResponse.ModelIndex
        entries = [indexed(name=name, version=str(VERSION), state="READY") for name in self._loaded]
        return service_pb2.RepositoryIndexResponse(models=entries)


def _serve(addresses: list[str]) -> None:
    servers = []
    for address in addresses:
        server = grpc.server(ThreadPoolExecutor(2))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Loading(), server)
        server.add_insecure_port(address)
        server.start()
        servers.append(server)
    print("answers", flush=True)  # noqa: T201
    servers[0].wait_for_termination()


if __name__ == "__main__":
    _serve(sys.argv[1:])
