"""The candidate: a version that one replica serves under a name no client asks for, proven there before traffic."""

import time
from contextlib import suppress
from typing import NamedTuple, cast

from blocks.environment import Environment
from blocks.errors import (
    IntegrityError,
    LoadFailed,
    ServiceLevelMissed,
    ServiceUnavailable,
    SlipwayError,
    VerificationFailed,
    bounded,
)
from blocks.events import tell_gate
from blocks.repository_layout import name_candidate, parse_candidate
from slipway.releases.agreement_terms import AgreementTerms, choose_terms
from slipway.releases.batching import prove_batching
from slipway.releases.fetched import load_example, load_golden
from slipway.releases.gpu_memory import look_at_gpus, measure_growth, read_last_need, require_room
from slipway.releases.kept_settings import record_settings
from slipway.releases.pins import pin_dependencies
from slipway.releases.plan import ReleasePlan
from slipway.releases.proof import Proof, Question, read_proof, write_proof
from slipway.releases.proven_candidate import ProvenCandidate
from slipway.releases.proven_config import read_proven_config, record_config
from slipway.releases.questions import Asked, Sources, ask_candidate
from slipway.releases.release import Release, Terms
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
from slipway.releases.serving_config import (
    apply_policy,
    count_rows,
    make_candidate_config,
    parse_config,
    takes_batches,
)
from slipway.releases.waves import act_together

_LIVE_REQUESTS = 20


class _Live(NamedTuple):
    """The live version beside the candidate, and what it is known to answer."""

    question: Question
    requests: Requests


class _Loaded(NamedTuple):
    """What loading the candidate took, and what the live version's clients saw of it."""

    load_s: float
    memory_mib: float | None
    live_before_ms: list[float]
    live_during_ms: list[float]


def prove(release: Release, terms: Terms, environment: Environment) -> ProvenCandidate:
    """Load a staged or archived version on one replica under the candidate's name and prove its answers there.

    Where whether Triton may join requests is not decided yet, joined ones decide: a model that does not give each its
    own answer is proven, and served, without batching. The configuration it was proven with is recorded with the
    version, and some of the answers, for whoever has to prove a replica later.

    Raises `NoRoom` where a GPU has too little memory for it, `LoadFailed` where it does not load,
    `VerificationFailed` where an answer is wrong, `ServiceLevelMissed` where gate 3 refuses it.
    """
    plan, repository = release.plan, environment.repository
    address = environment.fleet.check(terms.leave_silent)[0]
    live, refused = _find_live(plan, address, environment), None
    needed_mib = read_last_need(plan, environment)
    for unpinned in filter(None, (release.artifacts.config, release.artifacts.without_batching)):
        config = _pin(unpinned, release, terms, environment)
        candidate = _make_question(plan, config, address, environment)
        gpus = look_at_gpus(environment.fleet, address)
        require_room(needed_mib, gpus, candidate.subject)
        loaded = _place_and_load(candidate, config, live, terms.service_level, environment)
        try:
            asked, agreed, batching = _ask(candidate, release, terms, config, environment)
        except VerificationFailed as error:
            remove_candidate(candidate.name, environment)
            refused = error
            continue
        requests = Requests([exchange.inputs for exchange in asked.exchanges], list(asked.exchanges[0].outputs))
        found = _pass_gate_3(terms.service_level, candidate, live.question if live else None, requests, loaded)
        grown_mib = measure_growth(gpus, look_at_gpus(environment.fleet, address)) if gpus else None
        proof = Proof(asked.exchanges, agreed)
        write_proof(repository, plan.model_name, plan.version, proof, candidate.batched, candidate.most_rows)
        record_config(repository, plan.model_name, plan.version, config, release.fetched.contents.config)
        record_settings(repository, plan)
        remove_candidate(candidate.name, environment)
        return ProvenCandidate(
            address=candidate.address,
            load_s=loaded.load_s,
            comparison=asked.comparison,
            agreement=agreed,
            source=asked.source,
            batching=batching if refused is None else f"none: {bounded(refused)}",
            latency=Latency.of(asked.elapsed_ms),
            gpu_memory_mib=grown_mib,
            live_before_load=Latency.of(loaded.live_before_ms) if loaded.live_before_ms else None,
            live_during_load=Latency.of(loaded.live_during_ms) if loaded.live_during_ms else None,
            service_level=found,
        )
    raise cast(VerificationFailed, refused)


def find_candidates(model_name: str, environment: Environment) -> set[str]:
    """Return the names of every candidate of a model that is stored, or loaded on a replica that answers."""
    fleet = environment.fleet
    answering, _ = fleet.find_reached()
    loaded = {name for at in answering for name in fleet.read_index(at) if parse_candidate(name) == model_name}
    return loaded | environment.repository.list_contents().candidates.get(model_name, frozenset())


def remove_candidate(name: str, environment: Environment) -> None:
    """Remove a candidate from the repository and from every replica that answers; none there is no error."""
    environment.repository.remove_candidate(name)
    fleet = environment.fleet

    def unload(address: str) -> None:
        with suppress(LoadFailed, ServiceUnavailable):  # not loaded there, or for the reconciler
            fleet.unload_model(address, name)

    answering, _ = fleet.find_reached()
    act_together(unload, answering, fleet.loads_at_once).raise_worst()


def _pin(config: str, release: Release, terms: Terms, environment: Environment) -> str:
    """Return a config.pbtxt that calls other models, where it does, by the versions that are live now.

    A version that is gone back to calls those it was proven with.
    """
    plan, depends_on = release.plan, release.fetched.contents.depends_on
    if not depends_on:
        return config
    if plan.kind == "rollback":
        config = apply_policy(read_proven_config(environment.repository, plan.model_name, plan.version), plan.serves)
    pinned, _ = pin_dependencies(config, depends_on, environment, leave_silent=terms.leave_silent)
    return pinned


def _make_question(plan: ReleasePlan, config: str, address: str, environment: Environment) -> Question:
    """Return whom to ask for the candidate."""
    name = name_candidate(plan.model_name, plan.epoch)
    question = Question(environment.fleet, address, plan.model_name, plan.version, takes_batches(config), asked_as=name)
    return question._replace(most_rows=count_rows(config))


def _find_live(plan: ReleasePlan, address: str, environment: Environment) -> _Live | None:
    """Return whom to ask for the live version, and what; None where nothing is live, or nothing recorded of it."""
    if plan.live_before is None or plan.config_before is None:
        return None
    batched = takes_batches(plan.config_before)
    try:
        proof = read_proof(environment.repository, plan.model_name, plan.live_before, batched)
    except IntegrityError:
        return None
    if proof is None:
        return None
    question = Question(environment.fleet, address, plan.model_name, plan.live_before, batched)
    return _Live(question, Requests.of(proof, _LIVE_REQUESTS))


def _place_and_load(
    candidate: Question, config: str, live: _Live | None, level: ServiceLevel | None, environment: Environment
) -> _Loaded:
    """Load the candidate while the live version, where it is well, is asked all the while."""
    fleet, address = candidate.fleet, candidate.address
    environment.repository.place_candidate(
        candidate.model_name,
        candidate.version,
        candidate.name,
        make_candidate_config(config, candidate.name, candidate.version),
    )
    measures_memory = level is not None and level.max_memory_mib is not None
    before_ms = _time_live(live)
    watched = live if before_ms else None
    requests = watched.requests if watched else Requests([], [])
    with watching(watched.question if watched else None, requests) as during_ms:
        used = fleet.read_used_memory_bytes(address) if measures_memory else 0.0
        start = time.perf_counter()
        fleet.load_model(address, candidate.name)
        load_s = time.perf_counter() - start
        memory_mib = (fleet.read_used_memory_bytes(address) - used) / 1024**2 if measures_memory else None
    return _Loaded(load_s, memory_mib, before_ms, during_ms)


def _time_live(live: _Live | None) -> list[float]:
    """Return the milliseconds the live version takes, nothing where it is not well: what follows it may mend that."""
    if live is None:
        return []
    try:
        return time_requests(live.question, live.requests.inputs, live.requests.outputs)
    except SlipwayError:
        return []


def _ask(
    candidate: Question, release: Release, terms: Terms, config: str, environment: Environment
) -> tuple[Asked, AgreementTerms, str]:
    """Ask the candidate for the best there is, and for joined requests where it is to take some."""
    fetched, signature, tags = release.fetched, release.fetched.signature, release.fetched.registered.tags
    sources = Sources(
        golden=load_golden(fetched, environment.registry),
        example=load_example(fetched, environment.registry),
        given=terms.read_shapes(fetched),
        seed=release.plan.version,
        requests=terms.requests,
    )
    agreed = choose_terms(
        terms.tolerance,
        tags,
        fetched.contents,
        on_gpu=candidate.fleet.computes_on_gpu(candidate.address, candidate.name),
        settings=release.plan.settings,
        subject=fetched.subject,
    )
    asked = ask_candidate(candidate, signature, sources, agreed, terms.expected_output_shape)
    if not candidate.batched:
        return asked, agreed, "none"
    limit = parse_config(config).max_batch_size
    return asked, agreed, prove_batching(candidate, signature, asked.exchanges, agreed, limit)


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
