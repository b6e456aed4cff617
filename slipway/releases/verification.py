"""Step 7, verify-deployment: every replica answers as the proven model did, asked for exactly this version."""

from typing import Annotated

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.artifacts import Shape, check_shape
from slipway.releases.fetching import FetchedModel
from slipway.releases.proof import Comparison, Question, Tolerance, golden_samples, read_proof
from slipway.releases.synthetic import checked_answers, synthetic_requests
from tasks.policies import WHILE_A_REPLICA_RESTARTS


class VerifiedReplica(BaseModel):
    """What one replica answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    version: int
    comparison: Comparison | None = Field(description="With the golden samples, None where the model has none.")
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float


@task(name="verify-deployment", task_run_name="verify-deployment", cache_policy=NO_CACHE, **WHILE_A_REPLICA_RESTARTS)
def verify_deployment(
    fetched: FetchedModel,
    version: int,
    expected_input_shape: Shape | None = None,
    expected_output_shape: Shape | None = None,
    tolerance: Tolerance = 1e-4,
    requests: Annotated[int, Field(ge=1, le=10_000)] = 20,
    leave_silent: bool = False,
    *,
    registry: ModelRegistry,
    repository: ModelRepository,
    fleet: TritonFleet,
) -> tuple[VerifiedReplica, ...]:
    """Ask every replica for the golden samples, for synthetic inputs, and who answers unversioned requests.

    Args:
        fetched: the registered model whose answers are expected.
        version: Triton's version of it, which also has to be the one that answers unversioned requests.
        expected_input_shape: shape of the synthetic input, batch axis included; the model's own, dynamic axes 1,
            where left out.
        expected_output_shape: shape its output must have.
        tolerance: largest difference from the golden outputs allowed, relative to max|output|.
        requests: how many synthetic requests measure the latency.
        leave_silent: pass over replicas that do not answer, as long as one does.
        registry: where the golden samples are.
        repository: where the recorded samples are.
        fleet: the replicas.

    Raises `VerificationFailed` where a shape, a data type or a value is not what the proven model gives.
    """
    check_shape(expected_input_shape, fetched.signature.inputs, "input", fetched)
    check_shape(expected_output_shape, fetched.signature.outputs, "output", fetched)
    golden = golden_samples(fetched, registry)
    recorded = read_proof(repository, fetched.model_name, version)
    subject = f"model '{fetched.model_name}' version {version}"
    inputs = synthetic_requests(fetched.signature, expected_input_shape, requests, version, subject)
    replicas = []
    for address in fleet.check(leave_silent):
        question = Question(fleet, address, fetched.model_name, version, fetched.signature.batched)
        if recorded is not None:
            question._replace(pinned=False).compare(recorded, tolerance)
        comparison = question.compare(golden, tolerance) if golden else None
        answers = checked_answers(question, fetched.signature, inputs, expected_output_shape)
        p50, p95, p99 = np.percentile([answer.elapsed_ms for _, answer in answers], (50, 95, 99))
        replicas.append(
            VerifiedReplica(
                address=address,
                version=version,
                comparison=comparison,
                latency_p50_ms=float(p50),
                latency_p95_ms=float(p95),
                latency_p99_ms=float(p99),
            )
        )
    return tuple(replicas)
