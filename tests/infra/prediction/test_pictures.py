"""A picture becomes what a model takes, and a box in the model's pixels one on the picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blocks.errors import InvalidInput
from infra.prediction.pictures import Fit, Layout, draw, find_layout, fit_picture, make_tensor, open_picture
from infra.prediction.served import Tensor

CHANNELS_FIRST = Tensor("images", "FP32", (-1, 3, 64, 64))


@pytest.mark.parametrize(
    ("shape", "size", "layout"),
    [
        ((-1, 3, 64, 48), None, Layout(64, 48, channels_first=True, batched=True)),
        ((3, 64, 48), None, Layout(64, 48, channels_first=True, batched=False)),
        ((1, 64, 48, 3), None, Layout(64, 48, channels_first=False, batched=True)),
        ((1, 3, -1, -1), (640, 320), Layout(640, 320, channels_first=True, batched=True)),
    ],
)
def test_what_a_model_takes_as_a_picture_is_read_from_its_shape(
    shape: tuple[int, ...], size: tuple[int, int] | None, layout: Layout
) -> None:
    assert find_layout(Tensor("images", "FP32", shape), size) == layout


@pytest.mark.parametrize(
    ("shape", "size", "reason"),
    [
        ((-1, 4), None, "expected a picture"),
        ((1, 5, 64, 64), None, "expected a picture"),
        ((1, 3, -1, -1), None, "any size; say which: --size 640x640"),
        ((1, 3, 64, 64), (32, 32), "takes pictures of 64x64, not 32x32"),
    ],
)
def test_what_is_no_picture_or_of_no_size_is_refused(
    shape: tuple[int, ...], size: tuple[int, int] | None, reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        find_layout(Tensor("images", "FP32", shape), size)


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size", [(200, 100), (100, 200), (33, 64), (1, 500)])
def test_a_box_of_the_model_s_pixels_comes_back_to_where_it_was(fit: Fit, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "white")
    fitted, place = fit_picture(picture, Layout(64, 48, channels_first=True, batched=True), fit)
    box = np.array([[0, 0, size[0], size[1]]], np.float64)
    seen = box * ([place.scale_x, place.scale_y] * 2) + [place.left, place.top] * 2

    assert fitted.size == (48, 64)
    np.testing.assert_allclose(place.restore(seen, *size), box, atol=1e-6)


def test_letterboxing_keeps_the_proportions_and_fills_with_grey() -> None:
    fitted, place = fit_picture(Image.new("RGB", (200, 100), "red"), find_layout(CHANNELS_FIRST), Fit.LETTERBOX)

    pixels = np.asarray(fitted)
    assert (place.scale_x, place.left, place.top) == (0.32, 0, 16)
    assert pixels[0, 0].tolist() == [114, 114, 114] and pixels[32, 32].tolist() == [255, 0, 0]


def test_pixels_are_floats_from_0_to_1_or_bytes_as_they_are() -> None:
    picture, layout = Image.new("RGB", (64, 64), (255, 0, 51)), find_layout(CHANNELS_FIRST)

    floats = make_tensor(picture, CHANNELS_FIRST, layout)
    moved = make_tensor(picture, CHANNELS_FIRST, layout, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    raw = make_tensor(picture, Tensor("images", "UINT8", (3, 64, 64)), Layout(64, 64, True, False))

    assert [array.shape for array in (floats, moved, raw)] == [(1, 3, 64, 64), (1, 3, 64, 64), (3, 64, 64)]
    assert [str(array.dtype) for array in (floats, moved, raw)] == ["float32", "float32", "uint8"]
    assert floats[0, :, 0, 0].tolist() == pytest.approx([1, 0, 0.2])
    assert moved[0, :, 0, 0].tolist() == pytest.approx([1, -1, -0.6])
    assert raw[:, 0, 0].tolist() == [255, 0, 51]


def test_a_picture_is_turned_as_its_camera_was_held(tmp_path: Path) -> None:
    picture, exif = Image.new("RGB", (20, 10)), Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right
    picture.save(tmp_path / "held.jpg", exif=exif)

    assert open_picture(tmp_path / "held.jpg").size == (10, 20)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n\x00"])
def test_what_is_no_picture_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)

    with pytest.raises(InvalidInput, match=r"picture .*a\.png: .*expected a JPEG, PNG"):
        open_picture(tmp_path / "a.png")


def test_boxes_are_drawn_on_a_copy_those_at_the_edge_too() -> None:
    picture = Image.new("RGB", (100, 80), "white")

    drawn = draw(picture, np.array([[0, 0, 40, 40], [60, 50, 100, 80]], float), ["one 0.90", "two 0.80"], [0, 1])

    assert np.asarray(picture).min() == 255
    assert np.asarray(drawn)[40, 20].tolist() == [0xE6, 0x19, 0x4B]  # the lower edge of the first box
