"""Samples on disk."""

from pathlib import Path

import numpy as np
import pytest

from blocks.errors import UnusableModel
from slipway.learning.samples import draw_inputs, make_input, read_samples, write_golden, write_samples


def test_golden_samples_are_plain_arrays_under_the_tensors_names(tmp_path: Path) -> None:
    inputs, outputs = draw_inputs((4, 3, 8, 8), seed=0), np.ones((4, 10), np.float32)

    write_golden(tmp_path / "golden.npz", inputs, outputs, outputs + 1)

    with np.load(tmp_path / "golden.npz", allow_pickle=False) as golden:
        assert sorted(golden) == ["input/input", "onnxruntime/output", "output/output"]
        assert np.array_equal(golden["input/input"], inputs) and np.array_equal(golden["output/output"], outputs)
        assert np.array_equal(golden["onnxruntime/output"], outputs + 1)


def test_random_inputs_are_pixels_that_depend_on_the_seed_alone() -> None:
    first, again, other = (draw_inputs((5, 3, 8, 8), seed) for seed in (7, 7, 8))

    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.dtype == np.float32 and first.min() >= 0 and first.max() < 1


def test_kept_images_come_back_as_a_model_takes_them(tmp_path: Path) -> None:
    images = np.array([0, 51, 255], np.uint8).repeat(4).reshape(1, 3, 2, 2)

    write_samples(tmp_path / "samples.npz", images, np.zeros(1, np.int64))

    assert make_input(read_samples(tmp_path / "samples.npz"))[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.2, 1.0])


def test_an_archive_with_pickles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", images=np.array([{}], dtype=object))

    with pytest.raises(UnusableModel, match="without pickles"):
        read_samples(tmp_path / "samples.npz")
