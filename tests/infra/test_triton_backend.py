"""Our ONNX Runtime backend behaves as NVIDIA's native one where slipway depends on it."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from onnx import GraphProto, TensorProto, helper
from tritonclient.grpc import InferenceServerClientPlugin
from tritonclient.utils import InferenceServerException

from blocks.fleet import CONTROL_HEADER
from infra.local.readiness import make_s3_client
from infra.local.settings import MODELS_BUCKET, REPOSITORY_PREFIX, LocalStack
from slipway.releases.serving_settings import ServingSettings
from slipway.releases.tuned_config import apply_settings
from tests.apparatus.replicas import Replica

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
EXPLICIT = """
name: "{name}"
backend: "onnxruntime"
max_batch_size: 8
input [ {{ name: "input", data_type: TYPE_FP32, dims: [ {dims} ] }} ]
output [ {{ name: "output", data_type: TYPE_FP32, dims: [ {dims} ] }} ]
dynamic_batching {{ max_queue_delay_microseconds: 200000 }}
instance_group [ {{ count: 1, kind: KIND_CPU }} ]
version_policy {{ all {{}} }}
"""
Put = Callable[..., None]
SERVED: tuple[dict[str, Any], ...] = (
    {"max_batch_size": 16, "preferred_batch_sizes": [4, 8], "queue_delay_us": 100},
    {"max_queue_size": 16, "queue_timeout_us": 500_000, "queue_timeout_action": "delay"},
    {"instances": 2, "instance_kind": "cpu", "intra_op_threads": 2},
    {"instances": 1, "instance_kind": "auto", "inter_op_threads": 2},
    {"rate_resources": {"memory": 4}, "rate_priority": 2},
    {"warm_up": "zeros"},
    {"warm_up": "random", "warm_up_batch_sizes": [2, 8]},
    {"response_cache": True},
    # what is for GPUs is passed over on a CPU
    {"use_tf32": False, "cudnn_conv_algo_search": "heuristic", "gpu_mem_limit_bytes": 2**30},
    {"tensorrt_precision": "FP16", "tensorrt_cache_path": "/tmp/engines"},
)
REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"instance_kind": "gpu"}, "has kind KIND_GPU but no GPUs are available"),
    ({"instance_kind": "gpu", "gpus": [3], "tensorrt_precision": "FP16"}, "invalid or unsupported gpu id 3"),
    ({"openvino": True}, "unknown Execution Accelerator 'openvino' is requested; this ONNX Runtime has"),
)


def multiplier(factor: float, *, width: int | str = 4) -> bytes:
    """A model whose output is its input times a factor."""
    shape = ["batch_size", width]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    constant = helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])
    node = helper.make_node("Mul", ["input", "factor"], ["output"])
    graph = helper.make_graph([node], "multiplier", tensors[:1], tensors[1:], [constant])
    return _serialized(graph)


def _serialized(graph: GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def client(stack: LocalStack) -> Iterator[triton_grpc.InferenceServerClient]:
    with triton_grpc.InferenceServerClient(stack.triton_addresses[0]) as client:
        client.register_plugin(WithKey(stack.triton_control_key))
        yield client


class WithKey(InferenceServerClientPlugin):  # type: ignore[misc]
    """Sends the key of model control along."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: Any) -> None:
        request.headers[CONTROL_HEADER] = self._key


@pytest.fixture
def put(stack: LocalStack, client: triton_grpc.InferenceServerClient) -> Iterator[Put]:
    """Puts a model's files into the repository, and takes them away after the test."""
    s3, keys, names = make_s3_client(stack), [], set()

    def put(name: str, config: str | None = None, **versions: bytes) -> None:
        names.add(name)
        files = {f"{version.removeprefix('v')}/model.onnx": content for version, content in versions.items()}
        if config is not None:
            files["config.pbtxt"] = config.encode()
        for path, content in files.items():
            keys.append(f"{REPOSITORY_PREFIX}/{name}/{path}")
            s3.put_object(Bucket=MODELS_BUCKET, Key=keys[-1], Body=content)

    yield put
    for name in names:
        client.unload_model(name)
    for key in keys:
        s3.delete_object(Bucket=MODELS_BUCKET, Key=key)


def infer(client: triton_grpc.InferenceServerClient, model: str, rows: Array, version: str = "") -> Array:
    tensor = triton_grpc.InferInput("input", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    answer: Array = client.infer(model, [tensor], version, client_timeout=20).as_numpy("output")
    return answer


def rows(count: int, width: int = 4) -> Array:
    return np.arange(count * width, dtype=np.float32).reshape(count, width)


def test_two_versions_answer_each_as_itself(client: triton_grpc.InferenceServerClient, put: Put) -> None:
    put("two-versions", EXPLICIT.format(name="two-versions", dims=4), v1=multiplier(2), v2=multiplier(3))

    client.load_model("two-versions", client_timeout=30)

    np.testing.assert_array_equal(infer(client, "two-versions", rows(2), "1"), rows(2) * 2)
    np.testing.assert_array_equal(infer(client, "two-versions", rows(2), "2"), rows(2) * 3)


def test_http_answers_as_grpc_does(client: triton_grpc.InferenceServerClient, stack: LocalStack, put: Put) -> None:
    put("over-http", EXPLICIT.format(name="over-http", dims=4), v1=multiplier(2))
    client.load_model("over-http", client_timeout=30)
    tensor = {"name": "input", "shape": [3, 4], "datatype": "FP32", "data": rows(3).ravel().tolist()}

    url = f"{stack.triton_urls['triton-0']}/v2/models/over-http/infer"
    answer = httpx.post(url, json={"inputs": [tensor]}).raise_for_status().json()["outputs"][0]

    assert answer["shape"] == [3, 4]
    np.testing.assert_array_equal(answer["data"], rows(3).ravel() * 2)


def test_a_corrupt_model_is_refused_with_the_reason_and_the_old_version_serves_on(
    client: triton_grpc.InferenceServerClient, put: Put
) -> None:
    put("corrupt", EXPLICIT.format(name="corrupt", dims=4), v1=multiplier(2))
    client.load_model("corrupt", client_timeout=30)
    time.sleep(1.1)  # Triton sees no change within the second of the last one
    put("corrupt", v2=multiplier(3)[:40])

    with pytest.raises(InferenceServerException, match=r"'corrupt' version 2: model\.onnx cannot be opened"):
        client.load_model("corrupt", client_timeout=30)

    np.testing.assert_array_equal(infer(client, "corrupt", rows(1), "1"), rows(1) * 2)


def test_a_configuration_that_disagrees_with_the_model_is_refused(
    client: triton_grpc.InferenceServerClient, put: Put
) -> None:
    put("disagreeing", EXPLICIT.format(name="disagreeing", dims=5), v1=multiplier(2))

    with pytest.raises(InferenceServerException, match=r"says shape \[-1, 5\], the model \[-1, 4\]"):
        client.load_model("disagreeing", client_timeout=30)


def tune(said: dict[str, Any], name: str) -> str:
    settings = ServingSettings.model_validate(said)
    return apply_settings(EXPLICIT.format(name=name, dims=4), settings, ServingSettings(), None, name)


def test_whatever_settings_say_is_loaded_and_the_answers_stay(
    client: triton_grpc.InferenceServerClient, put: Put
) -> None:
    for number, said in enumerate(SERVED):
        name = f"set-{number}"
        put(name, tune(said, name), v1=multiplier(2))

        client.load_model(name, client_timeout=60)

        for _ in range(2):  # the second one from the cache, where there is one
            np.testing.assert_array_equal(infer(client, name, rows(2)), rows(2) * 2, err_msg=str(said))
        client.unload_model(name)


def test_a_cached_answer_is_counted_as_one(client: triton_grpc.InferenceServerClient, put: Put) -> None:
    put("cached", tune({"response_cache": True}, "cached"), v1=multiplier(2))
    client.load_model("cached", client_timeout=60)

    for _ in range(3):
        infer(client, "cached", rows(2))

    found = client.get_inference_statistics("cached", as_json=True)["model_stats"][0]
    assert found["inference_stats"]["cache_hit"]["count"] == "2"


@pytest.mark.parametrize(("said", "refused"), REFUSED)
def test_what_a_server_lacks_is_refused_by_name(
    client: triton_grpc.InferenceServerClient, put: Put, said: dict[str, Any], refused: str
) -> None:
    name = f"lacking-{'-'.join(said).replace('_', '-')}"
    put(name, tune(said, name), v1=multiplier(2))

    with pytest.raises(InferenceServerException, match=refused):
        client.load_model(name, client_timeout=60)


def test_a_process_that_stands_still_for_seconds_answers_late(
    client: triton_grpc.InferenceServerClient, stack: LocalStack, put: Put
) -> None:
    put("standing-still", EXPLICIT.format(name="standing-still", dims=4), v1=multiplier(2))
    client.load_model("standing-still", client_timeout=30)
    replica = Replica(stack, 0)
    server, stub = replica.process, replica.stub("standing-still")

    stub.suspend()
    threading.Timer(2.5, stub.resume).start()
    late = infer(client, "standing-still", rows(2))

    np.testing.assert_array_equal(late, rows(2) * 2)
    np.testing.assert_array_equal(infer(client, "standing-still", rows(1)), rows(1) * 2)
    assert replica.process == server


def test_requests_share_a_batch_and_a_wrong_one_fails_alone(
    client: triton_grpc.InferenceServerClient, stack: LocalStack, put: Put
) -> None:
    put("batched", EXPLICIT.format(name="batched", dims=-1), v1=_square_only())
    client.load_model("batched", client_timeout=30)
    answers: dict[int, Array | Exception] = {}

    def ask(index: int, width: int) -> None:
        with triton_grpc.InferenceServerClient(stack.triton_addresses[0]) as own:
            try:
                answers[index] = infer(own, "batched", rows(1, width))
            except InferenceServerException as exc:
                answers[index] = exc

    threads = [threading.Thread(target=ask, args=(index, 5 if index == 2 else 4)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert isinstance(answers.pop(2), InferenceServerException)
    for answer in answers.values():
        np.testing.assert_array_equal(np.asarray(answer), rows(1))
    statistics = client.get_inference_statistics("batched", as_json=True)["model_stats"][0]
    assert int(statistics["execution_count"]) < int(statistics["inference_count"])


def _square_only() -> bytes:
    """A model that takes rows of any width by its signature, and fails on any but four values."""
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch_size", "width"]) for name in ("input", "output")
    ]
    identity = helper.make_tensor("identity", TensorProto.FLOAT, [4, 4], np.eye(4, dtype=np.float32).ravel())
    node = helper.make_node("MatMul", ["input", "identity"], ["output"])
    graph = helper.make_graph([node], "square", tensors[:1], tensors[1:], [identity])
    return _serialized(graph)
