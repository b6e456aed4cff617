"""The training loop, on networks that take milliseconds."""

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from blocks.errors import IntegrityError, UnusableModel
from slipway.learning.augmentation import crop_randomly
from slipway.learning.datasets import ImageDataset, ImageSplit, load_dataset
from slipway.learning.evaluation import evaluate
from slipway.learning.fitting import Fitting
from slipway.learning.history import EpochFigures
from slipway.learning.optimisation import make_optimiser
from slipway.learning.parameters import Optimizer
from slipway.learning.planning import Plan
from slipway.learning.recipes import Recipe
from slipway.learning.reproducing import seeded
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


def fitting(model: nn.Module, images: ImageDataset, epochs: int, batch_size: int = 32, **said: Any) -> Fitting:
    return Fitting(model, images, Plan(Recipe(epochs=epochs, learning_rate=1e-2, **said), batch_size=batch_size))


def fitted(model: nn.Module, images: ImageDataset, epochs: int = 1, batch_size: int = 32) -> list[EpochFigures]:
    return list(fitting(model, images, epochs, batch_size).train_epochs())


def timeless(trained: Fitting) -> list[EpochFigures]:
    return [replace(figures, epoch_time_s=0) for figures in trained.history]


def trained_weights(images: ImageDataset, seed: int) -> dict[str, Tensor]:
    with seeded(seed):
        model = ResNet18(10)
        fitted(model, images)
    return model.state_dict()


def test_the_same_seed_gives_identical_weights_and_another_seed_others(digits: ImageDataset) -> None:
    images = few(digits, train=128, validation=32)

    first, again, other = (trained_weights(images, seed) for seed in (3, 3, 4))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["network.fc.weight"], other["network.fc.weight"])


def test_the_model_ends_with_the_weights_of_the_best_epoch(digits: ImageDataset) -> None:
    with seeded(0):
        model = SmallNetwork(10)
        history = fitted(model, few(digits, train=512, validation=200), epochs=6)

    best = max(history, key=lambda figures: (figures.val_accuracy, -figures.val_loss))
    judged = evaluate(model, few(digits, 0, 200).validation, 10, CPU)
    assert history[-1].best_epoch == best.epoch
    assert judged.accuracy == history[-1].best_val_accuracy == best.val_accuracy
    assert judged.loss == pytest.approx(best.val_loss)


def test_the_best_figures_are_those_of_one_epoch_and_never_get_worse(digits: ImageDataset) -> None:
    with seeded(0):
        history = fitted(SmallNetwork(10), few(digits, train=512, validation=200), epochs=6)

    accuracies = [figures.best_val_accuracy for figures in history]
    assert accuracies == sorted(accuracies) and 0 <= accuracies[0] <= accuracies[-1] <= 1
    assert all(figures.best_val_loss == history[figures.best_epoch - 1].val_loss for figures in history)


def test_a_compiled_network_learns_what_one_that_is_not_does(
    digits: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # traced as always, but run as it is: inductor's C++ takes a minute to build
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    images, recipe = few(digits, train=128, validation=64), Recipe(epochs=2, learning_rate=1e-2)
    losses = []
    for compiled in (False, True):
        with seeded(0):
            plan = Plan(recipe, batch_size=32, compiled=compiled)
            losses.append([figures.val_loss for figures in Fitting(SmallNetwork(10), images, plan).train_epochs()])

    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


TRICKS = {"label_smoothing": 0.1, "averaged_epochs": 0.5, "first_size": 0.5}


@pytest.mark.parametrize(
    ("tricks", "precision"),
    [({}, torch.float32), (TRICKS, torch.float32), (TRICKS, torch.bfloat16)],
    ids=["plain", "with every trick", "in halves"],
)
def test_what_goes_on_from_a_stored_snapshot_ends_as_if_it_had_never_stopped(
    digits: ImageDataset, tmp_path: Path, tricks: dict[str, Any], precision: torch.dtype
) -> None:
    images = replace(few(digits, train=256, validation=64), augmented=bool(tricks))
    plan = Plan(Recipe(epochs=6, learning_rate=1e-2, **tricks), batch_size=32, precision=precision)
    with seeded(0):
        whole = Fitting(NormalisedNetwork(10), images, plan)
        snapshots = [whole.snapshot() for _ in whole.train_epochs()]
    # only now: had they changed while training went on, it would show
    for epoch, snapshot in enumerate(snapshots, start=1):
        torch.save(snapshot, tmp_path / f"{epoch}.pt")

    for epoch in range(1, 7):
        with seeded(99):
            resumed = Fitting(NormalisedNetwork(10), images, plan)
            resumed.restore(torch.load(tmp_path / f"{epoch}.pt", weights_only=True))
            assert len(list(resumed.train_epochs())) == 6 - epoch

        first, again = whole.model.state_dict(), resumed.model.state_dict()
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert timeless(resumed) == timeless(whole)


def test_a_snapshot_of_another_batch_size_or_of_an_earlier_slipway_is_refused_in_words(digits: ImageDataset) -> None:
    images = few(digits, train=128, validation=32)
    begun = fitting(SmallNetwork(10), images, epochs=2)
    next(begun.train_epochs())
    snapshot = begun.snapshot()
    earlier = {name: value for name, value in snapshot.items() if name not in ("batch_size", "average")}

    with pytest.raises(IntegrityError, match="in batches of 32; expected batches of 64"):
        fitting(SmallNetwork(10), images, epochs=2, batch_size=64).restore(snapshot)
    with pytest.raises(IntegrityError, match="of an earlier slipway"):
        fitting(SmallNetwork(10), images, epochs=2).restore(earlier)


def test_on_a_cpu_a_plain_recipe_computes_what_the_plainest_loop_does(digits: ImageDataset) -> None:
    """No trick costs those who do not use it a single bit."""
    images = replace(few(digits, train=200, validation=64), augmented=True)
    with seeded(5):
        model = NormalisedNetwork(10)
        list(fitting(model, images, epochs=2).train_epochs())

    with seeded(5):
        expected = NormalisedNetwork(10)
        optimiser = torch.optim.AdamW(expected.parameters(), lr=1e-2, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=12)
        weights: list[tuple[float, dict[str, Tensor]]] = []
        for _ in range(2):
            for chosen in torch.split(torch.randperm(200)[:192], 32):
                pixels = crop_randomly(torch.from_numpy(images.train.images)[chosen].float() / 255, (32, 32))
                loss = functional.cross_entropy(expected.train()(pixels), torch.from_numpy(images.train.labels)[chosen])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
            judged = evaluate(expected, images.validation, 10, CPU)
            weights.append((judged.accuracy - judged.loss / 1000, deepcopy(expected.state_dict())))
    best = max(weights, key=lambda epoch: epoch[0])[1]

    assert all(torch.equal(tensor, best[name]) for name, tensor in model.state_dict().items())


def test_with_an_average_of_the_weights_that_is_what_is_judged_and_kept(digits: ImageDataset) -> None:
    images = few(digits, train=512, validation=200)
    kept = []
    for reach in (0, 1):
        with seeded(0):
            model = NormalisedNetwork(10)
            *_, last = fitting(model, images, epochs=3, averaged_epochs=reach).train_epochs()
        kept.append(model.output.weight)

    judged = evaluate(model, images.validation, 10, CPU)
    assert judged.accuracy == last.best_val_accuracy > 0.6
    assert judged.loss == pytest.approx(last.best_val_loss)
    assert not torch.equal(*kept)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_trained_in_halves_the_best_epochs_figures_are_those_of_full_precision(
    digits: ImageDataset, precision: torch.dtype
) -> None:
    images = replace(few(digits, train=512, validation=200), augmented=True)
    plan = Plan(Recipe(epochs=3, learning_rate=1e-2), batch_size=32, precision=precision)
    with seeded(0):
        model = NormalisedNetwork(10)
        *_, last = Fitting(model, images, plan).train_epochs()

    judged = evaluate(model, images.validation, 10, CPU)
    assert (last.best_val_accuracy, last.best_val_loss) == (judged.accuracy, judged.loss)
    assert judged.accuracy > 0.5
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


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
    with seeded(0):
        recipe = Recipe(epochs=4, learning_rate=0.02, optimizer=kind)
        *_, last = Fitting(model, few(digits, 640, 100), Plan(recipe, batch_size=32)).train_epochs()

    assert type(make_optimiser(model, kind, 0.1)) is expected
    assert last.best_val_accuracy > 0.6


def test_frozen_stages_keep_their_weights_and_statistics_and_the_others_learn(digits: ImageDataset) -> None:
    with seeded(0):
        model = ResNet18(10)
        model.freeze(4)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        list(fitting(model, few(digits, 64, 16), 1).train_epochs())

    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    parts = {name.removeprefix("network.").partition(".")[0] for name in changed}
    assert parts == {"layer4", "fc"}


def test_fewer_images_than_a_batch_still_train(digits: ImageDataset) -> None:
    assert len(fitted(SmallNetwork(10), few(digits, train=20, validation=10), epochs=2, batch_size=64)) == 2


def test_the_network_takes_pixels_and_normalises_them_itself() -> None:
    model = ResNet18(7).eval()
    pixels = torch.from_numpy(np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)

    with torch.no_grad():
        assert model(pixels).shape == (2, 7)
        assert torch.allclose(model(pixels), model.network(normalised), atol=1e-6)
