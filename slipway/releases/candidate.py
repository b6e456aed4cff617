"""The candidate: a version that one replica serves under a name no client asks for, proven there before traffic."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment
from blocks.errors import LoadFailed, ServiceLevelMissed, ServiceUnavailable, SlipwayError
from blocks.events import tell_gate
from blocks.fleet import Tensors
from blocks.repository import name_candidate, parse_candidate
from slipway.formats.signature import Shape, Signature
from slipway.releases.agreement import Comparison
from slipway.releases.fetched import load_golden
from slipway.releases.proof import Question, write_proof
from slipway.releases.release import Release, Terms
from slipway.releases.samples import Samples, keep_few
from slipway.releases.service_level import (
    Latency,
    MeasuredServiceLevel,
    Requests,
    ServiceLevel,
    check,
    measure,
    time_requests,
    watching,
)
from slipway.releases.serving_config import make_candidate_config
from slipway.releases.synthetic import SyntheticRequests, check_answers, make_requests


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


class _Loaded(NamedTuple):
    """What loading the candidate took, and what the live version's clients saw of it."""

    load_s: float
    memory_mib: float | None
    live_before_ms: list[float]
    live_during_ms: list[float]


def prove(release: Release, terms: Terms, environment: Environment) -> ProvenCandidate:
    """Load a staged or archived version on one replica under the candidate's name and prove its answers there.

    Some of the proven samples are recorded with the version, for whoever has to prove a replica later.

    Raises `LoadFailed` where it does not load, `VerificationFailed` where an answer is wrong, `ServiceLevelMissed`
    where gate 3 refuses it.
    """
    plan, repository = release.plan, environment.repository
    candidate, live = _ask_for(release, environment.fleet.check(terms.leave_silent)[0], environment)
    signature = release.fetched.signature
    inputs = make_requests(
        signature, terms.expected_input_shape, terms.requests, seed=plan.version, subject=candidate.subject
    )
    requests = Requests(inputs.hold(), [spec.name for spec in signature.outputs])

    repository.place_candidate(
        plan.model_name,
        plan.version,
        candidate.name,
        make_candidate_config(release.artifacts.config, candidate.name, plan.version),
    )
    loaded = _load(candidate, live, requests, terms.service_level)
    golden = load_golden(release.fetched, environment.registry)
    comparison = candidate.compare(golden, terms.tolerance) if golden else None
    elapsed, answered = _ask_all(candidate, signature, inputs, terms.expected_output_shape)
    found = _pass_gate_3(terms.service_level, candidate, live, requests, loaded)
    write_proof(repository, plan.model_name, plan.version, golden.small() if golden else answered)
    remove_candidate(candidate.name, environment)
    return ProvenCandidate(
        address=candidate.address,
        load_s=loaded.load_s,
        comparison=comparison,
        latency=Latency.of(elapsed),
        live_before_load=Latency.of(loaded.live_before_ms) if loaded.live_before_ms else None,
        live_during_load=Latency.of(loaded.live_during_ms) if loaded.live_during_ms else None,
        service_level=found,
    )


def find_candidates(model_name: str, environment: Environment) -> set[str]:
    """Return the names of every candidate of a model that is stored, or loaded on a replica that answers."""
    fleet = environment.fleet
    answering, _ = fleet.reached()
    loaded = {name for address in answering for name in fleet.index(address) if parse_candidate(name) == model_name}
    return loaded | environment.repository.contents().candidates.get(model_name, frozenset())


def remove_candidate(name: str, environment: Environment) -> None:
    """Remove a candidate from the repository and from every replica that answers; none there is no error."""
    environment.repository.remove_candidate(name)
    answering, _ = environment.fleet.reached()
    for address in answering:
        with suppress(LoadFailed, ServiceUnavailable):  # not loaded there, or for the reconciler
            environment.fleet.unload_model(address, name)


def _ask_for(release: Release, address: str, environment: Environment) -> tuple[Question, Question | None]:
    """Return whom to ask for the candidate, and for the live version beside it, None where nothing is live."""
    plan = release.plan
    candidate = Question(
        environment.fleet,
        address,
        plan.model_name,
        plan.version,
        release.fetched.signature.batched,
        asked_as=name_candidate(plan.model_name, plan.epoch),
    )
    if plan.live_before is None:
        return candidate, None
    return candidate, candidate._replace(version=plan.live_before, asked_as=None)


def _load(candidate: Question, live: Question | None, requests: Requests, level: ServiceLevel | None) -> _Loaded:
    """Load the candidate while the live version, where it is well, is asked all the while."""
    fleet, address = candidate.fleet, candidate.address
    measures_memory = level is not None and level.max_memory_mib is not None
    before_ms = _time_live(live, requests)
    with watching(live if before_ms else None, requests) as during_ms:
        used = fleet.used_memory_bytes(address) if measures_memory else 0.0
        start = time.perf_counter()
        fleet.load_model(address, candidate.name)
        load_s = time.perf_counter() - start
        memory_mib = (fleet.used_memory_bytes(address) - used) / 1024**2 if measures_memory else None
    return _Loaded(load_s, memory_mib, before_ms, during_ms)


def _time_live(live: Question | None, requests: Requests) -> list[float]:
    """Return the milliseconds the live version takes, nothing where it is not well: what follows it may mend that."""
    if live is None:
        return []
    try:
        return time_requests(live, requests.inputs, requests.outputs)
    except SlipwayError:
        return []


def _ask_all(
    candidate: Question, signature: Signature, inputs: SyntheticRequests, expected_shape: Shape | None
) -> tuple[list[float], Samples]:
    """Ask for every input; return the milliseconds each took, and the first with their answers as samples."""
    elapsed: list[float] = []

    def answer_each() -> Iterator[tuple[Tensors, Tensors]]:
        for request, answer in check_answers(candidate, signature, inputs, expected_shape):
            elapsed.append(answer.elapsed_ms)
            yield request, answer.outputs

    return elapsed, keep_few(answer_each(), candidate.batched)


def _pass_gate_3(
    level: ServiceLevel | None, candidate: Question, live: Question | None, requests: Requests, loaded: _Loaded
) -> MeasuredServiceLevel | None:
    """Measure the candidate, the live version beside it, and hold it to its limits; None where there are none."""
    if level is None:
        return None
    found = measure(level, candidate, live if loaded.live_before_ms else None, requests, loaded.memory_mib)
    try:
        check(level, found, candidate.subject)
    except ServiceLevelMissed as error:
        tell_gate(3, False, candidate.model_name, str(error))
        raise
    tell_gate(3, True, candidate.model_name, f"{candidate.subject}: p99 {found.candidate.p99_ms:.1f} ms")
    return found
