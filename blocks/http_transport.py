"""How the fleet reaches a replica over HTTP, by the KServe protocol: for those whose gRPC port is not open.

It lends clients that answer as the gRPC one does, errors included, so that the fleet need not know. gRPC is better
where there is a choice: a load that is asked for over HTTP keeps other HTTP requests waiting for its whole length.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import httpx
import tritonclient.grpc as triton
from google.protobuf.json_format import ParseDict
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

_GRPC_HEADER = "triton-grpc-protocol-"  # over HTTP a restricted API's header has no such prefix
_BINARY = "Inference-Header-Content-Length"
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class _Index(NamedTuple):
    """The models of a replica, as the gRPC client has them."""

    models: list[Any]


class _Configuration(NamedTuple):
    """A model's configuration, as the gRPC client has it."""

    config: Any


class HttpConnections:
    """The transport of a fleet whose addresses are those of HTTP ports."""

    def __init__(self, encrypted: bool = False) -> None:
        self._scheme = "https" if encrypted else "http"

    @contextmanager
    def connect(self, address: str) -> Iterator[triton.InferenceServerClient]:
        """Lend a client of one replica."""
        yield cast(triton.InferenceServerClient, HttpClient(f"{self._scheme}://{address}"))


class HttpClient:
    """What the fleet asks of the gRPC client, over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url

    def is_server_live(self, client_timeout: float) -> bool:
        """Tell whether the server is there."""
        return self._send("GET", "/v2/health/live", client_timeout).is_success

    def is_model_ready(self, model_name: str, version: str, client_timeout: float) -> bool:
        """Tell whether a version of a model is served."""
        self._require_answer(
            answer := self._send("GET", f"{_name(model_name, version)}/ready", client_timeout), absent=True
        )
        return answer.is_success

    def load_model(self, model_name: str, headers: Mapping[str, str] | None, client_timeout: float) -> None:
        """Load a model."""
        place = f"/v2/repository/models/{quote(model_name, safe='')}/load"
        self._require_answer(self._send("POST", place, client_timeout, headers, {}))

    def unload_model(self, model_name: str, headers: Mapping[str, str] | None, client_timeout: float) -> None:
        """Unload a model."""
        place = f"/v2/repository/models/{quote(model_name, safe='')}/unload"
        self._require_answer(self._send("POST", place, client_timeout, headers, {}))

    def get_model_repository_index(self, headers: Mapping[str, str] | None, client_timeout: float) -> _Index:
        """Return every model of the repository, with its versions and their states."""
        answer = self._send("POST", "/v2/repository/index", client_timeout, headers, {})
        self._require_answer(answer)
        entry = service_pb2.RepositoryIndexResponse.ModelIndex
        return _Index([ParseDict(found, entry(), ignore_unknown_fields=True) for found in answer.json()])

    def get_model_metadata(self, model_name: str, client_timeout: float) -> Any:
        """Return the tensors of a model."""
        answer = self._send("GET", _name(model_name), client_timeout)
        self._require_answer(answer)
        return ParseDict(answer.json(), service_pb2.ModelMetadataResponse(), ignore_unknown_fields=True)

    def get_model_config(
        self, model_name: str, headers: Mapping[str, str] | None, client_timeout: float
    ) -> _Configuration:
        """Return the configuration a model runs with."""
        answer = self._send("GET", f"{_name(model_name)}/config", client_timeout, headers)
        self._require_answer(answer)
        return _Configuration(ParseDict(answer.json(), model_config_pb2.ModelConfig(), ignore_unknown_fields=True))

    def infer(
        self,
        model_name: str,
        inputs: Sequence[triton.InferInput],
        model_version: str,
        outputs: Sequence[triton.InferRequestedOutput],
        client_timeout: float,
    ) -> triton.InferResult:
        """Return the answer to one request, its tensors sent and received as bytes."""
        contents = [tensor._get_content() for tensor in inputs]
        header = json.dumps(
            {
                "inputs": [
                    {
                        "name": tensor.name(),
                        "datatype": tensor.datatype(),
                        "shape": list(tensor.shape()),
                        "parameters": {"binary_data_size": len(content)},
                    }
                    for tensor, content in zip(inputs, contents, strict=True)
                ],
                "outputs": [{"name": output.name(), "parameters": {"binary_data": True}} for output in outputs],
            }
        ).encode()
        answer = self._send(
            "POST",
            f"{_name(model_name, model_version)}/infer",
            client_timeout,
            {_BINARY: str(len(header)), "Content-Type": "application/octet-stream"},
            b"".join([header, *contents]),
        )
        self._require_answer(answer)
        return triton.InferResult(_read_answer(answer))

    def _send(
        self,
        method: str,
        place: str,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        content: bytes | dict[str, Any] | None = None,
    ) -> httpx.Response:
        sent = {name.removeprefix(_GRPC_HEADER): value for name, value in (headers or {}).items()}
        body: dict[str, Any] = {"json": content} if isinstance(content, dict) else {"content": content}
        try:
            return _keep_client().request(method, f"{self._url}{place}", headers=sent, timeout=timeout_s, **body)
        except httpx.TimeoutException as error:
            raise InferenceServerException(f"no answer: {error!r}", "StatusCode.DEADLINE_EXCEEDED") from error
        except httpx.HTTPError as error:
            raise InferenceServerException(str(error) or repr(error), "StatusCode.UNAVAILABLE") from error

    def _require_answer(self, answer: httpx.Response, absent: bool = False) -> None:
        if answer.is_success or (absent and answer.status_code in {400, 404}):
            return
        try:
            said = str(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            said = answer.text[:1000] or answer.reason_phrase
        status = _STATUSES.get(answer.status_code, "UNKNOWN")
        raise InferenceServerException(said, f"StatusCode.{status}")


@cache
def _keep_client() -> httpx.Client:
    # Triton closes what was idle for long; one that is closed as it is used is connected once more.
    return httpx.Client(transport=httpx.HTTPTransport(retries=1), trust_env=True)


def _name(model_name: str, version: str = "") -> str:
    return f"/v2/models/{quote(model_name, safe='')}" + (f"/versions/{version}" if version else "")


def _read_answer(answer: httpx.Response) -> Any:
    """Return an answer as gRPC would have brought it."""
    length = int(answer.headers.get(_BINARY, len(answer.content)))
    described, rest = json.loads(answer.content[:length]), answer.content[length:]
    response = service_pb2.ModelInferResponse(
        model_name=described["model_name"], model_version=str(described.get("model_version", ""))
    )
    for tensor in described.get("outputs", []):
        response.outputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        size = tensor["parameters"]["binary_data_size"]
        response.raw_output_contents.append(rest[:size])
        rest = rest[size:]
    return response
