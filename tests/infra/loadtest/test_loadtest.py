"""A load test: real clients against a real Triton, and a mark on the dashboards."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr
from tritonclient.grpc import InferenceServerClient

from blocks.errors import InvalidInput
from infra.command.loadtest import loadtest
from infra.errors import ClusterError, LoadTestError
from infra.kubernetes.smoke import Asked, name_replica, smoke_test
from infra.loadtest.annotations import GrafanaSettings, annotated
from infra.loadtest.load import Load, make_command, read_figures, run_load
from infra.loadtest.requests import count_outputs, load_requests
from infra.prediction.requests import make_request
from infra.prediction.served import Served, Tensor
from tests.apparatus.models import linear_model, random_weights
from tests.apparatus.plain_triton import PlainTriton, plain_triton

SERVED = Served("linear", "", (Tensor("input", "FP32", (-1, 4)),), (Tensor("output", "FP32", (-1, 3)),))
CONFIG = """
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "input" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 3 ] } ]
"""


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainTriton]:
    """A Triton that serves one linear model from a directory."""
    place = tmp_path_factory.mktemp("plain")
    version = place / "models" / "linear" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(linear_model(random_weights(1)).SerializeToString())
    (version.parent / "config.pbtxt").write_text(CONFIG)
    with plain_triton(place / "triton", place / "models") as running:
        yield running


@pytest.fixture
def grafana() -> Iterator[tuple[str, list[tuple[str, str, dict[str, Any]]]]]:
    """What keeps annotations, as Grafana's API takes them, and what it was sent."""
    sent: list[tuple[str, str, dict[str, Any]]] = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            allowed = self.headers["Authorization"] == "Bearer token"
            if allowed:
                sent.append((self.command, self.path, content))
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"id": 7}).encode())

        do_PATCH = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", sent
        server.shutdown()


def test_different_requests_are_made_up_and_a_file_s_is_sent_word_for_word(tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    path.write_text(json.dumps(make_request(SERVED, seed=3), indent=1))

    made_up, [given] = load_requests(SERVED, None), load_requests(SERVED, path)

    assert len({request.text for request in made_up}) == len(made_up) > 1
    assert given.text == path.read_text() and given.inputs["input"].shape == (1, 4)


@pytest.mark.parametrize(("text", "count"), [('{"outputs": [{"data": [1]}]}', 1), ('{"outputs": [{}]}', 0), ("x", 0)])
def test_an_answer_is_one_with_data(text: str, count: int) -> None:
    assert count_outputs(text) == count


def test_locust_is_told_all_that_was_given(tmp_path: Path) -> None:
    load = Load(model="m", url="grpc://h:1", version="2", users=3, duration_s=4, request=Path("in put.json"))

    command = make_command(load, tmp_path / "x")

    given = {"--model=m", "--host=grpc://h:1", "--model-version=2", "--users=3", "--run-time=4s"}
    assert given | {f"--input={Path('in put.json').absolute()}", f"--csv={tmp_path / 'x'}"} <= set(command)


def test_figures_are_those_of_all_requests_with_the_reasons_of_failures(tmp_path: Path) -> None:
    header = "Type,Name,Request Count,Failure Count,Requests/s,50%,95%,99%\n"
    (tmp_path / "x_stats.csv").write_text(f"{header}gRPC,m,9,2,3.5,1,2,3\n,Aggregated,10,2,3.5,1,2,N/A\n")
    (tmp_path / "x_failures.csv").write_text("Method,Name,Error,Occurrences\ngRPC,m,away,2\n")

    figures = read_figures(tmp_path / "x")

    assert figures == (10, 2, 3.5, 1.0, 2.0, 0.0, ("2 x away",))


def test_a_load_test_is_marked_with_its_end_and_figures(grafana: tuple[str, list[Any]]) -> None:
    url, sent = grafana
    settings = GrafanaSettings(grafana_url=f"{url}/", grafana_token=SecretStr("token"))

    with annotated("m", "load", settings) as finish:
        finish("done")
    with pytest.raises(KeyboardInterrupt), annotated("m", "load", settings):
        raise KeyboardInterrupt

    assert [(method, path) for method, path, _ in sent] == [
        ("POST", "/api/annotations"),
        ("PATCH", "/api/annotations/7"),
    ] * 2
    assert sent[0][2]["tags"] == ["loadtest", "m"] and sent[1][2]["timeEnd"] >= sent[0][2]["time"]
    assert [content["text"] for _, _, content in sent] == ["load", "done", "load", "load: broke off"]


def test_a_grafana_that_refuses_the_mark_ends_it_before_anything_is_asked(grafana: tuple[str, list[Any]]) -> None:
    settings = GrafanaSettings(grafana_url=grafana[0], grafana_token=SecretStr("another"))

    with (
        pytest.raises(LoadTestError, match=r"401.*SLIPWAY_GRAFANA_TOKEN"),
        annotated("m", "load", settings),
    ):
        pytest.fail("was asked")


def count_answers(triton: PlainTriton) -> int:
    """Return how many requests Triton itself says it has answered."""
    with InferenceServerClient(triton.grpc) as client:
        (model,) = client.get_inference_statistics("linear").model_stats
    return int(model.inference_stats.success.count)


@pytest.mark.parametrize("over", ["http", "grpc"])
def test_clients_ask_at_once_and_every_request_is_answered(triton: PlainTriton, over: str) -> None:
    load = Load(model="linear", url=f"{over}://{getattr(triton, over)}", users=4, rate=4, duration_s=3)
    before = count_answers(triton)

    figures = run_load(load)

    assert figures.requests == count_answers(triton) - before > 4, "the last second's are among them"
    assert (figures.failures, figures.reasons) == (0, ())
    assert figures.p50_ms <= figures.p99_ms


def test_requests_that_fail_are_counted_and_end_the_command(triton: PlainTriton, tmp_path: Path) -> None:
    nine_rows = Served("linear", "", (Tensor("input", "FP32", (9, 4)),), ())  # one more than the model takes
    path = tmp_path / "input.json"
    path.write_text(json.dumps(make_request(nine_rows)))

    with pytest.raises(LoadTestError, match=r"requests failed \(\d+ x .*batch-size must be <= 8"):
        loadtest("linear", url=triton.http, users=1, duration_s=1, input=path)


def test_a_model_that_is_not_served_is_said_before_anything_starts(triton: PlainTriton) -> None:
    with pytest.raises(InvalidInput, match="model 'nothing'"):
        loadtest("nothing", url=triton.http)


def test_one_prediction_over_http_and_grpc_made_up_of_a_shape_or_of_a_file(triton: PlainTriton, tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    path.write_text(json.dumps(make_request(SERVED)))
    replicas = [name_replica(triton.grpc), name_replica(f"http://{triton.http}")]

    answers = [
        smoke_test(asked, replica)
        for replica in replicas
        for asked in (Asked("linear"), Asked("linear", shape="2,4"), Asked("linear", request=path))
    ]

    assert [(answer.version, answer.gpu) for answer in answers] == [(1, None)] * 6


def test_what_cannot_be_asked_says_so(triton: PlainTriton) -> None:
    replica = name_replica(f"http://{triton.http}")

    with pytest.raises(ClusterError, match="release it"):
        smoke_test(Asked("nothing"), replica)
    with pytest.raises(InvalidInput, match=r"expected to be asked with input .2, 5.; correct --shape"):
        smoke_test(Asked("linear", shape="2,5"), replica)
    with pytest.raises(InvalidInput, match="leave --shape 1,4 out"):
        smoke_test(Asked("linear", Path("x"), "1,4"), replica)
    with pytest.raises(ClusterError, match=r"batch-size must be <= 8.*--shape"):
        smoke_test(Asked("linear", shape="9,4"), replica)
    with pytest.raises(ClusterError, match="on no GPU"):
        smoke_test(Asked("linear"), replica._replace(metrics=triton.metrics))
