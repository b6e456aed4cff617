"""How images become what a step learns from."""

import pytest
import torch

from slipway.learning.augmentation import crop_randomly, prepare
from slipway.learning.reproducing import seeded

RAMP = torch.linspace(0, 255, 40).to(torch.uint8).view(1, 1, 1, 40).expand(64, 3, 36, 40).contiguous()


def test_random_crops_differ_by_image_and_stay_within_its_pixels() -> None:
    ramp = torch.linspace(0, 1, 40).view(1, 1, 1, 40).expand(64, 3, 36, 40).contiguous()

    with seeded(0):
        crops = crop_randomly(ramp, (32, 32))

    rising = crops[:, 0, 16, -1] > crops[:, 0, 16, 0]
    assert crops.shape == (64, 3, 32, 32)
    assert crops.min() >= 0 and crops.max() <= 1
    assert 10 < int(rising.sum()) < 54, "about half are mirrored"
    assert len(torch.unique(crops[:, 0, 16, 0])) > 32


def test_crops_cut_in_halves_are_those_cut_in_full_precision_but_for_their_rounding() -> None:
    cut = []
    for precision in (torch.float32, torch.bfloat16, torch.float16):
        with seeded(0):
            cut.append(prepare(RAMP, (32, 32), precision, augmented=True))

    assert [pixels.dtype for pixels in cut] == [torch.float32, torch.bfloat16, torch.float16]
    assert (cut[1].float() - cut[0]).abs().max() < 0.03, "a pixel of the ramp, which is 40 wide"
    assert (cut[2].float() - cut[0]).abs().max() < 0.004


def test_halves_lie_with_channels_last_as_their_kernels_take_them() -> None:
    pixels = prepare(RAMP, (36, 40), torch.bfloat16, augmented=False)

    assert pixels.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augmented", [True, False])
def test_images_are_prepared_at_any_size(augmented: bool) -> None:
    assert prepare(RAMP, (16, 24), torch.float32, augmented=augmented).shape == (64, 3, 16, 24)


def test_images_that_are_not_augmented_are_only_scaled() -> None:
    assert torch.equal(prepare(RAMP, (36, 40), torch.float32, augmented=False), RAMP.float() / 255)
