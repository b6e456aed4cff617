"""What a training does under a recipe's name."""

import re
from typing import Any, get_args

import pytest

from infra.local.settings import ROOT
from slipway.learning.fitting import Fitting
from slipway.learning.parameters import RecipeName, TrainingSettings
from slipway.learning.planning import Plan
from slipway.learning.recipes import ACCURACY_SEEN, RECIPES, Recipe, follow_recipe
from slipway.learning.reproducing import seeded
from slipway.learning.resnet import ResNet18
from tests.apparatus.trained_candidates import digits

PAGE = (ROOT / "docs" / "training.md").read_text()


def follow(**said: Any) -> Recipe:
    return follow_recipe(TrainingSettings.check(model_name="m", dataset="digits", seed=0, **said))


def test_without_a_name_a_training_is_plain_and_has_no_trick() -> None:
    found = follow()

    assert found == RECIPES["plain"]
    assert (found.epochs, found.learning_rate, found.optimizer, found.size) == (4, 0.001, "adamw", (32, 32))
    assert (found.label_smoothing, found.averaged_epochs, found.first_size) == (0, 0, 1)


def test_what_is_asked_for_goes_before_what_the_recipe_says_and_leaves_the_rest() -> None:
    found = follow(recipe="imagenette-20", epochs=7, input_shape=[1, 3, 224, 224])

    assert (found.epochs, found.size) == (7, (224, 224))
    assert (found.label_smoothing, found.first_size) == (0.1, 0.6)


def test_every_name_has_a_recipe_of_as_many_epochs_as_it_says_with_every_trick() -> None:
    assert RECIPES.keys() == ACCURACY_SEEN.keys() == set(get_args(get_args(RecipeName)[0]))
    for name, recipe in RECIPES.items():
        if name != "plain":
            assert recipe.epochs == int(name.rpartition("-")[2])
            assert recipe.label_smoothing and recipe.averaged_epochs and recipe.first_size < 1


@pytest.mark.exhaustive
def test_on_digits_a_plain_training_comes_to_the_accuracy_that_was_seen() -> None:
    with seeded(0):
        *_, last = Fitting(ResNet18(10), digits(), Plan(RECIPES["plain"])).train_epochs()

    assert last.best_val_accuracy == pytest.approx(ACCURACY_SEEN["plain"], abs=0.01)


@pytest.mark.parametrize("name", RECIPES)
def test_the_page_shows_every_recipe_as_it_is_with_the_accuracy_that_was_seen(name: RecipeName) -> None:
    recipe, seen = RECIPES[name], ACCURACY_SEEN[name]
    [row] = re.findall(rf"^\| `{name}` \|(.*)\|$", PAGE, re.MULTILINE)

    assert [cell.strip() for cell in row.split("|")] == [
        str(recipe.epochs),
        f"{recipe.learning_rate:g}",
        f"{recipe.size[0]} px" + (f", from {recipe.first_size:.0%} of it" if recipe.first_size < 1 else ""),
        f"{recipe.label_smoothing:g}" if recipe.label_smoothing else "-",
        f"{recipe.averaged_epochs:g} epochs back" if recipe.averaged_epochs else "-",
        "not seen" if seen is None else f"{seen:g} on digits",
    ]
