"""The way to a Triton server: HTTP by the KServe protocol with tensors as bytes, or gRPC."""

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

import numpy as np
from tritonclient.utils import (
    InferenceServerException,
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from blocks.errors import InvalidInput, ServiceUnavailable, bounded
from infra.prediction.served import Answer, Arrays, Served, Tensor

DEFAULT_URL = "localhost:8000"
_HEADER_LENGTH = "Inference-Header-Content-Length"
_BYTES = "BYTES"


class Endpoint(Protocol):
    """One server."""

    def describe(self, model_name: str, version: str = "") -> Served:
        """Return a model's tensors; `InvalidInput` where it is not served, `ServiceUnavailable` without an answer."""

    def infer(self, served: Served, inputs: Arrays, top: int = 0) -> Answer:
        """Return the model's answer; with `top`, of each output the highest classes as `score:index[:label]`."""


def connect(url: str, timeout_s: float = 30.0) -> Endpoint:
    """Return the way to a server: `host:port`, `http://` and `https://` by HTTP, `grpc://` and `grpcs://` by gRPC.

    Raises `InvalidInput` where the address is none of these.
    """
    scheme, _, rest = url.partition("://") if "://" in url else ("http", "", url)
    parts = urlsplit(f"//{rest}")
    if scheme not in {"http", "https", "grpc", "grpcs"} or not parts.hostname or "@" in parts.netloc:
        raise InvalidInput(
            f"address {bounded(url, 200)!r}: expected a Triton server's host:port, http://host:port or grpc://host:port"
        )
    if scheme.startswith("grpc"):
        return GrpcEndpoint(parts.netloc, scheme == "grpcs", timeout_s)
    return HttpEndpoint(parts.netloc, parts.path.rstrip("/"), scheme == "https", timeout_s)


class HttpEndpoint:
    """A server's HTTP port, over one connection that is kept."""

    def __init__(self, address: str, prefix: str = "", encrypted: bool = False, timeout_s: float = 30.0) -> None:
        kind = http.client.HTTPSConnection if encrypted else http.client.HTTPConnection
        try:
            self._connection = kind(address, timeout=timeout_s)
        except http.client.InvalidURL as error:
            raise InvalidInput(f"address {bounded(address, 200)!r}: {error}; expected host:port") from error
        self._address, self._prefix = address, prefix

    def describe(self, model_name: str, version: str = "") -> Served:
        """Return a model's tensors."""
        _, content = self._send("GET", _place(model_name, version), model_name)
        found = json.loads(content)
        tensors = [
            tuple(Tensor(t["name"], t["datatype"], tuple(map(int, t["shape"]))) for t in found[kind])
            for kind in ("inputs", "outputs")
        ]
        return Served(model_name, version, *tensors)

    def infer(self, served: Served, inputs: Arrays, top: int = 0) -> Answer:
        """Return the model's answer."""
        contents = {name: _encode(array) for name, array in inputs.items()}
        wanted = {"classification": top} if top else {}
        header = json.dumps(
            {
                "inputs": [
                    {
                        "name": name,
                        "datatype": np_to_triton_dtype(array.dtype),
                        "shape": list(array.shape),
                        "parameters": {"binary_data_size": len(contents[name])},
                    }
                    for name, array in inputs.items()
                ],
                "outputs": [{"name": t.name, "parameters": {"binary_data": True, **wanted}} for t in served.outputs],
            }
        ).encode()
        headers = {_HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"}
        start = time.perf_counter()
        length, content = self._send(
            "POST",
            f"{_place(served.name, served.version)}/infer",
            served.name,
            b"".join([header, *contents.values()]),
            headers,
        )
        elapsed_ms = (time.perf_counter() - start) * 1000
        described, rest = json.loads(content[:length]), memoryview(content)[length:]
        outputs = {}
        for tensor in described["outputs"]:
            size = tensor["parameters"]["binary_data_size"]
            outputs[tensor["name"]] = _decode(bytes(rest[:size]), tensor["datatype"], tensor["shape"])
            rest = rest[size:]
        return Answer(outputs, str(described.get("model_version", "")), elapsed_ms)

    def _send(
        self, method: str, place: str, model_name: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Return an answer, and how much of it is JSON."""
        try:
            try:
                response = self._ask(method, place, body, headers)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                response = self._ask(method, place, body, headers)  # Triton closes what was idle
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ServiceUnavailable(
                f"Triton {self._address}: no answer ({bounded(repr(error))}); see that it runs and that its HTTP port "
                "is the one given, or give grpc://host:port"
            ) from error
        if response.status != http.client.OK:
            raise _explain(_read_error(content) or response.reason, model_name, self._address)
        return int(response.headers.get(_HEADER_LENGTH, len(content))), content

    def _ask(self, method: str, place: str, body: bytes, headers: Mapping[str, str] | None) -> http.client.HTTPResponse:
        try:
            self._connection.request(method, f"{self._prefix}{place}", body or None, dict(headers or {}))
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request connects anew
            raise


class GrpcEndpoint:
    """A server's gRPC port."""

    def __init__(self, address: str, encrypted: bool = False, timeout_s: float = 30.0) -> None:
        import tritonclient.grpc as triton

        self._client = triton.InferenceServerClient(address, ssl=encrypted)
        self._address, self._timeout_s = address, timeout_s

    def describe(self, model_name: str, version: str = "") -> Served:
        """Return a model's tensors."""
        try:
            found = self._client.get_model_metadata(model_name, version, client_timeout=self._timeout_s)
        except InferenceServerException as error:
            raise self._explain(error, model_name) from error
        tensors = [
            tuple(Tensor(t.name, t.datatype, tuple(map(int, t.shape))) for t in kind)
            for kind in (found.inputs, found.outputs)
        ]
        return Served(model_name, version, *tensors)

    def infer(self, served: Served, inputs: Arrays, top: int = 0) -> Answer:
        """Return the model's answer."""
        import tritonclient.grpc as triton

        sent = []
        for name, array in inputs.items():
            tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            sent.append(tensor)
        wanted = [triton.InferRequestedOutput(tensor.name, class_count=top) for tensor in served.outputs]
        start = time.perf_counter()
        try:
            result = self._client.infer(served.name, sent, served.version, wanted, client_timeout=self._timeout_s)
        except InferenceServerException as error:
            raise self._explain(error, served.name) from error
        elapsed_ms = (time.perf_counter() - start) * 1000
        outputs = {tensor.name: result.as_numpy(tensor.name) for tensor in served.outputs}
        return Answer(outputs, str(result.get_response().model_version), elapsed_ms)

    def _explain(self, error: InferenceServerException, model_name: str) -> Exception:
        if str(error.status()) in {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"}:
            return ServiceUnavailable(
                f"Triton {self._address}: no answer ({bounded(error.message())}); see that it runs and that its gRPC "
                "port is the one given"
            )
        return _explain(str(error.message()), model_name, self._address)


class _Kind(NamedTuple):
    """What is said where a text of Triton's contains a phrase."""

    phrase: str
    remedy: str


_KINDS = (
    _Kind("unknown model", "see its name with `slipway status`, or release it"),
    _Kind("is not ready", "see `slipway status`: it is loading, or was unloaded"),
    _Kind("is not found", "see which versions are served with `slipway status`"),
)


def _explain(message: str, model_name: str, address: str) -> InvalidInput:
    remedy = next((kind.remedy for kind in _KINDS if kind.phrase in message), "correct the request")
    return InvalidInput(f"model '{model_name}' on Triton {address}: {bounded(message)}; {remedy}")


def _place(model_name: str, version: str) -> str:
    return f"/v2/models/{quote(model_name, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")


def _read_error(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return bounded(content.decode(errors="replace"), 300)


def _encode(array: np.ndarray) -> bytes:
    if array.dtype == np.object_:
        serialized = serialize_byte_tensor(array)
        return bytes(serialized.item()) if serialized.size else b""
    return np.ascontiguousarray(array).tobytes()


def _decode(content: bytes, datatype: str, shape: list[int]) -> np.ndarray:
    if datatype == _BYTES:
        decoded: Any = deserialize_bytes_tensor(content)
    else:
        decoded = np.frombuffer(content, triton_to_np_dtype(datatype))
    return np.asarray(decoded).reshape(shape)
