"""Reconciling: what is safe is repaired towards what is committed, the rest is reported, a dry run changes nothing."""

import time
from collections.abc import Sequence

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.events import Event
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

from blocks.environment import Environment
from blocks.repository import name_candidate
from flows.deployment import deploy_model
from flows.reconciliation import Reconciliation, reconcile_models
from slipway.releases.lock import model_lock
from slipway.releases.serving_config import apply_policy
from slipway.releases.survey import Kind
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.given import Given, given
from tests.apparatus.locks import commit_by_hand
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
    lost = environment.fleet.addresses()[1]
    environment.fleet.unload_model(lost, model_name)

    outcome = reconcile_models([model_name])

    assert kinds(outcome) == ([Kind.REPLICA_BEHIND], [])
    assert outcome.repaired[0].address == lost
    assert assert_consistent(environment, model_name) == 2


def test_a_dry_run_reports_and_changes_nothing(environment: Environment, model_name: str) -> None:
    environment.fleet.unload_model(environment.fleet.addresses()[0], model_name)

    outcome = reconcile_models([model_name], dry_run=True)

    assert kinds(outcome) == ([], [Kind.REPLICA_BEHIND])
    assert environment.fleet.ready_versions(environment.fleet.addresses()[0], model_name) == ()


def test_what_an_upload_and_a_candidate_left_is_removed(environment: Environment, model_name: str) -> None:
    environment.repository.store.write(f"staging/{model_name}/3/model.onnx", b"half")
    environment.repository.store.write(f"repository/{name_candidate(model_name, 7)}/3/model.onnx", b"half")

    outcome = reconcile_models([model_name])

    assert set(kinds(outcome)[0]) == {Kind.STAGING_LEFT, Kind.CANDIDATE_LEFT}
    assert assert_consistent(environment, model_name) == 2


def test_a_version_that_is_not_served_goes_to_the_archive(environment: Environment, model_name: str) -> None:
    config = environment.repository.read_config(model_name) or ""
    commit_by_hand(environment.repository, model_name, apply_policy(config, (2,)))

    outcome = reconcile_models([model_name])

    assert Kind.VERSION_IDLE in kinds(outcome)[0] and not outcome.left
    assert environment.repository.versions(model_name).archive == (1,)
    assert [environment.fleet.ready_versions(a, model_name) for a in environment.fleet.addresses()] == [(2,), (2,)]


def test_files_that_changed_under_a_version_are_reported_and_not_touched(
    environment: Environment, model_name: str
) -> None:
    key = f"repository/{model_name}/2/model.onnx"
    environment.repository.store.write(key, b"not the model")

    outcome = reconcile_models([model_name])

    assert kinds(outcome) == ([], [Kind.FILES_CHANGED])
    assert key in outcome.left[0].observed and "SHA-256" in outcome.left[0].observed
    assert environment.repository.store.read(key) == b"not the model"


def test_an_alias_moved_by_hand_is_reported_and_stays(environment: Environment, model_name: str) -> None:
    environment.registry.set_alias(model_name, "live", 1)

    outcome = reconcile_models([model_name])

    assert [(d.kind, d.observed, d.expected) for d in outcome.left] == [(Kind.ALIAS_ELSEWHERE, "live is 1", "2")]
    assert environment.registry.aliases(model_name)["live"] == 1


def test_a_model_that_is_being_released_is_left_alone(environment: Environment, model_name: str) -> None:
    environment.fleet.unload_model(environment.fleet.addresses()[0], model_name)

    with model_lock(model_name, environment.repository):
        outcome = reconcile_models([model_name])

    assert outcome.under_way == (model_name,)
    assert environment.fleet.ready_versions(environment.fleet.addresses()[0], model_name) == ()
    reconcile_models([model_name])
    assert assert_consistent(environment, model_name) == 2


def test_archives_beyond_retention_are_removed_but_never_one_with_an_alias(
    environment: Environment, model_name: str, model: Given
) -> None:
    model.released(3)
    environment.registry.set_alias(model_name, "audited", 1)
    assert environment.repository.versions(model_name).archive == (1, 2, 3)

    outcome = reconcile_models([model_name], keep_archived=1)

    assert kinds(outcome) == ([Kind.ARCHIVE_FULL], [])
    assert environment.repository.versions(model_name).archive == (1, 3)
    assert environment.repository.next_version(model_name) == 6


def test_drift_left_for_people_is_a_table_in_prefect(environment: Environment, model_name: str) -> None:
    environment.registry.set_alias(model_name, "live", 1)

    reconcile_models([model_name])

    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["drift"]))
        found = [
            artifact for artifact in client.read_artifacts(artifact_filter=wanted) if model_name in str(artifact.data)
        ]
    assert len(found) == 1 and "left for people" in str(found[0].data)


def test_drift_left_for_people_is_an_event_of_the_model(environment: Environment, model_name: str) -> None:
    environment.registry.set_alias(model_name, "live", 1)

    reconcile_models([model_name])

    wanted = EventFilter(
        event=EventNameFilter(prefix=["slipway.drift."]),
        resource=EventResourceFilter(id=[f"slipway.model.{model_name}"]),
    )
    found: Sequence[Event] = []
    deadline = time.monotonic() + 30
    with get_client(sync_client=True) as client:
        while not found and time.monotonic() < deadline:
            time.sleep(0.5)  # events reach the server a moment later
            found = client.read_events(wanted, limit=10).events
    assert [event.event for event in found] == ["slipway.drift.found"]
    assert found[0].payload["findings"][0]["kind"] == "alias points elsewhere"


def test_a_silent_replica_is_left_by_a_release_that_may_and_served_again_by_the_reconciler(
    environment: Environment, model_name: str, model: Given
) -> None:
    silent = environment.fleet.addresses()[1]
    model.registered()
    with interfering(failing(silent, "", "DEADLINE_EXCEEDED")):
        release = deploy_model(model_name, silent_replicas="leave")

    assert release.receipt.left_to_reconcile == (silent,)  # type: ignore[union-attr]
    assert environment.fleet.ready_versions(silent, model_name) == (1, 2)
    assert kinds(reconcile_models([model_name])) == ([Kind.REPLICA_BEHIND], [])
    assert assert_consistent(environment, model_name) == 3
