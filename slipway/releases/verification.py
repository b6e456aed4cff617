"""Verification: every replica answers as the proven model did, asked for exactly this version."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment
from blocks.errors import InvalidInput
from slipway.releases.agreement import Comparison
from slipway.releases.fetched import FetchedModel, load_golden
from slipway.releases.proof import Question, read_proof
from slipway.releases.release import Terms
from slipway.releases.service_level import Requests, time_requests
from slipway.releases.serving_config import count_rows, takes_batches


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
    """Ask every replica for the golden samples and for what the candidate answered, unpinned, too; and how fast it is.

    Raises `VerificationFailed` where a shape, a data type or a value is not what the proven model gives, `InvalidInput`
    where nothing is recorded that proves the version.

    Args:
        fetched: the registered model whose answers are expected.
        version: Triton's version of it, which also has to be the one that answers unversioned requests.
        terms: shapes, batch axis included, how many requests measure the latency, and whether replicas that do not
            answer are passed over.
        environment: where the golden and the recorded answers are, and the replicas.
    """
    terms.check_shapes(fetched)
    repository, fleet = environment.repository, environment.fleet
    config = repository.read_config(fetched.model_name)
    batched = config is not None and takes_batches(config)
    rows = count_rows(config or "")
    proof = read_proof(repository, fetched.model_name, version, batched)
    if proof is None:
        raise InvalidInput(
            f"model '{fetched.model_name}' version {version}: nothing recorded that proves it; run prove-candidate and "
            "commit-version first"
        )
    agreed = proof.terms
    if terms.tolerance is not None:
        agreed = agreed.model_copy(update={"tolerance": terms.tolerance})
    golden = load_golden(fetched, environment.registry)
    requests = Requests.of(proof, terms.requests)
    replicas = []
    for address in fleet.check(terms.leave_silent):
        question = Question(fleet, address, fetched.model_name, version, batched)
        question.unpinned.compare(proof.exchanges, agreed)
        comparison = None
        if golden is not None:
            comparison = question.compare(golden.list_exchanges(fetched.signature, batched, rows), agreed)
        p50, p95, p99 = np.percentile(time_requests(question, *requests), (50, 95, 99))
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
