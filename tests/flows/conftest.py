"""Models that tests of releases that fail begin with: each is lent again as long as it comes back sound."""

from collections.abc import Iterator

import pytest

from blocks.environment import Environment
from tests.apparatus.given import Given, borrowed, withdraw


@pytest.fixture(scope="module")
def pool(environment: Environment) -> Iterator[list[Given]]:
    """Models that came through a test, and are as good as new."""
    models: list[Given] = []
    yield models
    for model in models:
        withdraw(environment, model.model_name)


@pytest.fixture
def third(environment: Environment, pool: list[Given]) -> Iterator[Given]:
    """A model of which one version is live, one is `previous`, and the next one's release archives a version."""
    with borrowed(pool, environment) as model:
        yield model
