"""What is tuned, and where: the live version, how it is served now, the replica that is measured on, the requests."""

from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment
from blocks.errors import InvalidInput
from blocks.fleet import Tensors, TritonFleet
from blocks.repository_layout import name_candidate
from slipway.formats.model_config import ENSEMBLE, find_backend
from slipway.releases.candidate import find_candidates, remove_candidate
from slipway.releases.config_fields import FIELDS
from slipway.releases.kept_settings import read_kept, read_recorded
from slipway.releases.proof import Proof, read_proof
from slipway.releases.proven_config import read_author_config
from slipway.releases.samples import encode_texts
from slipway.releases.served_shapes import send_as_served
from slipway.releases.serving_config import make_candidate_config, parse_config, read_policy, takes_batches
from slipway.releases.serving_settings import ServingSettings
from slipway.releases.tuned_config import apply_settings
from slipway.tuning.knobs import KNOBS, Knobs, Ranges, read_knobs
from slipway.tuning.terms import TuningTerms

_DIFFERENT = 16  # requests, one after the other


class Ground(BaseModel):
    """What a tuning works on; nothing of it changes while it goes on, whatever is released meanwhile."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    version: int = Field(description="Triton's version that is live: the one that is measured.")
    address: str = Field(description="The replica that is measured on.")
    committed: str = Field(description="The config.pbtxt it is served by.")
    author: str | None = Field(description="What its author wrote of it, None where it was generated.")
    served: ServingSettings = Field(description="What settings said of it when it was released.")
    kept: ServingSettings = Field(description="What they say now.")
    start: Knobs
    ranges: Ranges

    @property
    def subject(self) -> str:
        """Model and version, for messages."""
        return f"model '{self.model_name}' Triton version {self.version}"

    def make_config(self, knobs: Knobs, epoch: int) -> tuple[str, str]:
        """Return the candidate's name and its config.pbtxt; `InvalidInput` where it cannot be served so."""
        name, config = name_candidate(self.model_name, epoch), self.committed
        if knobs != self.start:
            settings = knobs.say(self.start, self.served)
            config = apply_settings(config, settings, self.served, self.author, f"model '{self.model_name}'")
        return name, make_candidate_config(config, name, self.version)


def choose_ground(model_name: str, terms: TuningTerms, environment: Environment) -> Ground:
    """Return what is tuned and where, after removing what an earlier tuning left.

    Raises `InvalidInput` where nothing is live, where nothing of it can be turned, or where the replica serves and
    nobody said that its clients may wait.
    """
    repository = environment.repository
    committed = repository.read_config(model_name)
    live = max(read_policy(committed), default=None)
    if committed is None or live is None or not repository.list_recorded(model_name):
        raise InvalidInput(
            f"model '{model_name}': nothing that slipway released is live, expected a version to measure; release one "
            "as it is, then tune it"
        )
    address = choose_replica(model_name, environment.fleet, terms)
    author = read_author_config(repository, model_name, live)
    served, start = read_recorded(repository, model_name, live), read_knobs(committed)
    ranges = narrow(terms.make_ranges(start), committed, author, f"model '{model_name}'")
    wider = beside(address, environment)
    for left in find_candidates(model_name, wider):
        remove_candidate(left, wider)
    return Ground(
        model_name=model_name,
        version=live,
        address=address,
        committed=committed,
        author=author,
        served=served,
        kept=read_kept(repository, model_name).now,
        start=start,
        ranges=ranges,
    )


def choose_replica(model_name: str, fleet: TritonFleet, terms: TuningTerms) -> str:
    """Return the replica to measure on: one beside the fleet, or one that serves where that is allowed.

    Raises `InvalidInput` where it serves and that is not allowed, `ServiceUnavailable` where it does not answer.
    """
    ours = fleet.list_addresses()
    if terms.replica is not None and terms.replica not in ours:
        fleet.ping(terms.replica)
        return terms.replica
    if not terms.beside_traffic:
        raise InvalidInput(
            f"model '{model_name}': {'Triton ' + terms.replica if terms.replica else 'every replica of the fleet'} "
            "serves traffic, and a tuning loads it to its limits, expected a replica without clients; name a Triton "
            "beside the fleet that reads the same repository (replica), or say that clients may wait (beside_traffic)"
        )
    address = terms.replica or ours[-1]  # candidates of releases are on the first
    fleet.ping(address)
    return address


def narrow(ranges: Ranges, config: str, author: str | None, subject: str) -> Ranges:
    """Return the ranges of those knobs that the model has and its author left open; `InvalidInput` where none is."""
    message, written = parse_config(config), parse_config(author) if author is not None else None
    if message.platform == ENSEMBLE or message.HasField("ensemble_scheduling"):
        raise InvalidInput(f"{subject}: is an ensemble, which has no instances; tune the models it calls")
    left = set(KNOBS)
    if message.max_batch_size == 0:
        left -= {"queue_delay_us", "max_batch_size"}
    if find_backend(message) != "onnxruntime":
        left -= {"intra_op_threads"}
    if len(message.instance_group) > 1:
        left -= {"instances"}
    if written is not None:
        left -= {field.names[0] for field in FIELDS if field.read(written) is not None}
    found = Ranges(**{name: getattr(ranges, name) for name in left})
    if not any(found.model_dump().values()):
        raise InvalidInput(
            f"{subject}: its author's config.pbtxt says, or its backend has not, any of {', '.join(KNOBS)} for which "
            "there are values to try; take one out of that file, or give values"
        )
    return found


def beside(address: str, environment: Environment) -> Environment:
    """Return an environment whose fleet has one replica more, unless it is one of them."""
    fleet = environment.fleet
    if address in fleet.list_addresses():
        return environment
    return replace(environment, fleet=fleet.model_copy(update={"replicas": [*fleet.replicas, address]}))


def read_requests(ground: Ground, rows: int, environment: Environment) -> tuple[list[Tensors], list[str]]:
    """Return the requests that prove the version, in the shapes in which Triton takes them, and its outputs.

    Of a model that takes batches each has so many rows. Raises `InvalidInput` where nothing was recorded.
    """
    batched = takes_batches(ground.committed)
    proof = read_proof(environment.repository, ground.model_name, ground.version, batched)
    if proof is None:
        raise InvalidInput(f"{ground.subject}: no requests were recorded of its proof; release it again, then tune it")
    requests = cut_rows(proof, rows) if batched else [exchange.inputs for exchange in proof.exchanges]
    sent = [
        send_as_served({name: encode_texts(array) for name, array in request.items()}, batched)
        for request in requests[:_DIFFERENT]
    ]
    return sent, proof.outputs


def cut_rows(proof: Proof, rows: int) -> list[Tensors]:
    """Return the rows of a proof's requests, so many in each of the new ones, repeated where there are too few."""
    found: list[Tensors] = []
    for exchange in proof.exchanges:
        length = len(next(iter(exchange.inputs.values())))
        if any(len(array) != length for array in exchange.inputs.values()):
            found.append(exchange.inputs)
            continue
        found += [{name: array[row : row + 1] for name, array in exchange.inputs.items()} for row in range(length)]
    return found if rows == 1 else [{name: _repeat(array, rows) for name, array in one.items()} for one in found]


def _repeat(array: np.ndarray, rows: int) -> Any:
    return np.concatenate([array[:1]] * rows)
