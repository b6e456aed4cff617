"""What decides a release, without servers: see tests/apparatus/paper.py."""

from collections.abc import Iterator

import pytest

from blocks.environment import Environment
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from tests.apparatus.paper import PaperReplicas, Shelf, make_environment
from tests.apparatus.stores import repository_in_memory


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    """A repository in a directory, which costs no requests; what a bucket does otherwise tests/blocks shows."""
    return ModelRepository(models_directory=tmp_path_factory.mktemp("store") / "models")


@pytest.fixture(scope="module")
def bucket_repository() -> Iterator[ModelRepository]:
    """A repository in memory, on a store with AWS' conditional writes; other files' `mock_aws` empties that memory."""
    with repository_in_memory() as repository:
        yield repository


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    """MLflow's registry in a file, without a server."""
    return ModelRegistry(tracking_uri=f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db")


@pytest.fixture
def paper(registry: ModelRegistry, repository: ModelRepository) -> tuple[Environment, PaperReplicas]:
    """An environment on paper, and what makes its replicas silent."""
    return make_environment(registry, repository)


@pytest.fixture
def on_paper(paper: tuple[Environment, PaperReplicas]) -> Environment:
    """An environment on paper."""
    return paper[0]


@pytest.fixture
def shelf(on_paper: Environment, model_name: str) -> Shelf:
    """A model of the test's own, on paper, of which nothing is registered yet."""
    return Shelf(on_paper, model_name)
