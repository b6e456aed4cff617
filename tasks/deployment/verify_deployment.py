"""Step 7, verify-deployment: every replica answers as the proven model did, asked for exactly this version."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field
from tritonclient.utils import triton_to_np_dtype

from blocks.errors import VerificationFailed
from blocks.fleet import Tensors, TritonFleet
from blocks.registry import ModelRegistry
from tasks.deployment.fetch_model import GOLDEN_FILE, FetchedModel, local_files
from tasks.deployment.model_files import ModelSignature, TensorSpec
from tasks.deployment.prepare_artifacts import Shape, check_shape

Tolerance = Annotated[
    float, Field(gt=0, le=1, description="Largest difference from PyTorch's outputs, relative to their scale.")
]
_GOLDEN_BATCH = 8


class VerifiedReplica(BaseModel):
    """What one replica answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    version: int
    golden_samples: int
    top1_agreement: float | None = Field(description="Fraction of golden samples, 0 to 1, with PyTorch's top class.")
    max_difference: float | None = Field(description="Largest difference relative to the outputs' scale.")
    latency_p50_ms: float
    latency_p95_ms: float


@task(name="verify-deployment", task_run_name="verify-deployment", cache_policy=NO_CACHE)
def verify_deployment(
    fetched: FetchedModel,
    version: int,
    expected_input_shape: Shape | None = None,
    expected_output_shape: Shape | None = None,
    tolerance: Tolerance = 1e-4,
    requests: int = 20,
    *,
    registry: ModelRegistry,
    fleet: TritonFleet,
) -> tuple[VerifiedReplica, ...]:
    """Ask every replica, pinned to a version, for the golden samples and for synthetic inputs.

    Args:
        fetched: the registered model whose answers are expected.
        version: Triton's version of it.
        expected_input_shape: shape of the synthetic input, batch axis included; the model's own, dynamic axes 1,
            where left out.
        expected_output_shape: shape its output must have.
        tolerance: largest difference from the golden outputs allowed, relative to max|output|.
        requests: how many synthetic requests measure the latency.
        registry: where the golden samples are.
        fleet: the replicas.

    Raises `VerificationFailed` where a shape, a data type or a value is not what the proven model gives.
    """
    check_shape(expected_input_shape, fetched.signature.inputs, "input", fetched)
    check_shape(expected_output_shape, fetched.signature.outputs, "output", fetched)
    golden = _golden(local_files(fetched, registry) / GOLDEN_FILE) if fetched.golden else None
    inputs = list(synthetic_inputs(fetched.signature, expected_input_shape, requests, seed=version))
    replicas = []
    for address in fleet.check():
        replica = _Replica(fleet, address, fetched, version)
        agreement, difference = replica.compare(golden, tolerance) if golden else (None, None)
        latencies_ms = [replica.latency_ms(tensors, expected_output_shape) for tensors in inputs]
        replicas.append(
            VerifiedReplica(
                address=address,
                version=version,
                golden_samples=len(next(iter(golden[0].values()))) if golden else 0,
                top1_agreement=agreement,
                max_difference=difference,
                latency_p50_ms=float(np.percentile(latencies_ms, 50)),
                latency_p95_ms=float(np.percentile(latencies_ms, 95)),
            )
        )
    return tuple(replicas)


def synthetic_inputs(signature: ModelSignature, shape: Shape | None, count: int, seed: int) -> Iterator[Tensors]:
    """Yield `count` different inputs: standard normal for floats, 0 to 9 for integers; another seed, other inputs."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        yield {spec.name: _synthetic(spec, shape, random) for spec in signature.inputs}


def largest_difference(observed: np.ndarray, expected: np.ndarray) -> float:
    """Return max|observed - expected| / max|expected|, NaN where either holds one."""
    scale = float(np.max(np.abs(expected.astype(np.float64)), initial=0.0)) or 1.0
    return float(np.max(np.abs(observed.astype(np.float64) - expected.astype(np.float64)), initial=0.0)) / scale


class _Replica:
    """One replica, asked for one version of one model."""

    def __init__(self, fleet: TritonFleet, address: str, fetched: FetchedModel, version: int) -> None:
        self._fleet, self._address, self._version = fleet, address, version
        self._name, self._signature = fetched.model_name, fetched.signature
        self._subject = f"model '{fetched.model_name}' version {version} on Triton {address}"

    def compare(self, golden: tuple[Tensors, Tensors], tolerance: float) -> tuple[float, float]:
        """Return top-1 agreement and largest difference over the golden samples."""
        inputs, outputs = golden
        answers = [self._answer(batch) for batch in self._batches(inputs)]
        agreements, differences = [], []
        for name, expected in outputs.items():
            observed = np.concatenate([answer[name].reshape(-1, *expected.shape[1:]) for answer in answers])
            difference = largest_difference(observed, expected)
            if not difference <= tolerance:
                raise VerificationFailed(
                    f"{self._subject}: output '{name}' differs from the golden samples by {difference:.1e} of their "
                    f"scale, {tolerance:.0e} is allowed; the replica does not serve the proven model"
                )
            agreements.append(np.mean(observed.reshape(len(observed), -1).argmax(1) == _top1(expected)))
            differences.append(difference)
        if min(agreements) < 1.0:
            raise VerificationFailed(
                f"{self._subject}: {min(agreements):.1%} of the golden samples get the class PyTorch gave them, "
                "expected all; the replica does not serve the proven model"
            )
        return float(min(agreements)), max(differences)

    def latency_ms(self, tensors: Tensors, expected_output_shape: Shape | None) -> float:
        """Return the milliseconds one request took, its answer checked for shape, data type and value range."""
        start = time.perf_counter()
        answer = self._answer(tensors)
        elapsed_ms = (time.perf_counter() - start) * 1000
        for spec in self._signature.outputs:
            self._check(spec, answer[spec.name], expected_output_shape)
        return elapsed_ms

    def _answer(self, tensors: Tensors) -> Tensors:
        outputs = [spec.name for spec in self._signature.outputs]
        return self._fleet.infer(self._address, self._name, tensors, outputs, self._version)

    def _batches(self, inputs: Tensors) -> Iterator[Tensors]:
        count = len(next(iter(inputs.values())))
        step = _GOLDEN_BATCH if self._signature.batched else 1
        for start in range(0, count, step):
            yield {
                name: array[start : start + step] if self._signature.batched else array[start]
                for name, array in inputs.items()
            }

    def _check(self, spec: TensorSpec, output: np.ndarray, expected_shape: Shape | None) -> None:
        dtype = np.dtype(triton_to_np_dtype(spec.dtype))
        if output.dtype != dtype or not spec.accepts(output.shape) or output.shape != (expected_shape or output.shape):
            raise VerificationFailed(
                f"{self._subject}: output '{spec.name}' is {output.dtype} {list(output.shape)}, expected {dtype} "
                f"{list(expected_shape or spec.shape)}"
            )
        if output.dtype.kind != "f":
            return
        if not np.isfinite(output).all():
            raise VerificationFailed(f"{self._subject}: output '{spec.name}' holds NaN or infinity, expected numbers")
        sums = _softmax(output).sum(axis=-1)
        if not np.allclose(sums, 1.0, atol=1e-4):
            raise VerificationFailed(f"{self._subject}: softmax of output '{spec.name}' sums to {sums}, expected 1")


def _golden(path: Path) -> tuple[Tensors, Tensors]:
    with np.load(path, allow_pickle=False) as arrays:
        inputs = {key.removeprefix("input/"): arrays[key] for key in arrays.files if key.startswith("input/")}
        outputs = {key.removeprefix("output/"): arrays[key] for key in arrays.files if key.startswith("output/")}
    return inputs, outputs


def _synthetic(spec: TensorSpec, shape: Shape | None, random: np.random.Generator) -> np.ndarray:
    size = shape or tuple(1 if isinstance(axis, str) else axis for axis in spec.shape)
    dtype = np.dtype(triton_to_np_dtype(spec.dtype))
    if dtype.kind == "f":
        return random.standard_normal(size).astype(dtype)
    if dtype.kind == "O":
        return np.full(size, b"synthetic", dtype=np.object_)
    values: np.ndarray = random.integers(0, 2 if dtype.kind == "b" else 10, size)
    return values.astype(dtype)


def _softmax(values: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = np.exp(values.astype(np.float64) - values.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def _top1(outputs: np.ndarray) -> np.ndarray:
    top: np.ndarray = outputs.reshape(len(outputs), -1).argmax(1)
    return top
