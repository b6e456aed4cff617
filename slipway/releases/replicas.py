"""Step 5, reload-triton: every replica, one after the other, loads what was committed and proves it."""

import time

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from blocks.errors import InvalidInput, LoadFailed, ServiceUnavailable
from blocks.fleet import TritonFleet
from blocks.names import ModelName
from blocks.repository import ModelRepository
from slipway.releases.proof import Question, Tolerance, read_proof
from slipway.releases.samples import Samples
from slipway.releases.serving_config import parsed_config
from tasks.policies import WHILE_A_REPLICA_RESTARTS


class LoadedReplica(BaseModel):
    """A replica that serves the committed versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    versions: tuple[int, ...]
    load_s: float


@task(name="reload-triton", task_run_name="reload-triton", cache_policy=NO_CACHE, **WHILE_A_REPLICA_RESTARTS)
def reload_triton(
    model_name: ModelName,
    serves: tuple[int, ...],
    tolerance: Tolerance = 1e-4,
    leave_silent: bool = False,
    *,
    repository: ModelRepository,
    fleet: TritonFleet,
) -> tuple[LoadedReplica, ...]:
    """Load a model on every replica, each proven by an inference with the newest version before the next is touched.

    A replica that restarts meanwhile is waited for, about a minute. With `leave_silent`, one that does not answer
    is passed over: started again, it comes up with what is committed. Raises `LoadFailed` where a replica refuses or
    serves something else, `VerificationFailed` where its answers are not the proven ones: a load that is answered
    with success proves nothing.
    """
    if not serves:
        raise InvalidInput(f"model '{model_name}': no versions to serve, expected those of its plan, say --serves 3")
    version = max(serves)
    proof, config = read_proof(repository, model_name, version), repository.read_config(model_name)
    if proof is None or config is None:
        raise InvalidInput(
            f"model '{model_name}' version {version}: nothing recorded that proves it; run prove-candidate and "
            "commit-version first"
        )
    batched, loaded = parsed_config(config).max_batch_size > 0, []
    for address in fleet.check(leave_silent):
        try:
            replica = load_committed(fleet, address, model_name, serves)
            prove_replica(Question(fleet, address, model_name, version, batched), proof, tolerance)
        except ServiceUnavailable:
            if not leave_silent:
                raise
        else:
            loaded.append(replica)
    return tuple(loaded)


def load_committed(fleet: TritonFleet, address: str, model_name: str, serves: tuple[int, ...]) -> LoadedReplica:
    """Load a model on one replica; `LoadFailed` unless that serves exactly these versions then."""
    start = time.perf_counter()
    fleet.load_model(address, model_name)
    served = fleet.ready_versions(address, model_name, fleet.load_timeout_s)  # a large load keeps a server busy
    if served != tuple(sorted(serves)):
        raise LoadFailed(
            f"model '{model_name}' on Triton {address}: serves versions {list(served)}, expected {sorted(serves)}; "
            "see that server's log"
        )
    return LoadedReplica(address=address, versions=served, load_s=time.perf_counter() - start)


def load_afresh(fleet: TritonFleet, address: str, model_name: str, serves: tuple[int, ...]) -> LoadedReplica:
    """Make one replica forget a model and load it again: a backend process that died never starts by itself."""
    fleet.unload_model(address, model_name)
    return load_committed(fleet, address, model_name, serves)


def prove_replica(question: Question, proof: Samples, tolerance: float) -> None:
    """Raise `VerificationFailed` unless a replica answers rightly, pinned to the version and unpinned alike."""
    question.compare(proof, tolerance)
    question._replace(pinned=False).compare(proof.first(1), tolerance)
