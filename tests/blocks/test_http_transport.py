"""Over HTTP the fleet gets the same answers, and the same errors, as over gRPC."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from blocks.environment import Environment
from blocks.errors import AccessRefused, InvalidInput, LoadFailed, ReplicaLost, ServiceUnavailable, VerificationFailed
from blocks.fleet import TritonFleet
from blocks.http_transport import HttpConnections
from infra.local.settings import LocalStack
from tests.apparatus.faults import silent_server
from tests.apparatus.models import random_weights
from tests.apparatus.ports import free_port


def over_http(url: str, key: SecretStr | None = None, timeout_s: float = 10) -> TritonFleet:
    address = url.removeprefix("http://")
    return TritonFleet(replicas=[address], control_key=key, call_timeout_s=timeout_s).through(HttpConnections())


class _Recorder(BaseHTTPRequestHandler):
    """Answers every inference with what it was sent, and everything else with what a test says."""

    status, said = 200, b"{}"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/infer"):
            length = int(self.headers["Inference-Header-Content-Length"])
            asked, rest = json.loads(body[:length]), body[length:]
            outputs = [dict(tensor, name=f"got {tensor['name']}") for tensor in asked["inputs"]]
            header = json.dumps({"model_name": "m", "model_version": "3", "outputs": outputs}).encode()
            self._answer(200, header + rest, {"Inference-Header-Content-Length": str(len(header))})
        else:
            self._answer(type(self).status, type(self).said, {})

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def recorder() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    _Recorder.status, _Recorder.said = 200, b"{}"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array([[True, False]]),
        np.array([[1, 2]], np.float16),
        np.array([[b"a", "ä".encode()]], object),
        np.zeros((0, 4), np.int64),
    ],
    ids=["FP32", "BOOL", "FP16", "BYTES", "empty"],
)
def test_tensors_go_and_come_as_they_are(recorder: str, array: np.ndarray) -> None:
    fleet = over_http(recorder)

    [answer] = fleet.answers(fleet.list_addresses()[0], "m", [{"x": array}], ["got x"], 3)

    assert answer.version == 3
    np.testing.assert_array_equal(answer.outputs["got x"], array)
    assert answer.outputs["got x"].dtype == array.dtype


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (403, b'{"error": "This API is restricted, expecting header \'slipway-control\'"}', AccessRefused),
        (401, b"who are you", AccessRefused),
        (400, b'{"error": "failed to load, no such file"}', LoadFailed),
        (503, b'{"error": "explicit model load / unload is not allowed if polling is enabled"}', LoadFailed),
        (502, b"<html>bad gateway</html>", ServiceUnavailable),
        (504, b"", ServiceUnavailable),
    ],
)
def test_what_a_status_means_is_what_its_grpc_status_means(
    recorder: str, status: int, said: bytes, error: type[Exception]
) -> None:
    _Recorder.status, _Recorder.said = status, said
    fleet = over_http(recorder)

    with pytest.raises(error):
        fleet.load_model(fleet.list_addresses()[0], "m")


def test_a_server_that_is_away_is_told_from_one_that_is_silent() -> None:
    away = over_http(f"127.0.0.1:{free_port()}")

    with pytest.raises(ReplicaLost):
        away.ping(away.list_addresses()[0])
    with silent_server() as url:
        silent = over_http(url, timeout_s=0.5)
        with pytest.raises(ServiceUnavailable, match=r"within 0\.5 s"):
            silent.ping(silent.list_addresses()[0])


def test_a_real_replica_answers_alike_over_both(stack: LocalStack, environment: Environment, model_name: str) -> None:
    from flows.deployment import deploy_model
    from tests.apparatus.models import register_linear

    register_linear(environment.registry, model_name, seed=1)
    deploy_model(model_name)
    fleet, grpc = over_http(stack.triton_urls["triton-0"], environment.fleet.control_key), environment.fleet
    http, other = fleet.list_addresses()[0], stack.triton_addresses[0]
    rows = np.ones((2, 4), np.float32)

    assert fleet.read_index(http)[model_name] == grpc.read_index(other)[model_name] == (1,)
    assert fleet.is_ready(http, model_name, 1) and not fleet.is_ready(http, model_name, 2)
    assert fleet.describe(http, model_name) == grpc.describe(other, model_name)
    assert not fleet.computes_on_gpu(http, model_name)
    answer = fleet.infer(http, model_name, {"input": rows}, ["output"], 1)
    np.testing.assert_allclose(answer["output"], rows @ random_weights(1), rtol=1e-4)
    with pytest.raises(VerificationFailed):
        fleet.infer(http, model_name, {"input": rows}, ["output"], 7)
    with pytest.raises(InvalidInput, match="is not served"):
        fleet.describe(http, f"{model_name}-absent")
    with pytest.raises(AccessRefused):
        over_http(stack.triton_urls["triton-0"]).read_index(http)
