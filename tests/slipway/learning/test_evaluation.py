"""How a model is judged on a split."""

import pytest
import torch

from blocks.errors import InvalidInput
from slipway.learning.evaluation import compute_logits, evaluate
from tests.apparatus.networks import SmallNetwork
from tests.apparatus.trained_candidates import digits

CPU = torch.device("cpu")


def test_a_model_of_other_classes_is_not_judged() -> None:
    with pytest.raises(InvalidInput, match="4 classes apart, the images have 10"):
        evaluate(SmallNetwork(4), digits().validation, 10, CPU)


def test_in_halves_the_logits_are_nearly_those_of_full_precision_and_given_as_such() -> None:
    model, images = SmallNetwork(10), digits().validation.images

    full, half = (compute_logits(model, images, CPU, precision) for precision in (torch.float32, torch.bfloat16))

    assert full.dtype == half.dtype == torch.float32
    assert 0 < (full - half).abs().max() < 0.05


def test_images_that_lie_on_the_device_are_judged_as_those_that_are_brought_there() -> None:
    model, images = SmallNetwork(10), digits().validation.images

    resident = compute_logits(model, torch.from_numpy(images), CPU, torch.float32)

    assert torch.equal(resident, compute_logits(model, images, CPU, torch.float32))
