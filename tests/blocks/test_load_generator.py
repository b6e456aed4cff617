"""What the clients of a load send, and what they say of a server that does not answer."""

from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from blocks.closed_loop import read_messages, summarise
from blocks.fleet import TritonFleet
from blocks.load_generator import Asked, loading, write_messages
from tests.conftest import free_ports


def test_messages_are_what_triton_reads(tmp_path: Path) -> None:
    path = tmp_path / "requests"
    texts = np.array([b"one", b""], np.object_)
    numbers = np.arange(4, dtype=np.float32).reshape(2, 2)
    write_messages(path, Asked("a:1", "m", 3, [{"x": numbers, "t": texts}, {"x": numbers[:1]}], ["y"]))

    first, second = (triton.service_pb2.ModelInferRequest.FromString(message) for message in read_messages(path))

    assert (first.model_name, first.model_version, [output.name for output in first.outputs]) == ("m", "3", ["y"])
    described = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in first.inputs]
    assert described == [("x", "FP32", [2, 2]), ("t", "BYTES", [2])]
    assert list(first.raw_input_contents) == [numbers.tobytes(), b"\3\0\0\0one\0\0\0\0"]
    assert list(second.raw_input_contents) == [numbers[:1].tobytes()]


def test_a_server_that_does_not_answer_is_a_failure_with_its_reason() -> None:
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    asked = Asked(address, "m", 1, [{"x": np.zeros(1, np.float32)}], ["y"])

    with loading(TritonFleet(replicas=[address]), asked) as load:
        found = load.ask(clients=2, seconds=0.1)

    assert found["failures"] == 2 and found["requests"] == 0
    assert "UNAVAILABLE" in found["reason"]


def test_the_99th_percentile_is_between_the_longest_of_a_hundred() -> None:
    found = summarise([float(number) for number in range(1, 102)])

    assert (found["p50_ms"], found["p99_ms"]) == (51.0, 100.0)
    assert summarise([7.0]) == {"p50_ms": 7.0, "p99_ms": 7.0}
