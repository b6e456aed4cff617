"""What depends on how far a training is."""

import pytest

from slipway.learning.optimisation import choose_size, count_steps


@pytest.mark.parametrize(("images", "batch_size", "steps"), [(1437, 64, 22), (64, 64, 1), (20, 64, 1), (9469, 256, 36)])
def test_a_last_smaller_batch_is_left_out_but_the_only_one(images: int, batch_size: int, steps: int) -> None:
    assert count_steps(images, batch_size) == steps


def sizes(epochs: int, size: tuple[int, int], first: float) -> list[tuple[int, int]]:
    return [choose_size(epoch, epochs, size, first) for epoch in range(1, epochs + 1)]


def test_images_grow_in_steps_of_32_and_are_whole_for_the_last_third() -> None:
    found = sizes(20, (160, 160), 0.6)

    assert found == sorted(found)
    assert {side for side, _ in found} == {96, 128, 160}
    assert found[0] == (96, 96) and set(found[13:]) == {(160, 160)}


def test_without_growth_every_epoch_sees_whole_images() -> None:
    assert set(sizes(5, (150, 224), 1)) == {(150, 224)}


def test_the_only_epoch_sees_whole_images_and_none_is_larger_or_below_32_pixels() -> None:
    assert sizes(1, (160, 160), 0.5) == [(160, 160)]
    assert sizes(3, (32, 48), 0.1) == [(32, 32), (32, 32), (32, 48)]
