"""What is damaged of one model is that model's finding, and every other model is looked after."""

from collections.abc import Iterator

import pytest

from blocks.environment import Environment
from flows.reconciliation import reconcile_models
from slipway.releases.drift import Kind
from tests.apparatus.consistency import assert_consistent, list_served, observed
from tests.apparatus.given import Given, given, new_name, withdraw
from tests.apparatus.transports import Request, Send, failing, interfering


@pytest.fixture(scope="module")
def sound(environment: Environment) -> Iterator[str]:
    """A model with nothing wrong."""
    model = given(environment, new_name()).released()
    yield model.model_name
    withdraw(environment, model.model_name)


@pytest.fixture
def model(environment: Environment, model_name: str) -> Given:
    """The model of which a test damages something."""
    return given(environment, model_name).released()


@pytest.fixture
def damaged(model: Given) -> str:
    """Its name."""
    return model.model_name


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("records/{}/1/proof.npz", b"no archive"),
        ("repository/{}/config.pbtxt", b"no configuration"),
        ("journal/{}.json", b"\xff"),
    ],
)
def test_a_damaged_record_is_a_finding_of_its_model_alone(
    environment: Environment, sound: str, damaged: str, key: str, content: bytes
) -> None:
    environment.repository.store.write(key.format(damaged), content)
    environment.fleet.unload_model(environment.fleet.list_addresses()[0], sound)

    outcome = reconcile_models([damaged, sound])

    assert {drift.model_name for drift in outcome.left} == {damaged}
    assert assert_consistent(environment, sound) == 1
    assert environment.repository.store.read(key.format(damaged)) == content
    assert list_served(environment, damaged) == [
        (1,),
        (1,),
    ]
    environment.repository.store.delete(f"journal/{damaged}.json")


def test_a_replica_that_is_too_busy_to_answer_is_reported_and_not_unloaded(
    environment: Environment, damaged: str
) -> None:
    busy = environment.fleet.list_addresses()[1]
    answer_late = failing(busy, "infer", "DEADLINE_EXCEEDED")

    def interfere(request: Request, send: Send) -> object:
        if request.method == "unload_model":
            pytest.fail("a busy replica was unloaded")
        return answer_late(request, send)

    before = observed(environment, damaged)

    with interfering(interfere):
        outcome = reconcile_models([damaged])

    assert [(drift.kind, drift.address) for drift in outcome.left] == [(Kind.REPLICA_SLOW, busy)]
    assert observed(environment, damaged) == before


def test_a_registered_model_that_is_gone_is_a_finding_and_goes_on_being_served(
    environment: Environment, damaged: str
) -> None:
    environment.registry.connect().delete_registered_model(damaged)

    outcome = reconcile_models([damaged])

    assert [drift.kind for drift in outcome.left] == [Kind.MODEL_UNREGISTERED]
    assert list_served(environment, damaged) == [
        (1,),
        (1,),
    ]


def test_a_live_version_that_is_gone_from_the_registry_is_named_so(
    environment: Environment, model: Given, damaged: str
) -> None:
    model.released()
    environment.registry.connect().delete_model_version(damaged, "2")

    outcome = reconcile_models([damaged])

    assert [drift.kind for drift in outcome.left] == [Kind.VERSION_UNREGISTERED]
    assert list_served(environment, damaged) == [
        (1, 2),
        (1, 2),
    ]
