"""Between steps 4 and 5, prove-candidate: one replica serves the version under a name no client asks for."""

import time
from collections.abc import Iterator
from contextlib import suppress

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import LoadFailed, ServiceLevelMissed, ServiceUnavailable, SlipwayError
from blocks.events import tell_gate
from blocks.fleet import Tensors, TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository, candidate_name, proven_model
from slipway.formats.onnx import ModelSignature
from slipway.releases.artifacts import PreparedArtifacts, Shape
from slipway.releases.fetching import FetchedModel
from slipway.releases.plan import ReleasePlan
from slipway.releases.proof import Comparison, Question, Tolerance, golden_samples, write_proof
from slipway.releases.samples import Samples, few_samples
from slipway.releases.service_level import (
    Latency,
    MeasuredServiceLevel,
    Requests,
    ServiceLevel,
    check,
    elapsed_ms,
    measured,
    watched,
)
from slipway.releases.serving_config import candidate_config
from slipway.releases.synthetic import SyntheticRequests, checked_answers, synthetic_requests

_REQUESTS = 20


class ProvenCandidate(BaseModel):
    """A version that one replica served and answered rightly with, before any client could reach it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    address: str
    load_s: float
    comparison: Comparison | None = Field(description="With the golden samples, None where the model has none.")
    latency: Latency
    live_before_load: Latency | None = Field(description="The live version on the same replica, None where none was.")
    live_during_load: Latency | None = Field(description="The same while the candidate was loaded.")
    service_level: MeasuredServiceLevel | None = Field(description="Gate 3, None where it was not asked for.")


@task(name="prove-candidate", task_run_name="prove-candidate", cache_policy=NO_CACHE)
def prove_candidate(
    fetched: FetchedModel,
    plan: ReleasePlan,
    artifacts: PreparedArtifacts,
    expected_input_shape: Shape | None = None,
    expected_output_shape: Shape | None = None,
    tolerance: Tolerance = 1e-4,
    service_level: ServiceLevel | None = None,
    leave_silent: bool = False,
    *,
    registry: ModelRegistry,
    repository: ModelRepository,
    fleet: TritonFleet,
) -> ProvenCandidate:
    """Load a staged or archived version on one replica under the candidate's name and prove its answers there.

    Some of the proven samples are recorded with the version, for whoever has to prove a replica later.

    Raises `LoadFailed` where it does not load, `VerificationFailed` where an answer is wrong, `ServiceLevelMissed`
    where gate 3 refuses it.
    """
    name, signature = candidate_name(plan.model_name, plan.epoch), fetched.signature
    live = Question(fleet, fleet.check(leave_silent)[0], plan.model_name, plan.live_before or 0, signature.batched)
    candidate = live._replace(version=plan.version, asked_as=name)
    inputs = synthetic_requests(signature, expected_input_shape, _REQUESTS, plan.version, candidate.subject)
    requests = Requests(inputs.held(), [spec.name for spec in signature.outputs])

    repository.place_candidate(
        plan.model_name, plan.version, name, candidate_config(artifacts.config, name, plan.version)
    )
    quiet = _quietly(live, requests) if plan.live_before else []
    served = live if quiet else None
    with watched(served, requests) as during:
        load_s, memory_mib = _load(candidate, measure_memory=bool(service_level and service_level.max_memory_mib))
    golden = golden_samples(fetched, registry)
    comparison = candidate.compare(golden, tolerance) if golden else None
    elapsed, answered = _asked(candidate, signature, inputs, expected_output_shape)
    found = measured(service_level, candidate, served, requests, memory_mib) if service_level else None
    if service_level and found:
        _check_gate_3(service_level, found, candidate.subject, plan.model_name)
    write_proof(repository, plan.model_name, plan.version, golden.small() if golden else answered)
    remove_candidate(name, repository, fleet)
    return ProvenCandidate(
        address=candidate.address,
        load_s=load_s,
        comparison=comparison,
        latency=Latency.of(elapsed),
        live_before_load=Latency.of(quiet) if quiet else None,
        live_during_load=Latency.of(during) if during else None,
        service_level=found,
    )


def _asked(
    candidate: Question, signature: ModelSignature, inputs: SyntheticRequests, expected_shape: Shape | None
) -> tuple[list[float], Samples]:
    """Ask for every input; return the milliseconds each took, and the first with their answers as samples."""
    elapsed: list[float] = []

    def answered() -> Iterator[tuple[Tensors, Tensors]]:
        for request, answer in checked_answers(candidate, signature, inputs, expected_shape):
            elapsed.append(answer.elapsed_ms)
            yield request, answer.outputs

    return elapsed, few_samples(answered(), candidate.batched)


def _check_gate_3(level: ServiceLevel, found: MeasuredServiceLevel, subject: str, model_name: str) -> None:
    try:
        check(level, found, subject)
    except ServiceLevelMissed as error:
        tell_gate(3, False, model_name, str(error))
        raise
    tell_gate(3, True, model_name, f"{subject}: p99 {found.candidate.p99_ms:.1f} ms")


def candidates_left(model_name: str, repository: ModelRepository, fleet: TritonFleet) -> set[str]:
    """Return the names of every candidate of a model that is stored, or loaded on a replica that answers."""
    answering, _ = fleet.reached()
    loaded = {name for address in answering for name in fleet.index(address) if proven_model(name) == model_name}
    return loaded | repository.contents().candidates.get(model_name, frozenset())


def remove_candidate(name: str, repository: ModelRepository, fleet: TritonFleet) -> None:
    """Remove a candidate from the repository and from every replica that answers; none there is no error."""
    repository.remove_candidate(name)
    answering, _ = fleet.reached()
    for address in answering:
        with suppress(LoadFailed, ServiceUnavailable):  # not loaded there, or for the reconciler
            fleet.unload_model(address, name)


def _quietly(live: Question, requests: Requests) -> list[float]:
    """Return the milliseconds the live version takes, nothing where it is not well: what follows it may mend that."""
    try:
        return elapsed_ms(live, requests.inputs, requests.outputs)
    except SlipwayError:
        return []


def _load(candidate: Question, measure_memory: bool) -> tuple[float, float | None]:
    """Load the candidate; return the seconds that took and, where asked for, the MiB it needs."""
    fleet, address = candidate.fleet, candidate.address
    before = fleet.used_memory_bytes(address) if measure_memory else 0.0
    start = time.perf_counter()
    fleet.load_model(address, candidate.name)
    load_s = time.perf_counter() - start
    return load_s, (fleet.used_memory_bytes(address) - before) / 1024**2 if measure_memory else None
