"""What a replica that serves the committed versions answers: the proven answers, of each of them."""

from collections.abc import Iterator
from typing import NamedTuple

from blocks.errors import ServiceUnavailable, VerificationFailed
from blocks.fleet import TritonFleet
from blocks.repository import ModelRepository
from slipway.releases.drift import Drift, Kind, report
from slipway.releases.pins import read_pins
from slipway.releases.proof import Proof, Question, read_proof
from slipway.releases.replicas import prove_replica
from slipway.releases.serving_config import takes_batches

_FACTOR = 10  # by which answers may differ more than where they were recorded: the hardware may be another


class Asked(NamedTuple):
    """What every replica of one model is asked for: by version, in this order, the proof of it that is recorded."""

    model_name: str
    live: int
    batched: bool
    proofs: dict[int, Proof]


def read_asked(name: str, policy: tuple[int, ...], config: str, repository: ModelRepository) -> Asked:
    """Return what proves the committed versions of a model, the live one first, as far as it is recorded.

    Of what calls other models, older versions are not asked: they call what the live one calls. Raises `IntegrityError`
    where what is recorded cannot be read.
    """
    *older, live = sorted(policy)
    batched = takes_batches(config)
    versions = (live, *(() if read_pins(config) else reversed(older)))
    read = {version: read_proof(repository, name, version, batched) for version in versions}
    proofs = {version: proof.loosen(_FACTOR) for version, proof in read.items() if proof is not None}
    return Asked(name, live, batched, proofs)


def find_wrong_answers(asked: Asked, address: str, fleet: TritonFleet) -> Iterator[Drift]:
    """Ask a replica; only a wrong answer is one: a busy replica that answers late serves its clients still.

    The live version is asked for all that proves it, each older one for the first request. An older one that answers
    wrongly is for people: to load it afresh would take the live one from its clients.
    """
    name = asked.model_name
    try:
        for version, proof in asked.proofs.items():
            question = Question(fleet, address, name, version, asked.batched)
            if (error := _ask(question, proof, is_live=version == asked.live)) is not None:
                kind = Kind.REPLICA_WRONG if version == asked.live else Kind.OLDER_WRONG
                yield report(name, kind, str(error), "the proven answers", address)
    except ServiceUnavailable as error:
        yield report(name, Kind.REPLICA_SLOW, str(error), "an answer in time", address)


def _ask(question: Question, proof: Proof, *, is_live: bool) -> VerificationFailed | None:
    try:
        if is_live:
            prove_replica(question, proof)
        else:
            question.compare(*proof.first)
    except VerificationFailed as error:
        return error
    return None
