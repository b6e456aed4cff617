"""A model is taken out of service: no policy, no replica, no alias; archive and records stay."""

import pytest

from blocks.environment import Environment
from blocks.errors import ForeignModel, InvalidInput, ServiceUnavailable
from slipway.releases.withdrawal import withdraw
from tests.apparatus.paper import ADDRESSES, PaperReplicas, Shelf


def list_served(environment: Environment, model_name: str) -> set[tuple[int, ...]]:
    return {environment.fleet.ready_versions(address, model_name) for address in ADDRESSES}


def test_a_withdrawn_model_is_served_nowhere_and_its_records_stay(on_paper: Environment, shelf: Shelf) -> None:
    name, repository = shelf.released(2).model_name, on_paper.repository

    withdraw(name, on_paper, force=True)
    withdraw(name, on_paper)

    assert list_served(on_paper, name) == {()}
    assert repository.store.keys(repository.model_directory(name)) == {}
    assert repository.versions(name).archive == repository.recorded_versions(name) == (1, 2)
    assert not {"live", "previous"} & on_paper.registry.aliases(name).keys()
    assert repository.next_version(name) == 3


def test_a_neighbour_whose_name_begins_alike_stays(on_paper: Environment, shelf: Shelf) -> None:
    name = shelf.released().model_name
    neighbour = Shelf(on_paper, f"{name}_1").released().model_name

    withdraw(name, on_paper, force=True)

    assert list_served(on_paper, neighbour) == {(1,)}
    assert on_paper.repository.versions(neighbour).repository == (1,)


def test_a_live_model_is_withdrawn_only_by_force_and_a_foreign_one_never(on_paper: Environment, shelf: Shelf) -> None:
    name = shelf.released().model_name
    on_paper.repository.store.write(f"repository/{name}-foreign/config.pbtxt", b"")

    with pytest.raises(InvalidInput, match="is live"):
        withdraw(name, on_paper)
    with pytest.raises(ForeignModel, match="adopt it first"):
        withdraw(f"{name}-foreign", on_paper, force=True)
    assert list_served(on_paper, name) == {(1,)}


def test_a_silent_replica_keeps_no_other_from_letting_the_model_go(
    paper: tuple[Environment, PaperReplicas], shelf: Shelf
) -> None:
    environment, replicas = paper
    name = shelf.released().model_name
    replicas.silent.add(ADDRESSES[0])

    with pytest.raises(ServiceUnavailable):
        withdraw(name, environment, force=True)

    assert environment.fleet.ready_versions(ADDRESSES[1], name) == ()
    assert environment.repository.read_config(name) is None
