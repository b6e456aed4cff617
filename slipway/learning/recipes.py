"""Recipes: what a training does, under a name; what is asked for besides goes before what its recipe says.

The known ways to train faster and to a better accuracy are in them, each with where it comes from:
label smoothing (Szegedy et al., 2015), an average of the weights (Polyak and Juditsky, 1992), small images first
(Howard, fast.ai's DAWNBench entry, 2018).
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from slipway.learning.parameters import Epochs, InputShape, LearningRate, Optimizer, RecipeName, TrainingSettings


class Recipe(BaseModel):
    """What decides how a network learns, beside the images and the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Epochs
    learning_rate: LearningRate = 0.001
    optimizer: Optimizer = "adamw"
    input_shape: InputShape = [1, 3, 32, 32]
    label_smoothing: float = Field(default=0, ge=0, lt=1, description="Share of the target that goes to all classes.")
    averaged_epochs: float = Field(default=0, ge=0, description="Epochs the average of weights reaches back, 0: none.")
    first_size: float = Field(default=1, gt=0, le=1, description="Height and width in the first epoch, of the full.")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that the network is used on."""
        return self.input_shape[2], self.input_shape[3]


_IMAGENETTE = Recipe(epochs=1, learning_rate=0.002, input_shape=[1, 3, 160, 160], label_smoothing=0.1)

RECIPES: Mapping[RecipeName, Recipe] = {
    "plain": Recipe(epochs=4),
    "imagenette-5": _IMAGENETTE.model_copy(update={"epochs": 5, "averaged_epochs": 0.5, "first_size": 0.8}),
    "imagenette-20": _IMAGENETTE.model_copy(update={"epochs": 20, "averaged_epochs": 1, "first_size": 0.6}),
    "imagenette-80": _IMAGENETTE.model_copy(update={"epochs": 80, "averaged_epochs": 2, "first_size": 0.6}),
}

ACCURACY_SEEN: Mapping[RecipeName, float | None] = {
    "plain": 0.98,
    "imagenette-5": None,
    "imagenette-20": None,
    "imagenette-80": None,
}
"""Best validation accuracy with seed 0 on the data it is named after, `plain`'s on digits; None where none was seen."""


def follow_recipe(settings: TrainingSettings) -> Recipe:
    """Return the recipe of a training, with what its caller asked for in place of what the recipe says."""
    said = settings.model_dump(include=set(Recipe.model_fields), exclude_none=True)
    return RECIPES[settings.recipe].model_copy(update=said)
