"""What our ONNX Runtime backend computes with, as NVIDIA's native one chooses it; no GPU is needed to choose."""

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from infra.local.settings import ROOT

MODEL = ROOT / "infra" / "local" / "triton" / "backends" / "onnxruntime" / "model.py"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TENSORRT, OPENVINO = "TensorrtExecutionProvider", "OpenVINOExecutionProvider"


class LoadError(Exception):
    """In the place of Triton's own, which there is in its process only."""


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The backend's module, as Triton imports it."""
    monkeypatch.setitem(
        sys.modules,
        "triton_python_backend_utils",
        SimpleNamespace(TritonModelException=LoadError),
    )
    spec = importlib.util.spec_from_file_location("backend_under_test", MODEL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module


def accelerate(device: str, name: str, **parameters: str) -> dict[str, Any]:
    accelerator = {"name": name, "parameters": parameters}
    return {"optimization": {"execution_accelerators": {f"{device}_execution_accelerator": [accelerator]}}}


def parametrize(**parameters: str) -> dict[str, Any]:
    return {"parameters": {key: {"string_value": value} for key, value in parameters.items()}}


@pytest.mark.parametrize(
    ("config", "device_id", "has", "chosen"),
    [
        ({}, None, {CPU, CUDA}, [CPU]),
        ({}, "1", {CPU}, [CPU]),
        ({}, "1", {CPU, CUDA}, [(CUDA, {"device_id": "1"}), CPU]),
        (
            accelerate("gpu", "cuda", use_tf32="0"),
            "0",
            {CPU, CUDA},
            [(CUDA, {"device_id": "0", "use_tf32": "0"}), CPU],
        ),
        (
            parametrize(cudnn_conv_algo_search="1", gpu_mem_limit="1000", arena_extend_strategy="1"),
            "0",
            {CPU, CUDA},
            [
                (
                    CUDA,
                    {
                        "device_id": "0",
                        "cudnn_conv_algo_search": "HEURISTIC",
                        "gpu_mem_limit": "1000",
                        "arena_extend_strategy": "kSameAsRequested",
                    },
                ),
                CPU,
            ],
        ),
        (
            accelerate("gpu", "tensorrt", precision_mode="FP16", max_workspace_size_bytes="9", trt_dla_core="0"),
            "0",
            {CPU, CUDA, TENSORRT},
            [
                (
                    TENSORRT,
                    {"device_id": "0", "trt_fp16_enable": "1", "trt_max_workspace_size": "9", "trt_dla_core": "0"},
                ),
                (CUDA, {"device_id": "0"}),
                CPU,
            ],
        ),
        (accelerate("gpu", "tensorrt"), None, {CPU}, [CPU]),
        (accelerate("cpu", "openvino"), None, {CPU, OPENVINO}, [(OPENVINO, {"device_type": "CPU"}), CPU]),
    ],
)
def test_what_is_asked_for_computes_where_it_can(
    backend: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    device_id: str | None,
    has: set[str],
    chosen: list[Any],
) -> None:
    monkeypatch.setattr(backend.onnxruntime, "get_available_providers", lambda: sorted(has))

    assert backend.choose_providers({"name": "m"} | config, device_id) == chosen


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        (accelerate("gpu", "tensorrt"), "unknown Execution Accelerator 'tensorrt' is requested"),
        (accelerate("gpu", "xla"), "unknown Execution Accelerator 'xla' is requested"),
        (accelerate("cpu", "openvino"), "unknown Execution Accelerator 'openvino' is requested"),
        (parametrize(cudnn_conv_algo_search="3"), "parameter cudnn_conv_algo_search is '3', expected 0 to 2"),
        (parametrize(cudnn_conv_algo_search="fast"), "is 'fast', expected 0 to 2"),
    ],
)
def test_what_this_onnx_runtime_lacks_is_a_load_error(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], refused: str
) -> None:
    monkeypatch.setattr(backend.onnxruntime, "get_available_providers", lambda: [CUDA, CPU])

    with pytest.raises(LoadError, match=rf"^model 'm': .*{refused}"):
        backend.choose_providers({"name": "m"} | config, "0")


def test_threads_are_those_of_the_parameters(backend: ModuleType) -> None:
    asked = parametrize(intra_op_thread_count="3", inter_op_thread_count="2", execution_mode="1")

    options = backend.session_options({"name": "m"} | asked)

    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == backend.onnxruntime.ExecutionMode.ORT_PARALLEL
    with pytest.raises(LoadError, match="parameter intra_op_thread_count is 'all', expected 0 to 4096"):
        backend.session_options({"name": "m"} | parametrize(intra_op_thread_count="all"))
