"""The replicas: each one brought to what is committed, and proven by an answer. The one place that does so."""

import time
from contextlib import suppress

from pydantic import BaseModel, ConfigDict

from blocks.environment import Environment
from blocks.errors import IntegrityError, InvalidInput, LoadFailed, ServiceUnavailable, VerificationFailed
from blocks.fleet import TritonFleet
from blocks.repository import ModelRepository
from blocks.run import say
from slipway.releases.pins import read_pins
from slipway.releases.proof import Proof, Question, read_proof
from slipway.releases.release import Terms
from slipway.releases.serving_config import takes_batches
from slipway.releases.waves import roll_out


class LoadedReplica(BaseModel):
    """A replica that serves the committed versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    versions: tuple[int, ...]
    load_s: float


def reload_all(
    model_name: str, serves: tuple[int, ...], terms: Terms, environment: Environment
) -> tuple[LoadedReplica, ...]:
    """Load a model on every replica, in waves, each replica proven by an inference before the next wave begins.

    Where a replica fails, those of its wave that have begun end, and no further wave begins. With `leave_silent`, a
    replica that does not answer is passed over: started again, it comes up with what is committed. Raises `LoadFailed`
    where a replica refuses or serves something else, `VerificationFailed` where its answers are not the proven ones, or
    those of an older version no longer are: a load that is answered with success proves nothing.
    """
    if not serves:
        raise InvalidInput(f"model '{model_name}': no versions to serve, expected those of its plan, say --serves 3")
    version, fleet = max(serves), environment.fleet
    config = environment.repository.read_config(model_name)
    batched = config is not None and takes_batches(config)
    proof = read_proof(environment.repository, model_name, version, batched)
    if proof is None or config is None:
        raise InvalidInput(
            f"model '{model_name}' version {version}: nothing recorded that proves it; run prove-candidate and "
            "commit-version first"
        )
    older = _read_older(model_name, serves, config, environment.repository)
    addresses = fleet.check(terms.leave_silent)

    def load_and_prove(address: str) -> LoadedReplica:
        question = Question(fleet, address, model_name, version, batched)
        ailing = _list_ailing(question, older)
        replica = bring_to(serves, model_name, address, fleet)
        prove_replica(question, proof)
        _prove_older(question, {each: known for each, known in older.items() if each not in ailing})
        return replica

    loaded: list[LoadedReplica] = []
    for number, wave in enumerate(roll_out(load_and_prove, addresses, fleet.loads_at_once), 1):
        wave.raise_worst(terms.leave_silent)
        loaded += wave.done.values()
        say(f"wave {number}: {len(loaded)} of {len(addresses)} replicas prove version {version} of '{model_name}'")
    return tuple(loaded)


def bring_to(committed: tuple[int, ...], model_name: str, address: str, fleet: TritonFleet) -> LoadedReplica:
    """Make one replica serve exactly the committed versions of a model; none: nothing of it.

    Raises `LoadFailed` where it refuses, or serves other versions afterwards.
    """
    start = time.perf_counter()
    if committed:
        fleet.load_model(address, model_name)
    elif fleet.list_ready_versions(address, model_name):
        fleet.unload_model(address, model_name)
        return LoadedReplica(address=address, versions=(), load_s=time.perf_counter() - start)
    served = fleet.list_ready_versions(address, model_name, fleet.load_timeout_s)  # a large load keeps a server busy
    if served != tuple(sorted(committed)):
        raise LoadFailed(
            f"model '{model_name}' on Triton {address}: serves versions {list(served)}, expected {sorted(committed)}; "
            "see that server's log"
        )
    return LoadedReplica(address=address, versions=served, load_s=time.perf_counter() - start)


def load_afresh(committed: tuple[int, ...], model_name: str, address: str, fleet: TritonFleet) -> LoadedReplica:
    """Make one replica forget a model and load it again: a backend process that died never starts by itself."""
    fleet.unload_model(address, model_name)
    return bring_to(committed, model_name, address, fleet)


def prove_replica(question: Question, proof: Proof) -> None:
    """Raise `VerificationFailed` unless a replica answers rightly, pinned to the version and unpinned alike."""
    question.compare(*proof)
    question.unpinned.compare(*proof.first)


def _read_older(model_name: str, serves: tuple[int, ...], config: str, repository: ModelRepository) -> dict[int, Proof]:
    """Return one request, with its answer, of each older version that is served, as far as something is recorded."""
    proofs: dict[int, Proof] = {}
    for version in sorted(serves)[:-1] if not read_pins(config) else ():
        with suppress(IntegrityError):  # a damaged record is the reconciler's to report
            if (proof := read_proof(repository, model_name, version, takes_batches(config))) is not None:
                proofs[version] = proof.first
    return proofs


def _list_ailing(question: Question, older: dict[int, Proof]) -> set[int]:
    """Return the older versions that are served and answer wrongly already: that is no fault of what is loaded next."""
    served = question.fleet.list_ready_versions(question.address, question.model_name) if older else ()
    return {version for version in older.keys() & {*served} if _find_fault(question, version, older[version])}


def _prove_older(question: Question, older: dict[int, Proof]) -> None:
    for version, proof in older.items():
        if (fault := _find_fault(question, version, proof)) is not None:
            raise VerificationFailed(
                f"{question.subject}: has version {version} beside it answer otherwise than before ({fault}), since "
                "all versions share config.pbtxt and the files beside it; release it with keep_served 1, or register "
                "the model under another name",
                model_name=question.model_name,
                version=question.version,
                address=question.address,
            )


def _find_fault(question: Question, version: int, proof: Proof) -> VerificationFailed | None:
    try:
        question._replace(version=version).compare(*proof)
    except VerificationFailed as error:
        return error
    except ServiceUnavailable:  # busy, which is not wrong: the newest version is what has to answer
        return None
    return None
