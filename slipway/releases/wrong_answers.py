"""What a replica that serves the committed versions answers: the proven answers, of each of them."""

from collections.abc import Iterator

from blocks.environment import Environment
from blocks.errors import ServiceUnavailable, VerificationFailed
from slipway.releases.drift import Drift, Kind, report
from slipway.releases.pins import read_pins
from slipway.releases.proof import Question, read_proof
from slipway.releases.replicas import prove_replica
from slipway.releases.serving_config import takes_batches

_FACTOR = 10  # by which answers may differ more than where they were recorded: the hardware may be another


def find_wrong_answers(
    name: str, policy: tuple[int, ...], config: str, address: str, environment: Environment
) -> Iterator[Drift]:
    """Ask a replica; only a wrong answer is one: a busy replica that answers late serves its clients still.

    The live version is asked for all that proves it, each older one for the first request. An older one that answers
    wrongly is for people: to load it afresh would take the live one from its clients. Of what calls other models, older
    versions are not asked: they call what the live one calls.
    """
    *older, live = sorted(policy)
    try:
        for version in (live, *(() if read_pins(config) else reversed(older))):
            if (found := _ask(name, version, live, config, address, environment)) is not None:
                yield found
    except ServiceUnavailable as error:
        yield report(name, Kind.REPLICA_SLOW, str(error), "an answer in time", address)


def _ask(name: str, version: int, live: int, config: str, address: str, environment: Environment) -> Drift | None:
    batched = takes_batches(config)
    proof = read_proof(environment.repository, name, version, batched)
    if proof is None:
        return None
    question, loosened = Question(environment.fleet, address, name, version, batched), proof.loosen(_FACTOR)
    try:
        if version == live:
            prove_replica(question, loosened)
        else:
            question.compare(*loosened.first)
    except VerificationFailed as error:
        kind = Kind.REPLICA_WRONG if version == live else Kind.OLDER_WRONG
        return report(name, kind, str(error), "the proven answers", address)
    return None
