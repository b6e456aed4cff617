"""The load on one replica: many clients in a process of their own, told how many ask for how long.

That process is `closed_loop.py`.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from blocks.errors import ServiceUnavailable, bounded
from blocks.fleet import Tensors, TritonFleet

_PROGRAM = Path(__file__).with_name("closed_loop.py")
_END_S = 30.0
WARM_S = 0.5
LEAST = 100  # answers, so that there is a 99th percentile; waited for up to four times as long


class Asked(NamedTuple):
    """What is asked of whom: a model by its name, one version of it, in messages made before."""

    address: str
    model_name: str
    version: int
    inputs: Sequence[Tensors]
    outputs: Sequence[str]


class LoadGenerator:
    """A running process with clients."""

    def __init__(self, asked: Asked, process: "subprocess.Popen[str]", errors: IO[str]) -> None:
        self._asked, self._process, self._errors = asked, process, errors

    def ask(self, clients: int, seconds: float, least: int = LEAST) -> dict[str, Any]:
        """Return what so many clients saw in so many seconds, each asking again as it has its answer.

        There are `requests`, `per_second`, `p50_ms`, `p99_ms`, `load_cpu`, `failures` and the first one's `reason`.
        Raises `ServiceUnavailable` where the process with the clients ended.
        """
        self._tell({"clients": clients, "warm_s": WARM_S, "seconds": seconds, "least": least})
        if not (line := _stdout(self._process).readline()):
            self._errors.seek(0)
            raise ServiceUnavailable(
                f"load on model '{self._asked.model_name}' at Triton {self._asked.address}: the process with the "
                f"clients ended ({bounded(self._errors.read()) or 'without a word'}); try again"
            )
        return dict(json.loads(line))

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            stdin = self._process.stdin
            assert stdin is not None
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # what is read next says so


@contextmanager
def loading(fleet: TritonFleet, asked: Asked) -> Iterator[LoadGenerator]:
    """Yield clients of one replica, in a process that ends with the block."""
    with TemporaryDirectory() as directory, Path(directory, "errors").open("w+") as errors:
        requests = Path(directory, "requests")
        write_messages(requests, asked)
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        generator = LoadGenerator(asked, process, errors)
        try:
            generator._tell(_describe_place(fleet, asked, requests))
            yield generator
        finally:
            _end(process)


def write_messages(path: Path, asked: Asked) -> None:
    """Write one message for each request, each with its length before it."""
    with path.open("wb") as file:
        for message in make_messages(asked):
            file.write(len(message).to_bytes(8, "big"))
            file.write(message)


def make_messages(asked: Asked) -> Iterable[bytes]:
    """Yield each request as gRPC sends it."""
    for tensors in asked.inputs:
        request = triton.service_pb2.ModelInferRequest(model_name=asked.model_name, model_version=str(asked.version))
        for name, array in tensors.items():
            request.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
            request.raw_input_contents.append(_encode(array))
        for name in asked.outputs:
            request.outputs.add(name=name)
        yield request.SerializeToString()


def _encode(array: np.ndarray) -> bytes:
    if array.dtype != np.object_:
        return np.ascontiguousarray(array).tobytes()
    serialized = serialize_byte_tensor(array)
    return bytes(serialized.item()) if serialized.size else b""


def _describe_place(fleet: TritonFleet, asked: Asked, requests: Path) -> dict[str, Any]:
    """Return what the process is told first; keys go over its input, where nobody else reads them."""
    tls = fleet.tls
    key = tls.client_key.get_secret_value() if tls and tls.client_key else None
    return {
        "address": asked.address,
        "options": tls.options() if tls else [],
        "tls": [tls.root_certificates, key, tls.client_certificate] if tls else None,
        "requests": str(requests),
        "timeout_s": fleet.call_timeout_s,
    }


def _end(process: "subprocess.Popen[str]") -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.kill()  # in the middle of a measurement nobody waits for
        process.wait(_END_S)
    _stdout(process).close()


def _stdout(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout is not None
    return process.stdout
