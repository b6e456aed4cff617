"""Answers of a registered version that are known before any replica is asked: golden samples, else ONNX Runtime's."""

from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import Any

from blocks.cores import count_cores
from blocks.errors import InvalidInput, UnusableModel, VerificationFailed, bounded
from blocks.fleet import Tensors
from blocks.labels import MODEL_FILE
from blocks.registry import ModelRegistry
from slipway.formats.onnx import BACKEND
from slipway.releases.agreement import make_agreements, shape_like
from slipway.releases.agreement_terms import AgreementTerms, choose_terms
from slipway.releases.fetched import FetchedModel, ensure_files, load_golden
from slipway.releases.proof import Proof
from slipway.releases.samples import Exchange
from slipway.releases.synthetic import list_attempts, read_given_shapes

_MADE_UP, _GOLDEN = 4, 16


def know_answers(fetched: FetchedModel, registry: ModelRegistry, *, on_gpu: bool) -> Proof:
    """Return requests of one row each with the answers of a registered version.

    Raises `InvalidInput` where it has no golden samples and ONNX Runtime cannot compute it here, `UnusableModel` where
    it takes no inputs that can be made up.
    """
    terms = choose_terms(None, fetched.registered.tags, fetched.contents, on_gpu=on_gpu, subject=fetched.subject)
    golden = load_golden(fetched, registry)
    if golden is not None:
        return Proof(list(islice(golden.list_exchanges(fetched.signature, batched=True, size=1), _GOLDEN)), terms)
    session = _open_session(fetched, registry)
    given = read_given_shapes(fetched.signature, fetched.registered.tags, None, {}, fetched.subject)
    refusal: Exception | None = None
    seed = fetched.registered.version
    for requests in list_attempts(fetched.signature, given, _MADE_UP, seed=seed, subject=fetched.subject):
        try:
            return Proof(_compute(session, requests), terms)
        except Exception as error:  # noqa: BLE001, ONNX Runtime's errors have no common type
            refusal = refusal or error
    raise UnusableModel(
        f"{fetched.subject}: ONNX Runtime computes no inputs of those that were made up ({bounded(refusal)}); register "
        "it with golden samples"
    ) from refusal


def are_told_apart(proof: Proof, other: FetchedModel, registry: ModelRegistry) -> bool:
    """Tell whether another version is known to answer the same requests otherwise, so that answers tell which it is."""
    with suppress(InvalidInput):
        session = _open_session(other, registry)
        try:
            answered = _compute(session, (exchange.inputs for exchange in proof.exchanges))
        except Exception:  # noqa: BLE001, as above: a version that does not take the requests is another one
            return True
        return not _agree(proof.exchanges, answered, proof.terms)
    return False


def _agree(known: Iterable[Exchange], found: Iterable[Exchange], terms: AgreementTerms) -> bool:
    try:
        for one, two in zip(known, found, strict=True):
            outputs = shape_like(two.outputs, one.outputs, "")
            for agreement in make_agreements(one.outputs, terms):
                agreement.add(outputs, one.outputs)
                agreement.check("")
    except VerificationFailed:
        return False
    return True


def _open_session(fetched: FetchedModel, registry: ModelRegistry) -> Any:
    if fetched.contents.backend != BACKEND:
        raise InvalidInput(
            f"{fetched.subject}: has no golden samples and is no ONNX model, so that its answers are not known; "
            "register it with --golden"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise InvalidInput(
            f"{fetched.subject}: has no golden samples, and there is no onnxruntime here that computes its answers; "
            "install it, or register the version with --golden"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_cores()  # left to itself it takes the node's, whatever its container may use
    path = ensure_files(fetched, registry) / MODEL_FILE
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _compute(session: Any, requests: Iterable[Tensors]) -> list[Exchange]:
    names = [output.name for output in session.get_outputs()]
    return [Exchange(inputs, dict(zip(names, session.run(names, inputs), strict=True))) for inputs in requests]
