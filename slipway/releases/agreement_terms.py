"""On which terms answers agree: how they are compared, and how far they may differ; each with its reason."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from blocks.errors import InvalidInput, bounded
from blocks.labels import AGREEMENT_TAG, TOLERANCE_TAG
from slipway.formats.contents import Contents
from slipway.releases.serving_settings import ServingSettings

FP32, TF32, HALF = 1e-4, 5e-3, 2e-2
_HALVES = {"FP16", "BF16"}

Tolerance = Annotated[
    float, Field(gt=0, le=1, description="Largest difference from the known outputs, relative to their scale.")
]
_TOLERANCE = TypeAdapter(Tolerance)


class AgreementKind(StrEnum):
    """How a model's answers are compared."""

    NUMERIC = "numeric"
    CLASSES = "classes"
    DETECTIONS = "detections"
    PROBABILITIES = "probabilities"


class AgreementTerms(BaseModel):
    """How answers are compared, how far they may differ, and why so."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: AgreementKind = AgreementKind.NUMERIC
    tolerance: Tolerance = FP32
    reason: str = Field(default="FP32", description="Where the tolerance comes from.")


def choose_terms(
    tolerance: float | None,
    tags: dict[str, str],
    contents: Contents,
    *,
    on_gpu: bool,
    settings: ServingSettings = ServingSettings(),  # noqa: B008, a value
    subject: str,
) -> AgreementTerms:
    """Return the terms of a version: the tolerance given, else that of its tag, else by what a replica computes in.

    FP32 on a GPU is TF32 unless that is switched off for the model, half precision keeps three digits. Raises
    `InvalidInput` where a tag cannot be used.
    """
    kind = read_kind(tags, subject)
    if tolerance is not None:
        return AgreementTerms(kind=kind, tolerance=tolerance, reason="as the release was given it")
    if (tagged := tags.get(TOLERANCE_TAG)) is not None:
        return AgreementTerms(
            kind=kind, tolerance=_read_tolerance(tagged, subject), reason=f"tag {TOLERANCE_TAG} of the version"
        )
    precisions = {contents.precision} | {
        tensor.dtype for tensor in (*contents.signature.inputs, *contents.signature.outputs)
    }
    if half := sorted(precisions & _HALVES):
        return AgreementTerms(kind=kind, tolerance=HALF, reason=f"{half[0]} model")
    if on_gpu and settings.tensorrt_precision not in {None, "FP32"}:
        return AgreementTerms(kind=kind, tolerance=HALF, reason=f"TensorRT in {settings.tensorrt_precision}")
    if on_gpu and settings.use_tf32 is False and settings.tensorrt_precision is None:
        return AgreementTerms(kind=kind, tolerance=FP32, reason=f"{contents.precision} model on a GPU without TF32")
    if on_gpu and "FP64" not in precisions:
        return AgreementTerms(kind=kind, tolerance=TF32, reason="FP32 model on a GPU, which computes in TF32")
    return AgreementTerms(kind=kind, tolerance=FP32, reason=f"{contents.precision} model on a CPU")


def read_kind(tags: dict[str, str], subject: str) -> AgreementKind:
    """Return how a version's tag says that answers are compared, by value where there is none."""
    tagged = tags.get(AGREEMENT_TAG, AgreementKind.NUMERIC)
    try:
        return AgreementKind(tagged)
    except ValueError as error:
        raise InvalidInput(
            f"{subject}: tag {AGREEMENT_TAG} is {bounded(repr(tagged), 100)}, expected one of "
            f"{', '.join(AgreementKind)}; set it again"
        ) from error


def _read_tolerance(tagged: str, subject: str) -> float:
    try:
        return _TOLERANCE.validate_strings(tagged)
    except ValidationError as error:
        raise InvalidInput(
            f"{subject}: tag {TOLERANCE_TAG} is {bounded(repr(tagged), 100)}, expected a number above 0 and up to 1; "
            "set it again"
        ) from error
