"""Reconciling: what is safe is repaired towards what is committed, the rest is reported, a dry run changes nothing."""

import time
from collections.abc import Sequence

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.events import Event
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

from blocks.environment import Environment
from blocks.repository_layout import name_candidate
from flows.deployment import deploy_model
from flows.reconciliation import Reconciliation, reconcile_models
from slipway.releases.drift import Kind
from slipway.releases.lock import model_lock
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.given import Given, given
from tests.apparatus.patience import PATIENCE_S
from tests.apparatus.transports import failing, interfering


@pytest.fixture(autouse=True)
def model(environment: Environment, model_name: str) -> Given:
    """What each test begins with: version 2 live, version 1 previous."""
    return given(environment, model_name).released(2)


def kinds(outcome: Reconciliation) -> tuple[list[Kind], list[Kind]]:
    """Return what was repaired and what was left."""
    return [drift.kind for drift in outcome.repaired], [drift.kind for drift in outcome.left]


def test_where_nothing_drifted_nothing_is_found(environment: Environment, model_name: str) -> None:
    outcome = reconcile_models([model_name])

    assert (outcome.models, outcome.found) == (1, ())


def test_a_replica_that_lost_a_model_gets_it_back(environment: Environment, model_name: str) -> None:
    lost = environment.fleet.list_addresses()[1]
    environment.fleet.unload_model(lost, model_name)

    outcome = reconcile_models([model_name])

    assert kinds(outcome) == ([Kind.REPLICA_BEHIND], [])
    assert outcome.repaired[0].address == lost
    assert assert_consistent(environment, model_name) == 2


def test_a_dry_run_reports_and_changes_nothing(environment: Environment, model_name: str) -> None:
    environment.fleet.unload_model(environment.fleet.list_addresses()[0], model_name)

    outcome = reconcile_models([model_name], dry_run=True)

    assert kinds(outcome) == ([], [Kind.REPLICA_BEHIND])
    assert environment.fleet.list_ready_versions(environment.fleet.list_addresses()[0], model_name) == ()


def test_what_an_upload_and_a_candidate_left_is_removed(environment: Environment, model_name: str) -> None:
    environment.repository.store.write(f"staging/{model_name}/3/model.onnx", b"half")
    environment.repository.store.write(f"repository/{name_candidate(model_name, 7)}/3/model.onnx", b"half")

    outcome = reconcile_models([model_name])

    assert set(kinds(outcome)[0]) == {Kind.STAGING_LEFT, Kind.CANDIDATE_LEFT}
    assert assert_consistent(environment, model_name) == 2


def test_what_was_left_of_a_model_that_nobody_registered_keeps_no_other_from_being_looked_after(
    environment: Environment, model_name: str
) -> None:
    unregistered, lost = f"a-{model_name}", environment.fleet.list_addresses()[0]
    environment.repository.store.write(f"staging/{unregistered}/1/model.onnx", b"half")
    environment.fleet.unload_model(lost, model_name)

    outcome = reconcile_models([unregistered, model_name])

    assert kinds(outcome) == ([Kind.STAGING_LEFT, Kind.REPLICA_BEHIND], [])
    assert environment.repository.store.list_keys(f"staging/{unregistered}/") == {}
    assert assert_consistent(environment, model_name) == 2


def test_a_model_that_is_being_released_is_left_alone(environment: Environment, model_name: str) -> None:
    environment.fleet.unload_model(environment.fleet.list_addresses()[0], model_name)

    with model_lock(model_name, environment.repository):
        outcome = reconcile_models([model_name])

    assert outcome.under_way == (model_name,)
    assert environment.fleet.list_ready_versions(environment.fleet.list_addresses()[0], model_name) == ()
    reconcile_models([model_name])
    assert assert_consistent(environment, model_name) == 2


def test_drift_left_for_people_is_a_table_and_an_event_and_nothing_of_it_is_touched(
    environment: Environment, model_name: str
) -> None:
    key = f"repository/{model_name}/2/model.onnx"
    environment.repository.store.write(key, b"not the model")
    environment.registry.set_alias(model_name, "live", 1)

    outcome = reconcile_models([model_name])

    assert kinds(outcome) == ([], [Kind.FILES_CHANGED, Kind.ALIAS_ELSEWHERE])
    assert environment.repository.store.read(key) == b"not the model"
    assert environment.registry.get_aliases(model_name)["live"] == 1
    assert len(tables_about(model_name)) == 1 and "left for people" in tables_about(model_name)[0]
    (event,) = events_about(model_name)
    assert event.event == "slipway.drift.found"
    assert [found["kind"] for found in event.payload["findings"]] == [Kind.FILES_CHANGED, Kind.ALIAS_ELSEWHERE]


def tables_about(model_name: str) -> list[str]:
    """Return the tables of drift that name a model."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["drift"]))
    with get_client(sync_client=True) as client:
        newest = client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC)
    return [str(artifact.data) for artifact in newest if model_name in str(artifact.data)]


def events_about(model_name: str, within_s: float = PATIENCE_S) -> Sequence[Event]:
    """Return the events of a model's drift, waiting for the first: they reach the server a moment later."""
    wanted = EventFilter(
        event=EventNameFilter(prefix=["slipway.drift."]),
        resource=EventResourceFilter(id=[f"slipway.model.{model_name}"]),
    )
    end = time.monotonic() + within_s
    with get_client(sync_client=True) as client:
        while not (found := client.read_events(wanted, limit=10).events) and time.monotonic() < end:
            time.sleep(0.2)
    return found


def test_a_silent_replica_is_left_by_a_release_that_may_and_served_again_by_the_reconciler(
    environment: Environment, model_name: str, model: Given
) -> None:
    silent = environment.fleet.list_addresses()[1]
    model.registered()
    with interfering(failing(silent, "", "DEADLINE_EXCEEDED")):
        release = deploy_model(model_name, silent_replicas="leave")

    assert release.receipt.left_to_reconcile == (silent,)  # type: ignore[union-attr]
    assert environment.fleet.list_ready_versions(silent, model_name) == (1, 2)
    assert kinds(reconcile_models([model_name])) == ([Kind.REPLICA_BEHIND], [])
    assert assert_consistent(environment, model_name) == 3
