"""What a Triton replica says of its memory at /metrics, in Prometheus's text format."""

from typing import NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from blocks.certificates import load_certificates
from blocks.errors import ServiceUnavailable, bounded

METRICS_INTERVAL_S = 2.1  # Triton renews its gauges every 2 s
_CPU_USED, _GPU_USED, _GPU_TOTAL = (
    "nv_cpu_memory_used_bytes",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_memory_total_bytes",
)
_INFERENCES = "nv_inference_count_total", "nv_inference_count"  # as the parser and as Triton name it
_MIB = 1024**2


class Gpu(NamedTuple):
    """A GPU of a replica, and its memory of the moment, whoever uses it."""

    uuid: str
    used_mib: float
    total_mib: float

    @property
    def free_mib(self) -> float:
        """What nobody uses."""
        return max(0.0, self.total_mib - self.used_mib)


def fetch_metrics(place: str, address: str, timeout_s: float) -> str:
    """Return what a replica answers at its address of metrics; `ServiceUnavailable` where those are none."""
    try:
        answer = httpx.get(f"http://{place}/metrics", timeout=timeout_s, verify=load_certificates())
        text = answer.raise_for_status().text
        list(text_string_to_metric_families(text))
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceUnavailable(
            f"Triton {address}: no metrics ({bounded(error)}); check the fleet's metrics addresses and that replica",
            address=address,
        ) from error
    return text


def sum_used_bytes(text: str) -> float:
    """Return the memory, of the host and its GPUs, that is in use."""
    return sum(value for metric, _, value in _list_samples(text) if metric in {_CPU_USED, _GPU_USED})


def read_gpus(text: str) -> tuple[Gpu, ...]:
    """Return every GPU whose use and size are said, none where the replica has none."""
    used, total = dict[str, float](), dict[str, float]()
    for metric, uuid, value in _list_samples(text):
        if metric in {_GPU_USED, _GPU_TOTAL}:
            (used if metric == _GPU_USED else total)[uuid] = value / _MIB
    return tuple(Gpu(uuid, used[uuid], total[uuid]) for uuid in sorted(used.keys() & total.keys()) if total[uuid] > 0)


def count_by_gpu(text: str, model_name: str) -> dict[str, float]:
    """Return how many inferences of a model each GPU of a replica has computed, by its UUID; the CPU's are under ""."""
    counts = dict[str, float]()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in _INFERENCES and sample.labels.get("model") == model_name:
                gpu = sample.labels.get("gpu_uuid", "")
                counts[gpu] = counts.get(gpu, 0.0) + sample.value
    return counts


def _list_samples(text: str) -> list[tuple[str, str, float]]:
    return [
        (sample.name, sample.labels.get("gpu_uuid", ""), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
