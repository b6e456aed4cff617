"""Servers that speak enough of Triton's protocol to be surveyed: each serves one linear model under many names.

All of them are one process: what is timed against them is what asks them. They compute what `models.linear_model` with
the weights of seed 1 does, and a load takes no time.
"""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

SEED, FEATURES, CLASSES = 1, 4, 3


@contextmanager
def answering_servers(ports: list[int], version: int) -> Iterator[list[str]]:
    """Start a server on each port, which serves this version of what it is told to load; yield their addresses."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    command = [sys.executable, __file__, str(version), *addresses]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "answers\n"
            yield addresses
        finally:
            process.kill()


class _Answering(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, version: int) -> None:
        self._version, self._loaded = version, dict[str, None]()
        weights = np.random.default_rng(SEED).standard_normal((FEATURES, CLASSES))
        self._weights = weights.astype(np.float32)

    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return service_pb2.ServerLiveResponse(live=True)

    def RepositoryModelLoad(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._loaded[request.model_name] = None
        return service_pb2.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._loaded.pop(request.model_name, None)
        return service_pb2.RepositoryModelUnloadResponse()

    def RepositoryIndex(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        indexed = service_pb2.RepositoryIndexResponse.ModelIndex
        entries = [indexed(name=name, version=str(self._version), state="READY") for name in [*self._loaded]]
        return service_pb2.RepositoryIndexResponse(models=entries)

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=self._serves(request.name, request.version))

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        if not self._serves(request.model_name, request.model_version):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.model_name}' is not found")
        rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(-1, FEATURES)
        output = service_pb2.ModelInferResponse.InferOutputTensor(
            name="output", datatype="FP32", shape=(len(rows), CLASSES)
        )
        return service_pb2.ModelInferResponse(
            model_name=request.model_name,
            model_version=str(self._version),
            outputs=[output],
            raw_output_contents=[(rows @ self._weights).tobytes()],
        )

    def _serves(self, name: str, version: str) -> bool:
        return name in self._loaded and version in {"", str(self._version)}


def _serve(version: int, addresses: list[str]) -> None:
    servers = []
    for address in addresses:
        server = grpc.server(ThreadPoolExecutor(4))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Answering(version), server)
        server.add_insecure_port(address)
        server.start()
        servers.append(server)
    print("answers", flush=True)  # noqa: T201
    servers[0].wait_for_termination()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2:])
