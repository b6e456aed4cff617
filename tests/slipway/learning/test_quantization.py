"""Variants as ONNX Runtime makes them, of a network that has learned the digits; no server is needed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from slipway.learning import quantization
from slipway.learning.datasets import ImageDataset, ImageSplit
from slipway.learning.export import write_onnx
from slipway.learning.inference import open_session
from slipway.learning.quantization import count_bytes, draw_calibration, make_variant
from slipway.learning.samples import draw_inputs, make_input
from slipway.learning.served_precision import TOLERANCES, VARIANTS, Precision, Variant
from slipway.learning.variants import find_problem, measure, time_in_turns
from tests.apparatus.networks import ConvolutionalNetwork, learn
from tests.apparatus.trained_candidates import SHAPE, digits

Files = dict[Precision, Path]


@pytest.fixture(scope="module")
def images() -> ImageDataset:
    return digits()


@pytest.fixture(scope="module")
def files(images: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The ONNX file of each precision of a network that was trained."""
    torch.manual_seed(0)
    network = ConvolutionalNetwork(10)
    learn(network, images.train.images, images.train.labels)
    path = tmp_path_factory.mktemp("fp32") / "model.onnx"
    write_onnx(network, SHAPE, path, external_data=False)
    calibration = draw_calibration(images.train, images.input_size, seed=0)
    made = [make_variant(variant, path, calibration, external=False) for variant in VARIANTS]
    assert [each.problem for each in made] == [None, None]
    return {"fp32": path, **{each.precision: each.path for each in made}}


@pytest.fixture
def inputs(images: ImageDataset) -> dict[str, NDArray[np.float32]]:
    return {"random": draw_inputs((20, 3, 32, 32), seed=0), "real": make_input(images.validation.images[:20])}


def weights(path: Path) -> set[int]:
    """Return the types of a model's larger weights."""
    return {tensor.data_type for tensor in onnx.load(str(path)).graph.initializer if np.prod(tensor.dims) > 100}


def test_weights_are_in_fewer_bits_and_inputs_and_outputs_stay_fp32(files: Files) -> None:
    assert weights(files["fp16"]) == {TensorProto.FLOAT16}
    assert weights(files["int8"]) == {TensorProto.INT8}
    for path in files.values():
        session = open_session(path)
        assert [tensor.type for tensor in (*session.get_inputs(), *session.get_outputs())] == ["tensor(float)"] * 2


def test_scales_are_told_channel_by_channel(files: Files) -> None:
    scales = [tensor for tensor in onnx.load(str(files["int8"])).graph.initializer if "scale" in tensor.name]

    assert any(tuple(scale.dims) == (32,) for scale in scales)


def test_a_file_is_as_small_as_its_weights(files: Files) -> None:
    full, half, quarter = (count_bytes(files[name]) for name in ("fp32", "fp16", "int8"))

    assert half < 0.65 * full and quarter < 0.5 * full


def test_each_variant_is_measured_on_every_validation_image(files: Files, images: ImageDataset) -> None:
    sessions = {name: open_session(path) for name, path in files.items()}

    full, half, quarter = measure(sessions, dict.fromkeys(files, 1), images.validation)

    logits = {name: run(path, make_input(images.validation.images)) for name, path in files.items()}
    right = {name: float((found.argmax(1) == images.validation.labels).mean()) for name, found in logits.items()}
    assert [each.images for each in (full, half, quarter)] == [360] * 3
    assert {each.precision: each.accuracy for each in (full, half, quarter)} == pytest.approx(right)
    assert (full.max_diff, full.changed_classes) == (0.0, 0.0)
    scale, apart = np.abs(logits["fp32"]).max(), np.abs(logits["fp32"] - logits["int8"]).max()
    assert quarter.max_diff == pytest.approx(apart / scale, rel=1e-4)
    assert half.max_diff is not None and quarter.max_diff is not None and 0 < half.max_diff < quarter.max_diff
    assert full.accuracy is not None and full.accuracy > 0.8 and full.accuracy - (quarter.accuracy or 0) < 0.03
    changed = float((logits["fp32"].argmax(1) != logits["int8"].argmax(1)).mean())
    assert quarter.changed_classes == pytest.approx(changed)


def test_the_loss_is_the_mean_cross_entropy(files: Files, images: ImageDataset) -> None:
    [full] = measure({"fp32": open_session(files["fp32"])}, {"fp32": 1}, images.validation)

    logits = torch.from_numpy(run(files["fp32"], make_input(images.validation.images)))
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(images.validation.labels))
    assert full.loss == pytest.approx(float(expected), rel=1e-4)


def test_answers_that_are_no_numbers_have_no_figures(files: Files, images: ImageDataset, tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    overflow(files["fp32"], broken)

    _, half = measure(
        {"fp32": open_session(files["fp32"]), "fp16": open_session(broken)}, {"fp32": 1, "fp16": 1}, images.validation
    )

    assert (half.accuracy, half.loss, half.max_diff) == (None, None, None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_sound_variant_computes_the_same_by_whatever_kernels(
    files: Files, inputs: dict[str, NDArray[np.float32]], variant: Variant
) -> None:
    assert find_problem(variant, files[variant], files["fp32"], inputs) is None


def test_kernels_that_disagree_by_more_than_a_release_allows_are_a_problem(
    files: Files, inputs: dict[str, NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, "fp16", 1e-12)

    problem = find_problem("fp16", files["fp16"], files["fp32"], inputs)

    assert problem is not None and problem.startswith("gate 2: its own kernels disagree, 20 random samples")


def test_a_variant_that_takes_something_else_is_a_problem(
    files: Files, inputs: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    other = tmp_path / "model.onnx"
    model = onnx.load(str(files["int8"]))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(other))

    problem = find_problem("int8", other, files["fp32"], inputs)

    assert problem is not None and problem.startswith("takes and gives")


def test_a_damaged_variant_is_a_problem(files: Files, inputs: dict[str, NDArray[np.float32]], tmp_path: Path) -> None:
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(files["int8"].read_bytes()[:-3000])

    problem = find_problem("int8", damaged, files["fp32"], inputs)

    assert problem is not None and "cannot be checked and run" in problem


def test_what_cannot_be_made_is_told_and_leaves_the_others_alone(files: Files, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"no model")

    made = make_variant("fp16", source, None, external=False)

    assert made.problem is not None and made.problem.startswith("ONNX Runtime cannot make it: ")


def test_the_same_seed_draws_the_same_training_images_and_another_one_others(images: ImageDataset) -> None:
    first, again, other = (draw_calibration(images.train, images.input_size, seed) for seed in (3, 3, 4))

    assert len(first) == quantization.CALIBRATION_IMAGES
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_calibration_images_are_the_middle_of_what_training_crops(images: ImageDataset) -> None:
    larger = np.pad(images.train.images[:8], ((0, 0), (0, 0), (2, 2), (2, 2)))

    drawn = draw_calibration(ImageSplit(larger, images.train.labels[:8]), (32, 32), seed=0)

    assert np.array_equal(drawn, images.train.images[:8])


def test_external_weights_stay_beside_the_file(files: Files, images: ImageDataset, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(onnx.load(str(files["fp32"])), str(source), save_as_external_data=True, size_threshold=0, location="w")

    for variant in VARIANTS:
        made = make_variant(variant, source, images.train.images[:64], external=True)

        assert made.problem is None
        assert "prepared.onnx" not in {path.name for path in made.path.parent.iterdir()}
        assert run(made.path, make_input(images.validation.images[:4])).shape == (4, 10)


def test_each_takes_its_turn_in_every_round(
    files: Files, images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock: Iterator[float] = iter(float(number * number) for number in range(1000))
    monkeypatch.setattr("slipway.learning.variants.time.perf_counter", lambda: next(clock))
    sessions = {name: open_session(path) for name, path in files.items()}

    times = time_in_turns(sessions, make_input(images.validation.images[:2]))

    # By a clock that runs ever faster, whoever were always first would seem the fastest by far.
    assert max(times.values()) < 1.3 * min(times.values())


def run(path: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(onnxruntime.InferenceSession(str(path)).run(["output"], {"input": inputs})[0])


def overflow(source: Path, target: Path) -> None:
    """Write a model whose answers are beyond every number."""
    model = onnx.load(str(source))
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = onnx.numpy_helper.to_array(largest) * np.float32(3e38)
    largest.CopyFrom(onnx.numpy_helper.from_array(values, largest.name))
    onnx.save(model, str(target))
