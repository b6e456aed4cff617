"""A check of what replicas serve, from outside: no registry is asked, the model repository only where it is named."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import InvalidInput, VerificationFailed
from blocks.fleet import TritonFleet
from blocks.repository import ModelRepository
from slipway.formats.signature import Shape, Signature, TensorSpec
from slipway.releases.agreement import Comparison
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.proof import Proof, Question, read_proof
from slipway.releases.questions import Sources, ask_candidate
from slipway.releases.serving_config import read_policy, takes_batches


class CheckedReplica(BaseModel):
    """What one replica answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    version: int
    comparison: Comparison | None = Field(description="With what proved the version, None where nothing is recorded.")
    elapsed_ms: tuple[float, ...]


class _Expected(NamedTuple):
    """What is to answer."""

    version: int
    batched: bool = False
    proof: Proof | None = None


def check_served(
    model_name: str,
    fleet: TritonFleet,
    repository: ModelRepository | None,
    *,
    input_shape: Shape | None,
    output_shape: Shape | None,
    requests: int,
) -> tuple[CheckedReplica, ...]:
    """Ask every replica for made-up inputs and, where that is recorded, for what proved the version.

    Raises `VerificationFailed` where a shape, a data type or a value is not what it is to be, where an answer is not
    the proven one, or where replicas serve different versions; `InvalidInput` where a shape cannot be asked with.

    Args:
        model_name: the model.
        fleet: the replicas, each of which has to answer.
        repository: where the committed policy and the proof are; without it what the first replica serves is expected.
        input_shape: shape of each request, batch axis included; the model's own where left out.
        output_shape: shape to expect.
        requests: how many made-up inputs each replica is asked for.
    """
    addresses = fleet.check()
    expected = _find_expected(model_name, addresses[0], fleet, repository)
    return tuple(
        _check_one(
            Question(fleet, address, model_name, expected.version, expected.batched),
            expected.proof,
            input_shape,
            output_shape,
            requests,
        )
        for address in addresses
    )


def _check_one(
    question: Question, proof: Proof | None, input_shape: Shape | None, output_shape: Shape | None, requests: int
) -> CheckedReplica:
    signature = _describe(question)
    sources = Sources(
        golden=None,
        example=None,
        given=_give_shape(signature, input_shape, question.subject),
        seed=question.version,
        requests=requests,
    )
    served = question._replace(batched=False).unpinned  # the server's own shapes have the batch axis
    asked = ask_candidate(served, signature, sources, AgreementTerms(), output_shape)
    comparison = None
    if proof is not None:
        comparison = question.compare(*proof)
        question.unpinned.compare(*proof.first)
    return CheckedReplica(
        address=question.address,
        version=question.version,
        comparison=comparison,
        elapsed_ms=tuple(asked.elapsed_ms),
    )


def _find_expected(model_name: str, address: str, fleet: TritonFleet, repository: ModelRepository | None) -> _Expected:
    config = repository.read_config(model_name) if repository is not None else None
    if repository is not None and config is not None and (policy := read_policy(config)):
        batched, version = takes_batches(config), max(policy)
        return _Expected(version=version, batched=batched, proof=read_proof(repository, model_name, version, batched))
    served = fleet.list_ready_versions(address, model_name)
    if not served:
        raise VerificationFailed(
            f"model '{model_name}' on Triton {address}: no version is ready, expected one; run reload-triton, and see "
            "that server's log"
        )
    return _Expected(version=max(served))


def _describe(question: Question) -> Signature:
    """Return what a replica says that the model takes and gives, batch axis included."""
    found = question.fleet.describe(question.address, question.model_name)
    return Signature(inputs=_read_specs(found.inputs), outputs=_read_specs(found.outputs))


def _read_specs(tensors: object) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=tensor.name,
            dtype=tensor.datatype,
            shape=tuple(size if size >= 0 else f"axis_{axis}" for axis, size in enumerate(tensor.shape)),
        )
        for tensor in tensors  # type: ignore[attr-defined]
    )


def _give_shape(signature: Signature, shape: Shape | None, subject: str) -> Mapping[str, Shape]:
    if shape is None:
        return {}
    if len(signature.inputs) != 1 or not signature.inputs[0].accepts(shape):
        takes = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in signature.inputs)
        raise InvalidInput(f"{subject}: takes {takes}, expected {list(shape)}; correct --expected-input-shape")
    return {signature.inputs[0].name: shape}
