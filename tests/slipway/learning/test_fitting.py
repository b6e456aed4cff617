"""The training loop, on networks that take milliseconds."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blocks.errors import InvalidInput, UnusableModel
from slipway.learning.datasets import ImageDataset, ImageSplit, load_dataset
from slipway.learning.fitting import EpochFigures, Fitting, crop_randomly, deterministic, evaluate, make_optimiser
from slipway.learning.parameters import Optimizer
from slipway.learning.resnet import ResNet18
from tests.apparatus.networks import NormalisedNetwork, SmallNetwork

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return load_dataset("digits", [1, 3, 32, 32], 0)


def few(dataset: ImageDataset, train: int, validation: int) -> ImageDataset:
    return ImageDataset(
        name=dataset.name,
        source=dataset.source,
        classes=dataset.classes,
        train=ImageSplit(dataset.train.images[:train], dataset.train.labels[:train]),
        validation=ImageSplit(dataset.validation.images[:validation], dataset.validation.labels[:validation]),
        input_size=dataset.input_size,
        augmented=dataset.augmented,
    )


def fitting(model: nn.Module, images: ImageDataset, epochs: int, batch_size: int = 32) -> Fitting:
    return Fitting(model, images, epochs=epochs, learning_rate=1e-2, batch_size=batch_size, device=CPU)


def fitted(model: nn.Module, images: ImageDataset, epochs: int = 1, batch_size: int = 32) -> list[EpochFigures]:
    return list(fitting(model, images, epochs, batch_size).train_epochs())


def timeless(trained: Fitting) -> list[EpochFigures]:
    return [replace(figures, epoch_time_s=0) for figures in trained.history]


def trained_weights(images: ImageDataset, seed: int) -> dict[str, Tensor]:
    with deterministic(seed):
        model = ResNet18(10)
        fitted(model, images)
    return model.state_dict()


def test_the_same_seed_gives_identical_weights_and_another_seed_others(digits: ImageDataset) -> None:
    images = few(digits, train=128, validation=32)

    first, again, other = (trained_weights(images, seed) for seed in (3, 3, 4))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["network.fc.weight"], other["network.fc.weight"])


def test_training_leaves_the_process_random_state_and_settings_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)

    with deterministic(99):
        torch.rand(5)

    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_model_ends_with_the_weights_of_the_best_epoch(digits: ImageDataset) -> None:
    with deterministic(0):
        model = SmallNetwork(10)
        history = fitted(model, few(digits, train=512, validation=200), epochs=6)

    best = max(history, key=lambda figures: (figures.val_accuracy, -figures.val_loss))
    judged = evaluate(model, few(digits, 0, 200).validation, 10, CPU)
    assert history[-1].best_epoch == best.epoch
    assert judged.accuracy == history[-1].best_val_accuracy == best.val_accuracy
    assert judged.loss == pytest.approx(best.val_loss)


def test_the_best_figures_are_those_of_one_epoch_and_never_get_worse(digits: ImageDataset) -> None:
    with deterministic(0):
        history = fitted(SmallNetwork(10), few(digits, train=512, validation=200), epochs=6)

    accuracies = [figures.best_val_accuracy for figures in history]
    assert accuracies == sorted(accuracies) and 0 <= accuracies[0] <= accuracies[-1] <= 1
    assert all(figures.best_val_loss == history[figures.best_epoch - 1].val_loss for figures in history)


def test_what_goes_on_from_a_stored_snapshot_ends_as_if_it_had_never_stopped(
    digits: ImageDataset, tmp_path: Path
) -> None:
    images = few(digits, train=256, validation=64)
    with deterministic(0):
        whole = fitting(NormalisedNetwork(10), images, epochs=6)
        snapshots = [whole.snapshot() for _ in whole.train_epochs()]
    # only now: had they changed while training went on, it would show
    for epoch, snapshot in enumerate(snapshots, start=1):
        torch.save(snapshot, tmp_path / f"{epoch}.pt")

    for epoch in range(1, 7):
        with deterministic(99):
            resumed = fitting(NormalisedNetwork(10), images, epochs=6)
            resumed.restore(torch.load(tmp_path / f"{epoch}.pt", weights_only=True))
            assert len(list(resumed.train_epochs())) == 6 - epoch

        first, again = whole.model.state_dict(), resumed.model.state_dict()
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert timeless(resumed) == timeless(whole)
    assert {figures.best_epoch == figures.epoch for figures in whole.history} == {True, False}, "some were no best"


def test_a_training_that_diverges_is_an_error_that_says_what_to_do(digits: ImageDataset) -> None:
    model = SmallNetwork(10)
    nn.init.constant_(model.output.bias, math.nan)

    with pytest.raises(UnusableModel, match=r"diverged in epoch 1: training loss nan.*lower learning_rate"):
        fitted(model, few(digits, train=64, validation=32))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_each_optimiser_learns(digits: ImageDataset, kind: Optimizer, expected: type[torch.optim.Optimizer]) -> None:
    model = SmallNetwork(10)
    with deterministic(0):
        found = Fitting(
            model, few(digits, 640, 100), epochs=4, learning_rate=0.02, batch_size=32, device=CPU, optimizer=kind
        )
        *_, last = found.train_epochs()

    assert type(make_optimiser(model, kind, 0.1)) is expected
    assert last.best_val_accuracy > 0.6


def test_frozen_stages_keep_their_weights_and_statistics_and_the_others_learn(digits: ImageDataset) -> None:
    with deterministic(0):
        model = ResNet18(10)
        model.freeze(4)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        list(fitting(model, few(digits, 64, 16), 1).train_epochs())

    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    parts = {name.removeprefix("network.").partition(".")[0] for name in changed}
    assert parts == {"layer4", "fc"}


def test_fewer_images_than_a_batch_still_train(digits: ImageDataset) -> None:
    assert len(fitted(SmallNetwork(10), few(digits, train=20, validation=10), epochs=2, batch_size=64)) == 2


def test_a_model_of_other_classes_is_not_judged(digits: ImageDataset) -> None:
    with pytest.raises(InvalidInput, match="4 classes apart, the images have 10"):
        evaluate(SmallNetwork(4), few(digits, 0, 50).validation, 10, CPU)


def test_random_crops_differ_by_image_and_stay_within_its_pixels() -> None:
    ramp = torch.linspace(0, 1, 40).view(1, 1, 1, 40).expand(64, 3, 36, 40).contiguous()

    with deterministic(0):
        crops = crop_randomly(ramp, (32, 32))

    rising = crops[:, 0, 16, -1] > crops[:, 0, 16, 0]
    assert crops.shape == (64, 3, 32, 32)
    assert crops.min() >= 0 and crops.max() <= 1
    assert 10 < int(rising.sum()) < 54, "about half are mirrored"
    assert len(torch.unique(crops[:, 0, 16, 0])) > 32


def test_the_network_takes_pixels_and_normalises_them_itself() -> None:
    model = ResNet18(7).eval()
    pixels = torch.from_numpy(np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)

    with torch.no_grad():
        assert model(pixels).shape == (2, 7)
        assert torch.allclose(model(pixels), model.network(normalised), atol=1e-6)
