"""Proof that a replica serves a model: its answers to requests whose answers are known."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from blocks.errors import IntegrityError, UnusableModel, VerificationFailed
from blocks.fleet import Answer, Tensors, TritonFleet
from blocks.labels import PROOF_FILE
from blocks.repository import ModelRepository
from slipway.releases.agreement import Comparison, make_agreements, shape_like
from slipway.releases.agreement_terms import AgreementKind, AgreementTerms
from slipway.releases.samples import BATCH, Exchange, encode_texts, pack_exchanges, shorten, unpack_exchanges
from slipway.releases.served_shapes import send_as_served


class Proof(NamedTuple):
    """Requests with the answers that prove a version, and the terms on which answers agree with them."""

    exchanges: Sequence[Exchange]
    terms: AgreementTerms

    @property
    def first(self) -> "Proof":
        """The first request alone."""
        return self._replace(exchanges=self.exchanges[:1])

    def loosen(self, factor: float) -> "Proof":
        """Return the same on looser terms."""
        tolerance = min(1.0, self.terms.tolerance * factor)
        return self._replace(terms=self.terms.model_copy(update={"tolerance": tolerance}))

    @property
    def outputs(self) -> list[str]:
        """The outputs whose values are known."""
        return list(self.exchanges[0].outputs)


class Question(NamedTuple):
    """Whom to ask for what."""

    fleet: TritonFleet
    address: str
    model_name: str
    version: int
    batched: bool
    asked_as: str | None = None  # another name the version is served under
    pinned: bool = True
    most_rows: int = BATCH  # in one request, of a model that takes batches

    @property
    def name(self) -> str:
        """The model name requests carry."""
        return self.asked_as or self.model_name

    @property
    def subject(self) -> str:
        """Model, version and replica, for messages."""
        return f"model '{self.model_name}' version {self.version} on Triton {self.address}"

    @property
    def unpinned(self) -> "Question":
        """The same, asked as clients do that name no version."""
        return self._replace(pinned=False)

    def ask(self, requests: Iterable[Tensors], outputs: list[str]) -> Iterator[Answer]:
        """Yield the answers to requests in the model's own shapes; `VerificationFailed` where another version answers.

        Inputs are sent, and outputs come, in the shapes in which Triton serves them.
        """
        version = self.version if self.pinned else None
        sent = (
            send_as_served({name: encode_texts(array) for name, array in request.items()}, self.batched)
            for request in requests
        )
        for answer in self.fleet.answers(self.address, self.name, sent, outputs, version):
            if answer.version != self.version:
                raise VerificationFailed(
                    f"{self.subject}: answered by version {answer.version}, expected {self.version}"
                )
            yield answer

    def compare(self, exchanges: Iterable[Exchange], terms: AgreementTerms) -> Comparison:
        """Compare a replica's answers; `VerificationFailed` where one differs from the known one."""
        asked, samples = _Remembered(exchanges), 0
        known = make_agreements(asked.last.outputs, terms)
        onnxruntime = make_agreements(asked.last.onnxruntime, terms) if asked.last.onnxruntime else []
        for answer in self.ask((exchange.inputs for exchange in asked), list(asked.last.outputs)):
            samples += asked.last.samples
            for agreements, expected in ((known, asked.last.outputs), (onnxruntime, asked.last.onnxruntime)):
                outputs = _shape(answer.outputs, expected, terms, self.subject)
                for agreement in agreements:
                    agreement.add(outputs, expected)
        for agreement in known:
            agreement.check(self.subject)
        return Comparison(
            samples=samples,
            top1_agreement=min((agreement.top1 for agreement in known), default=1.0),
            max_difference=max((agreement.difference for agreement in known), default=0.0),
            max_difference_onnxruntime=max((found.difference for found in onnxruntime), default=None),
        )


class _Remembered:
    """Exchanges as they are asked for: the one on its way is remembered, no other."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self._left = iter(exchanges)
        self.last = next(self._left)

    def __iter__(self) -> Iterator[Exchange]:
        yield self.last
        for exchange in self._left:
            self.last = exchange
            yield exchange


def read_proof(repository: ModelRepository, model_name: str, version: int, batched: bool) -> Proof | None:
    """Return what proves a released version, None where nothing was recorded.

    Raises `IntegrityError` where what was recorded is no longer readable.

    Args:
        repository: where it is recorded.
        model_name: the model.
        version: Triton's version of it.
        batched: whether Triton batches requests to it, for what earlier releases recorded.
    """
    content = repository.read_record(model_name, version, PROOF_FILE)
    if content is None:
        return None
    subject = f"model '{model_name}' version {version}, recorded {PROOF_FILE}"
    try:
        exchanges, terms = unpack_exchanges(content, subject, batched)
        return Proof(exchanges, AgreementTerms.model_validate(terms))
    except UnusableModel as error:
        raise IntegrityError(str(error)) from error
    except ValidationError as error:
        raise IntegrityError(
            f"{subject}: its terms cannot be read ({error.errors()[0]['msg']}); release the version again"
        ) from error


def write_proof(
    repository: ModelRepository, model_name: str, version: int, proof: Proof, batched: bool, most_rows: int = BATCH
) -> None:
    """Record what proves a version: its first request as it is, the others in as few as may be."""
    exchanges = shorten(proof.exchanges, batched and proof.terms.kind is not AgreementKind.DETECTIONS, most_rows)
    content = pack_exchanges(exchanges, proof.terms.model_dump(mode="json"))
    repository.write_record(model_name, version, PROOF_FILE, content)


def _shape(outputs: Tensors, expected: Tensors, terms: AgreementTerms, subject: str) -> Tensors:
    """Return an answer as the known one is shaped; how many objects a detector finds is for its agreement to judge."""
    if terms.kind is AgreementKind.DETECTIONS:
        return outputs
    return shape_like(outputs, expected, subject)
