"""Verification: every replica answers as the proven model did, asked for exactly this version."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment
from slipway.releases.agreement import Comparison
from slipway.releases.fetched import FetchedModel, load_golden
from slipway.releases.proof import Question, read_proof
from slipway.releases.release import Terms
from slipway.releases.synthetic import check_answers, make_requests


class VerifiedReplica(BaseModel):
    """What one replica answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    version: int
    comparison: Comparison | None = Field(description="With the golden samples, None where the model has none.")
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float


def verify(fetched: FetchedModel, version: int, terms: Terms, environment: Environment) -> tuple[VerifiedReplica, ...]:
    """Ask every replica for the golden samples, for synthetic inputs, and who answers unversioned requests.

    Raises `VerificationFailed` where a shape, a data type or a value is not what the proven model gives.

    Args:
        fetched: the registered model whose answers are expected.
        version: Triton's version of it, which also has to be the one that answers unversioned requests.
        terms: shapes, batch axis included, tolerance, how many synthetic requests measure the latency, and whether
            replicas that do not answer are passed over.
        environment: where the golden and the recorded samples are, and the replicas.
    """
    terms.check_shapes(fetched)
    signature, fleet = fetched.signature, environment.fleet
    golden = load_golden(fetched, environment.registry)
    recorded = read_proof(environment.repository, fetched.model_name, version)
    subject = f"model '{fetched.model_name}' version {version}"
    inputs = make_requests(signature, terms.expected_input_shape, terms.requests, seed=version, subject=subject)
    replicas = []
    for address in fleet.check(terms.leave_silent):
        question = Question(fleet, address, fetched.model_name, version, signature.batched)
        if recorded is not None:
            question.unpinned.compare(recorded, terms.tolerance)
        comparison = question.compare(golden, terms.tolerance) if golden else None
        answers = check_answers(question, signature, inputs, terms.expected_output_shape)
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
