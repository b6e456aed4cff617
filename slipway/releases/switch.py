"""The fast way back: a version every replica still holds only needs another policy, no reload."""

import time

import numpy as np

from blocks.environment import Environment
from blocks.errors import IntegrityError, SlipwayError, VerificationFailed
from blocks.labels import META_FILE
from blocks.repository import ModelRepository
from slipway.releases.plan import ReleasePlan
from slipway.releases.pointer import commit_plan
from slipway.releases.proof import Proof, Question, read_proof
from slipway.releases.proven_config import choose_config_back
from slipway.releases.receipt import Receipt, ReplicaReceipt
from slipway.releases.release import Terms
from slipway.releases.replicas import bring_to, load_afresh
from slipway.releases.service_level import Requests, time_requests
from slipway.releases.serving_config import apply_policy, takes_batches
from slipway.releases.waves import act_together

_TIMED_REQUESTS = 20


def switch(plan: ReleasePlan, terms: Terms, environment: Environment) -> tuple[ReplicaReceipt, ...]:
    """Commit the policy of a rollback and prove, on all replicas at once, that its version answers.

    The version was proven when it was released; there is no reason to let the others wait. A replica whose process
    for that version died in the meantime loads it afresh. With `leave_silent`, a replica that does not answer is
    passed over, as long as one does: started again, it comes up with what is committed.
    """
    repository, fleet = environment.repository, environment.fleet
    config, proof, _ = _read_recorded(plan, repository)
    repository.share(plan.model_name, plan.version, leave=(META_FILE,))  # the version has its own
    config = choose_config_back(repository, plan, config)
    batched = takes_batches(config)
    commit_plan(repository, plan, apply_policy(config, plan.serves))

    def switch_one(address: str) -> ReplicaReceipt:
        return _switch_one(Question(fleet, address, plan.model_name, plan.version, batched), plan.serves, proof)

    switched = act_together(switch_one, fleet.list_addresses(), fleet.loads_at_once)
    switched.raise_worst(terms.leave_silent and bool(switched.done))
    return tuple(switched.done.values())


def time_replicas(receipt: Receipt, plan: ReleasePlan, environment: Environment) -> Receipt:
    """Return the receipt with each replica's latencies, measured once the rollback is proven and holds nobody up."""
    _, proof, batched = _read_recorded(plan, environment.repository)
    requests = Requests.of(proof, _TIMED_REQUESTS)

    def time_one(replica: ReplicaReceipt) -> ReplicaReceipt:
        question = Question(environment.fleet, replica.address, plan.model_name, plan.version, batched)
        try:
            p50, p95, p99 = np.percentile(time_requests(question, *requests), (50, 95, 99))
        except SlipwayError:
            return replica  # it was proven; what befell it since is the reconciler's to find
        latencies = {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95), "latency_p99_ms": float(p99)}
        return replica.model_copy(update=latencies)

    return receipt.model_copy(update={"replicas": tuple(map(time_one, receipt.replicas))})


def is_resident(plan: ReleasePlan, repository: ModelRepository) -> bool:
    """Tell whether a plan's version is committed and served now, and its proof recorded."""
    if plan.version not in plan.served_before:
        return False
    batched = plan.config_before is not None and takes_batches(plan.config_before)
    return read_proof(repository, plan.model_name, plan.version, batched) is not None


def _read_recorded(plan: ReleasePlan, repository: ModelRepository) -> tuple[str, Proof, bool]:
    """Return the committed config.pbtxt, the version's recorded proof and whether the model takes batches."""
    config = repository.read_config(plan.model_name) or ""
    batched = takes_batches(config)
    proof = read_proof(repository, plan.model_name, plan.version, batched)
    if proof is None:
        raise IntegrityError(
            f"{plan.subject}: no samples that prove it are recorded any more; release it again from the registry"
        )
    return config, proof, batched


def _switch_one(question: Question, serves: tuple[int, ...], proof: Proof) -> ReplicaReceipt:
    start, place = time.perf_counter(), (serves, question.model_name, question.address, question.fleet)
    question.fleet.ping(question.address)  # in seconds, where a load may take minutes
    loaded = bring_to(*place)
    try:
        comparison = question.unpinned.compare(*proof)
    except VerificationFailed:
        loaded = load_afresh(*place)
        comparison = question.unpinned.compare(*proof)
    return ReplicaReceipt(
        address=question.address,
        version=question.version,
        load_s=loaded.load_s,
        comparison=comparison,
        proven_s=time.perf_counter() - start,
    )
