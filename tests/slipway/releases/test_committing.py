"""Committing: what is served no more leaves Triton's sight with it, where replicas have copies of what they serve."""

from pathlib import Path

import pytest

from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository
from slipway.releases.committing import commit
from slipway.releases.journal import open_journal
from slipway.releases.pointer import read_committed
from slipway.releases.proven_config import record_config
from slipway.releases.settlement import settle
from tests.apparatus.paper import Shelf, make_environment, make_plan


@pytest.fixture(params=["bucket", "directory"])
def shelf(request: pytest.FixtureRequest, registry: ModelRegistry, model_name: str, tmp_path: Path) -> Shelf:
    """A model on paper, in a bucket or in a directory that replicas read in place: 2 live, 1 previous, 3 is next."""
    if request.param == "directory":
        repository = ModelRepository(models_directory=tmp_path / "models")
    else:
        repository = request.getfixturevalue("bucket_repository")
    environment, _ = make_environment(registry, repository)
    return Shelf(environment, model_name).released(2).registered()


def commit_third(shelf: Shelf) -> None:
    """Commit version 3, as far as a run comes that dies before a replica loads it."""
    repository, model_name = shelf.environment.repository, shelf.model_name
    aliases = shelf.environment.registry.get_aliases(model_name)
    plan = make_plan(
        model_name,
        3,
        config_before=repository.read_config(model_name),
        served_before=(1, 2),
        aliases_before=aliases,
        aliases_after=aliases | {"live": 3, "previous": 2},
    )
    open_journal(repository, plan)
    repository.claim(model_name, 3, plan.flow_run_id)
    for name in ("model.onnx", "metadata.json"):
        content = repository.store.read(f"{repository.directory(model_name, 2)}{name}")
        assert content is not None
        repository.store.write(f"{repository.staging_prefix}/{model_name}/3/{name}", content)
    record_config(repository, model_name, 3, f'name: "{model_name}"', None)
    commit(plan, repository)


def test_the_version_that_leaves_is_archived_at_once_unless_replicas_read_it_in_place(shelf: Shelf) -> None:
    commit_third(shelf)

    repository = shelf.environment.repository
    stored = repository.list_versions(shelf.model_name)
    assert read_committed(repository, shelf.model_name) == (2, 3)
    in_place = ((1, 2, 3), ())
    assert (stored.repository, stored.archive) == (in_place if repository.store.read_in_place else ((2, 3), (1,)))


def test_the_version_that_left_is_back_once_the_release_is_undone(shelf: Shelf) -> None:
    commit_third(shelf)

    settle(shelf.model_name, shelf.environment)

    repository = shelf.environment.repository
    stored = repository.list_versions(shelf.model_name)
    assert read_committed(repository, shelf.model_name) == (1, 2)
    assert (stored.repository, stored.archive) == ((1, 2), ())
