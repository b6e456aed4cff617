"""Versions that are served side by side, compared: how far their answers agree, and how fast each gives them."""

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.environment import Environment
from blocks.errors import InvalidInput
from blocks.fleet import Tensors
from blocks.repository import ModelRepository
from slipway.formats.signature import Signature
from slipway.releases.agreement import Agreement, make_agreements
from slipway.releases.agreement_terms import AgreementKind, AgreementTerms
from slipway.releases.metadata import read_metadata
from slipway.releases.proof import Question, read_proof
from slipway.releases.sample_archive import read_arrays
from slipway.releases.samples import Samples, encode_texts
from slipway.releases.serving_config import read_policy, takes_batches

TURNS = 4
_INPUT = "input/"

TimedRequests = Annotated[int, Field(ge=20, le=10_000)]


class ComparedVersion(BaseModel):
    """One version beside the first one that was named."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="strings")

    version: int = Field(description="Triton's number, by which clients pin it.")
    registry_version: int | None
    max_difference: float = Field(
        description="Largest difference from the first one's answers, relative to their scale."
    )
    same_class: float = Field(description="Share of the samples with the same top class, ties within 1e-4 included.")
    p50_ms: float
    p95_ms: float
    p99_ms: float


class VersionsCompared(BaseModel):
    """Versions of a model, asked the same on one replica, in turns, so that noise cancels."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    address: str
    source: str = Field(description="Where the samples came from.")
    samples: int
    requests: int = Field(description="Requests that measured the latency of each.")
    versions: tuple[ComparedVersion, ...]


class _Asked(NamedTuple):
    """What every version is asked."""

    requests: list[Tensors]
    outputs: list[str]
    samples: int
    terms: AgreementTerms
    source: str


def compare_versions(
    model_name: str,
    versions: tuple[int, ...],
    environment: Environment,
    *,
    samples: Path | None = None,
    requests: TimedRequests = 100,
) -> VersionsCompared:
    """Compare versions on the first replica that answers; each is asked by its number.

    Asked are the samples given, an npz with the inputs as `input/<tensor>`, else those that prove the newest version:
    of golden samples the first. Raises `InvalidInput` where fewer than two versions are named, or one is not served.
    """
    repository, address = environment.repository, environment.fleet.check(leave_silent=True)[0]
    config = repository.read_config(model_name)
    served = environment.fleet.list_ready_versions(address, model_name)
    named = _check_versions(model_name, versions, tuple(v for v in served if v in read_policy(config)), address)
    batched = takes_batches(config or "")
    asked = _choose_requests(repository, model_name, max(named), batched, samples)
    questions = [Question(environment.fleet, address, model_name, version, batched) for version in named]
    answers = [[answer.outputs for answer in each.ask(asked.requests, asked.outputs)] for each in questions]
    elapsed = _time_in_turns(questions, asked, requests)
    return VersionsCompared(
        model_name=model_name,
        address=address,
        source=asked.source,
        samples=asked.samples,
        requests=len(elapsed[named[0]]),
        versions=tuple(
            _describe(repository, each, _agree(each, given, answers[0], asked.terms), elapsed[each.version])
            for each, given in zip(questions, answers, strict=True)
        ),
    )


def _check_versions(
    model_name: str, versions: tuple[int, ...], served: tuple[int, ...], address: str
) -> tuple[int, ...]:
    named, now = tuple(dict.fromkeys(versions)), f"Triton {address} serves {list(served) or 'nothing'} of it"
    if missing := [version for version in named if version not in served]:
        raise InvalidInput(
            f"model '{model_name}' version {', '.join(map(str, missing))}: not served, {now}, expected served ones, by "
            "the numbers clients ask for; release with also_serve or keep_served to have more of them served"
        )
    if len(named) < 2:
        raise InvalidInput(
            f"model '{model_name}': versions {list(named)} to compare, {now}, expected two different ones at least; "
            "name them, say --versions 1,2"
        )
    return named


def _choose_requests(
    repository: ModelRepository, model_name: str, newest: int, batched: bool, samples: Path | None
) -> _Asked:
    proof = read_proof(repository, model_name, newest, batched)
    kind = proof.terms.kind if proof is not None else AgreementTerms().kind
    if samples is not None:
        return _read_requests(repository, model_name, newest, batched, samples)._replace(
            terms=AgreementTerms(kind=kind)
        )
    if proof is None:
        raise InvalidInput(
            f"model '{model_name}' version {newest}: no samples that prove it are recorded, expected some to ask the "
            "versions for; give your own with --samples"
        )
    counted, terms = sum(exchange.samples for exchange in proof.exchanges), AgreementTerms(kind=kind)
    inputs = [exchange.inputs for exchange in proof.exchanges]
    return _Asked(inputs, proof.outputs, counted, terms, f"the samples that prove version {newest}")


def _read_requests(repository: ModelRepository, model_name: str, newest: int, batched: bool, path: Path) -> _Asked:
    """Return the samples of a file as requests; their outputs, where there are any, are not looked at."""
    signature = _read_signature(repository, model_name, newest)
    arrays = read_arrays(path, str(path))
    found = {key.removeprefix(_INPUT): encode_texts(a) for key, a in arrays.items() if key.startswith(_INPUT)}
    expected, counts = sorted(spec.name for spec in signature.inputs), {a.shape[:1] for a in found.values()}
    given = Samples(inputs=found, outputs={})
    if sorted(found) != expected or len(counts) != 1 or counts & {(), (0,)} or given.find_layout(signature) is None:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(found.items())) or "nothing"
        wanted = ", ".join(f"{_INPUT}{spec.name} {list(spec.shape)}" for spec in signature.inputs)
        raise InvalidInput(
            f"{path}: inputs are {shapes}, expected {wanted} with equally many samples each along the first axis; "
            "write them again"
        )
    requests = [exchange.inputs for exchange in given.list_exchanges(signature, batched, size=1)]
    outputs = [spec.name for spec in signature.outputs]
    return _Asked(requests, outputs, given.count, AgreementTerms(), str(path))


def _read_signature(repository: ModelRepository, model_name: str, version: int) -> Signature:
    described = read_metadata(model_name, version, repository).model
    tensors = (described.model_extra or {}) if described is not None else {}
    try:
        return Signature(inputs=tensors.get("inputs", ()), outputs=tensors.get("outputs", ()))
    except ValidationError as error:
        raise InvalidInput(
            f"model '{model_name}' version {version}: its metadata.json does not say what it takes and gives "
            f"({error.errors()[0]['msg']}); compare without --samples, or release it again"
        ) from error


def _agree(
    question: Question, answers: Sequence[Tensors], firsts: Sequence[Tensors], terms: AgreementTerms
) -> list[Agreement]:
    """Return how far answers agree with the first version's."""
    agreements = make_agreements(firsts[0], terms)
    for observed, expected in zip(answers, firsts, strict=True):
        for name, known in expected.items() if terms.kind is not AgreementKind.DETECTIONS else ():
            if observed[name].shape != known.shape:
                raise InvalidInput(
                    f"{question.subject}: output '{name}' is {list(observed[name].shape)}, that of the first one "
                    f"{list(known.shape)}, expected one shape; compare what they answered yourself"
                )
        for agreement in agreements:
            agreement.add(observed, expected)
    return agreements


def _time_in_turns(questions: list[Question], asked: _Asked, requests: int) -> dict[int, list[float]]:
    """Return the milliseconds each version's requests took, a share of them at a time, the order reversed each time."""
    elapsed: dict[int, list[float]] = {question.version: [] for question in questions}
    share = list(islice(cycle(asked.requests[:1]), requests // TURNS))
    for turn in range(TURNS):
        for question in questions if turn % 2 else reversed(questions):
            elapsed[question.version] += [answer.elapsed_ms for answer in question.ask(share, asked.outputs)]
    return elapsed


def _describe(
    repository: ModelRepository, question: Question, agreements: list[Agreement], elapsed_ms: list[float]
) -> ComparedVersion:
    p50, p95, p99 = np.percentile(elapsed_ms, (50, 95, 99))
    return ComparedVersion(
        version=question.version,
        registry_version=read_metadata(question.model_name, question.version, repository).registry_version,
        max_difference=max((agreement.difference for agreement in agreements), default=0.0),
        same_class=min((agreement.top1 for agreement in agreements), default=1.0),
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
    )
