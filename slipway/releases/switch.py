"""The fast way back: a version every replica still holds only needs another policy, no reload."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import ServiceUnavailable, SlipwayError, VerificationFailed
from blocks.fleet import TritonFleet
from blocks.repository import ModelRepository
from slipway.releases.plan import ReleasePlan
from slipway.releases.pointer import commit_plan
from slipway.releases.proof import Question, Tolerance, read_proof
from slipway.releases.receipt import Receipt, ReplicaReceipt
from slipway.releases.replicas import load_afresh, load_committed
from slipway.releases.samples import Samples
from slipway.releases.service_level import Requests, elapsed_ms
from slipway.releases.serving_config import parsed_config, with_policy

_TIMED_REQUESTS = 20


@task(name="switch-replicas", task_run_name="switch-replicas", cache_policy=NO_CACHE)
def switch_replicas(
    plan: ReleasePlan,
    tolerance: Tolerance = 1e-4,
    leave_silent: bool = True,
    *,
    repository: ModelRepository,
    fleet: TritonFleet,
) -> tuple[ReplicaReceipt, ...]:
    """Commit the policy of a rollback and prove, on all replicas at once, that its version answers.

    The version was proven when it was released; there is no reason to let the others wait. A replica whose process
    for that version died in the meantime loads it afresh. With `leave_silent`, a replica that does not answer is
    passed over, as long as one does: started again, it comes up with what is committed.
    """
    config, proof, batched = _recorded(plan, repository)
    commit_plan(repository, plan, with_policy(config, plan.serves))
    questions = [Question(fleet, address, plan.model_name, plan.version, batched) for address in fleet.addresses()]
    with ThreadPoolExecutor(min(32, len(questions))) as pool:
        found = list(pool.map(lambda question: _switched(question, plan.serves, proof, tolerance), questions))
    failed = [outcome for outcome in found if isinstance(outcome, ServiceUnavailable)]
    if failed and not (leave_silent and len(failed) < len(found)):
        raise failed[0]
    return tuple(outcome for outcome in found if not isinstance(outcome, ServiceUnavailable))


def with_latencies(receipt: Receipt, plan: ReleasePlan, repository: ModelRepository, fleet: TritonFleet) -> Receipt:
    """Return the receipt with each replica's latencies, measured once the rollback is proven and holds nobody up."""
    _, proof, batched = _recorded(plan, repository)
    requests = Requests(list(islice(cycle(proof.requests(batched, size=1)), _TIMED_REQUESTS)), list(proof.outputs))

    def timed(replica: ReplicaReceipt) -> ReplicaReceipt:
        question = Question(fleet, replica.address, plan.model_name, plan.version, batched)
        try:
            p50, p95, p99 = np.percentile(elapsed_ms(question, *requests), (50, 95, 99))
        except SlipwayError:
            return replica  # it was proven; what befell it since is the reconciler's to find
        latencies = {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95), "latency_p99_ms": float(p99)}
        return replica.model_copy(update=latencies)

    return receipt.model_copy(update={"replicas": tuple(map(timed, receipt.replicas))})


def is_resident(plan: ReleasePlan, repository: ModelRepository) -> bool:
    """Tell whether a plan's version is committed and served now, and its proof recorded."""
    return plan.version in plan.served_before and read_proof(repository, plan.model_name, plan.version) is not None


def _recorded(plan: ReleasePlan, repository: ModelRepository) -> tuple[str, Samples, bool]:
    """Return the committed config.pbtxt, the version's recorded proof and whether the model takes batches."""
    config = repository.read_config(plan.model_name) or ""
    proof = read_proof(repository, plan.model_name, plan.version)
    assert proof is not None, "only a version whose proof was recorded is switched to"
    return config, proof, parsed_config(config).max_batch_size > 0


def _switched(
    question: Question, serves: tuple[int, ...], proof: Samples, tolerance: float
) -> ReplicaReceipt | ServiceUnavailable:
    start, place = time.perf_counter(), (question.fleet, question.address, question.model_name, serves)
    unversioned = question._replace(pinned=False)
    try:
        question.fleet.ping(question.address)  # in seconds, where a load may take minutes
        loaded = load_committed(*place)
        try:
            comparison = unversioned.compare(proof, tolerance)
        except VerificationFailed:
            loaded = load_afresh(*place)
            comparison = unversioned.compare(proof, tolerance)
    except ServiceUnavailable as error:
        return error
    return ReplicaReceipt(
        address=question.address,
        version=question.version,
        load_s=loaded.load_s,
        comparison=comparison,
        proven_s=time.perf_counter() - start,
    )
