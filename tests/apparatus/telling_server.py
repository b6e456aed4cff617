"""A server that speaks enough of Triton's protocol to tell over which connection it was asked: `fleet.read_index` says.

It is a process of its own, which a test freezes and kills, and starts within a tenth of a second.
"""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

if TYPE_CHECKING:  # the server is to start fast
    from blocks.fleet import TritonFleet


class TellingServer:
    """The server, on one port for as long as it lives."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        """Start it and return when it answers."""
        command = [sys.executable, __file__, self.address]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "answers\n"

    def kill(self) -> None:
        """End it by SIGKILL and return when it has ended."""
        self._process.kill()
        self._process.communicate()

    def freeze(self) -> None:
        """Stop it by SIGSTOP and return when each of its threads stands: connections stay, nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        """Let it go on after it was frozen."""
        self._process.send_signal(signal.SIGCONT)


def told_connection(fleet: "TritonFleet", address: str) -> tuple[str, int]:
    """Return over which connection a server was asked, and the number of its process."""
    [(connection, (process,))] = fleet.read_index(address).items()
    return connection, process


class _Telling(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def RepositoryIndex(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        entry = service_pb2.RepositoryIndexResponse.ModelIndex(
            name=context.peer(), version=str(os.getpid()), state="READY"
        )
        return service_pb2.RepositoryIndexResponse(models=[entry])


def _serve(address: str) -> None:
    server = grpc.server(ThreadPoolExecutor(8))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Telling(), server)
    server.add_insecure_port(address)
    server.start()
    print("answers", flush=True)  # noqa: T201
    server.wait_for_termination()


if __name__ == "__main__":
    _serve(sys.argv[1])
