"""Variants of an ONNX model in fewer bits, made by ONNX Runtime's own tools; inputs and outputs stay FP32."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from blocks.errors import bounded
from blocks.labels import EXTERNAL_DATA_FILE, MODEL_FILE
from blocks.registry import RegisteredVersion
from slipway.learning.datasets import ImageSplit, crop_centre
from slipway.learning.recorded_dataset import load_recorded
from slipway.learning.samples import INPUT, make_input
from slipway.learning.served_precision import Variant

CALIBRATION_IMAGES = 256
_BATCH = 8  # all activations of a batch are held at once: 0.3 GB at 224 pixels


class TrainingImages(CalibrationDataReader):  # type: ignore[misc]
    """Images (n, 3, height, width) in batches, as the calibration takes them."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = iter(
            images[start : start + _BATCH] for start in range(0, len(images), _BATCH)
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next batch, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: make_input(batch)}


class MadeVariant(NamedTuple):
    """A variant's file, or why there is none."""

    precision: Variant
    path: Path
    problem: str | None = None


def make_variant(variant: Variant, source: Path, images: NDArray[np.uint8] | None, external: bool) -> MadeVariant:
    """Make a variant of an FP32 model in a directory beside it; what cannot be made is told, and is no error.

    Args:
        variant: what to make.
        source: the FP32 model.
        images: training images, which INT8 is calibrated on.
        external: whether weights go to a file beside it.
    """
    target = source.parent / variant / MODEL_FILE
    target.parent.mkdir()
    try:
        write_variant(variant, source, target, images, external)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's tools raise a type of their own for each defect
        return MadeVariant(variant, target, f"ONNX Runtime cannot make it: {bounded(error)}")
    return MadeVariant(variant, target)


def load_calibration(parent: RegisteredVersion, num_workers: int | None, seed: int) -> NDArray[np.uint8]:
    """Return training images of the dataset that a version learned from, to calibrate on; never validation images."""
    dataset = load_recorded(parent, num_workers)
    return draw_calibration(dataset.train, dataset.input_size, seed)


def count_bytes(path: Path) -> int:
    """Return the size of a model's file and of its external data."""
    return sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file())


def draw_calibration(training: ImageSplit, size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """Return the training images that activations are measured on, the same for the same seed, at a size."""
    drawn = np.random.default_rng(seed).permutation(len(training))[:CALIBRATION_IMAGES]
    return crop_centre(training.images[np.sort(drawn)], size)


def write_variant(
    variant: Variant, source: Path, target: Path, images: NDArray[np.uint8] | None, external: bool
) -> None:
    """Write a variant of an FP32 model; what ONNX Runtime's tools raise has no common type."""
    if variant == "fp16":
        converted = OnnxModel(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True))
        converted.topological_sort()  # the cast of the input was added last, which is no valid ONNX
        onnx.save(converted.model, str(target), save_as_external_data=external, location=EXTERNAL_DATA_FILE)
    elif images is not None:
        _write_int8(source, target, images, external)


def _write_int8(source: Path, target: Path, images: NDArray[np.uint8], external: bool) -> None:
    """Quantise weights by channel, activations to unsigned bytes: x86 multiplies those with signed weights fastest.

    Weights have 7 of their 8 bits: processors without VNNI (x86 before 2019, AMD's before Zen 4) add two products in 16
    bits, which those of 8 overflow, so that a model would answer otherwise there than where it was proven.
    """
    prepared = target.with_name("prepared.onnx")
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True, save_as_external_data=external)
        quantize_static(
            str(prepared),
            str(target),
            TrainingImages(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=external,
        )
    finally:
        for path in target.parent.glob(f"{prepared.name}*"):
            path.unlink()
