"""On which terms answers agree: given, tagged, or by what a replica computes in; each says why."""

import pytest

from blocks.errors import InvalidInput
from slipway.formats.contents import Contents
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.agreement_terms import AgreementKind, choose_terms
from slipway.releases.serving_settings import ServingSettings

SUBJECT = "model 'm' version 1"


def make_contents(precision: str = "FP32", dtype: str = "FP32") -> Contents:
    signature = Signature(
        inputs=(TensorSpec(name="input", dtype=dtype, shape=("batch", 4)),),
        outputs=(TensorSpec(name="output", dtype=dtype, shape=("batch", 3)),),
    )
    return Contents(
        backend="onnxruntime", model_file="model.onnx", files=("model.onnx",), signature=signature, precision=precision
    )


@pytest.mark.parametrize(
    ("contents", "on_gpu", "tolerance", "reason"),
    [
        (make_contents(), False, 1e-4, "FP32 model on a CPU"),
        (make_contents(), True, 5e-3, "FP32 model on a GPU, which computes in TF32"),
        (make_contents("FP64", "FP64"), True, 1e-4, "FP64 model on a CPU"),
        (make_contents("FP16"), False, 2e-2, "FP16 model"),
        (make_contents("BF16"), True, 2e-2, "BF16 model"),
        (make_contents(dtype="FP16"), False, 2e-2, "FP16 model"),
    ],
)
def test_the_tolerance_follows_from_the_precision(
    contents: Contents, on_gpu: bool, tolerance: float, reason: str
) -> None:
    terms = choose_terms(None, {}, contents, on_gpu=on_gpu, subject=SUBJECT)

    assert terms.tolerance == tolerance
    assert reason.split(" on ")[0] in terms.reason


@pytest.mark.parametrize(
    ("said", "on_gpu", "tolerance"),
    [
        (ServingSettings(use_tf32=False), True, 1e-4),
        (ServingSettings(use_tf32=True), True, 5e-3),
        (ServingSettings(tensorrt_precision="FP16"), True, 2e-2),
        (ServingSettings(tensorrt_precision="FP16", use_tf32=False), True, 2e-2),
        (ServingSettings(tensorrt_precision="FP32"), True, 5e-3),
        (ServingSettings(tensorrt_precision="FP16"), False, 1e-4),
    ],
)
def test_the_tolerance_follows_from_what_settings_have_a_gpu_compute_in(
    said: ServingSettings, on_gpu: bool, tolerance: float
) -> None:
    terms = choose_terms(None, {}, make_contents(), on_gpu=on_gpu, settings=said, subject=SUBJECT)

    assert terms.tolerance == tolerance


def test_a_tolerance_that_is_given_comes_before_the_tag_and_the_tag_before_the_precision() -> None:
    tags = {"slipway.tolerance": "0.5"}

    assert choose_terms(0.25, tags, make_contents("FP16"), on_gpu=True, subject=SUBJECT).tolerance == 0.25
    assert choose_terms(None, tags, make_contents("FP16"), on_gpu=True, subject=SUBJECT).tolerance == 0.5


@pytest.mark.parametrize("kind", list(AgreementKind))
def test_the_tag_says_how_answers_are_compared(kind: AgreementKind) -> None:
    tags = {"slipway.agreement": str(kind)}

    assert choose_terms(None, tags, make_contents(), on_gpu=False, subject=SUBJECT).kind is kind


@pytest.mark.parametrize(
    "tags", [{"slipway.agreement": "roughly"}, {"slipway.tolerance": "much"}, {"slipway.tolerance": "0"}]
)
def test_a_tag_that_says_nothing_is_refused(tags: dict[str, str]) -> None:
    [(name, value)] = tags.items()

    with pytest.raises(InvalidInput, match=rf"{SUBJECT}: tag {name} is '{value}', expected .*; set it again"):
        choose_terms(None, tags, make_contents(), on_gpu=False, subject=SUBJECT)
