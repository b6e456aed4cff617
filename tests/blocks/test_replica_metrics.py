"""What a replica's metrics say of its GPUs; the texts are of a Triton 2.51 with one H200, shortened, and made of it."""

import pytest

from blocks.errors import ServiceUnavailable
from blocks.replica_metrics import Gpu, count_by_gpu, fetch_metrics, read_gpus, sum_used_bytes
from tests.apparatus.faults import answering_server

WITH_GPU = """# HELP nv_gpu_utilization GPU utilization rate [0.0 - 1.0)
# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{gpu_uuid="GPU-6f0c"} 0.07
# HELP nv_gpu_memory_total_bytes GPU total memory, in bytes
# TYPE nv_gpu_memory_total_bytes gauge
nv_gpu_memory_total_bytes{gpu_uuid="GPU-6f0c"} 150754820096
# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-6f0c"} 1887436800
# HELP nv_cpu_memory_used_bytes CPU used memory (RAM), in bytes
# TYPE nv_cpu_memory_used_bytes gauge
nv_cpu_memory_used_bytes 1048576
"""
ON_CPU = """# HELP nv_cpu_memory_used_bytes CPU used memory (RAM), in bytes
# TYPE nv_cpu_memory_used_bytes gauge
nv_cpu_memory_used_bytes 1048576
"""
SECOND = 'nv_gpu_memory_used_bytes{gpu_uuid="GPU-0a"} 0\nnv_gpu_memory_total_bytes{gpu_uuid="GPU-0a"} 1048576\n'


def test_a_gpu_is_read_with_what_is_used_and_free() -> None:
    (gpu,) = read_gpus(WITH_GPU)

    assert gpu == Gpu("GPU-6f0c", 1800.0, 150754820096 / 1024**2)
    assert gpu.free_mib == pytest.approx(141_971.0)


def test_several_gpus_are_told_apart_and_one_without_a_size_is_left_out() -> None:
    half = 'nv_gpu_memory_used_bytes{gpu_uuid="GPU-1b"} 7\n'

    assert [gpu.uuid for gpu in read_gpus(WITH_GPU + SECOND + half)] == ["GPU-0a", "GPU-6f0c"]


def test_a_replica_without_a_gpu_has_none() -> None:
    assert read_gpus(ON_CPU) == read_gpus("") == ()


def test_memory_in_use_is_that_of_host_and_gpus() -> None:
    assert (sum_used_bytes(ON_CPU), sum_used_bytes(WITH_GPU)) == (1048576, 1048576 + 1887436800)


def test_what_is_no_metrics_is_refused_with_the_replica_s_address() -> None:
    with (
        answering_server(b"<html>") as url,
        pytest.raises(ServiceUnavailable, match=r"Triton b:8001: no metrics .* check the fleet's metrics addresses"),
    ):
        fetch_metrics(url.removeprefix("http://"), "b:8001", 5)


def test_inferences_are_counted_by_the_gpu_that_computed_them() -> None:
    text = """# TYPE nv_inference_count counter
nv_inference_count{gpu_uuid="GPU-6f0c",model="m",version="1"} 3
nv_inference_count{gpu_uuid="GPU-6f0c",model="m",version="2"} 4
nv_inference_count{model="m",version="1"} 5
nv_inference_count{gpu_uuid="GPU-6f0c",model="other",version="1"} 6
"""

    assert count_by_gpu(text, "m") == {"GPU-6f0c": 7.0, "": 5.0}
