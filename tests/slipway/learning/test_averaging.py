"""The average of a model's weights."""

import torch

from slipway.learning.averaging import WeightAverage
from tests.apparatus.networks import NormalisedNetwork


def test_an_average_follows_weights_and_statistics_with_the_weight_of_its_reach() -> None:
    model = NormalisedNetwork(3)
    average = WeightAverage(model, steps=4)
    torch.nn.init.zeros_(average.model.get_parameter("output.bias"))

    with torch.no_grad():
        model.output.bias.fill_(1.0)
        model.norm.running_mean = torch.full_like(model.norm.running_mean, 8.0)  # type: ignore[arg-type]
    average.follow()

    assert average.model.get_parameter("output.bias").tolist() == [0.25] * 3


def test_what_is_counted_is_taken_over_as_it_is() -> None:
    model = NormalisedNetwork(3)
    average = WeightAverage(model, steps=100)

    for _ in range(5):
        model(torch.rand(4, 3, 32, 32))
        average.follow()

    assert average.model.get_buffer("norm.num_batches_tracked") == 5


def test_a_reach_below_a_step_is_the_last_one() -> None:
    model = NormalisedNetwork(3)
    average = WeightAverage(model, steps=0.1)

    torch.nn.init.ones_(model.output.weight)
    average.follow()

    assert torch.equal(average.model.get_parameter("output.weight"), model.output.weight)


def test_only_the_model_that_is_followed_learns() -> None:
    average = WeightAverage(NormalisedNetwork(3), steps=4)

    assert not any(parameter.requires_grad for parameter in average.model.parameters())
