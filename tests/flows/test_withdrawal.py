"""A model is taken out of service on every replica, by whoever finishes it, and can be brought back."""

from pathlib import Path

import pytest

from blocks.environment import Environment
from blocks.errors import InvalidInput
from flows.deployment import Deployment, deploy_model
from flows.reconciliation import reconcile_models
from flows.withdrawal import Withdrawal, withdraw_model
from slipway.releases.journal import read_open
from slipway.releases.survey import survey
from tests.apparatus.consistency import assert_consistent, list_served
from tests.apparatus.given import given, new_name
from tests.apparatus.killing import Death
from tests.apparatus.killing import withdraw as withdraw_in_a_process
from tests.apparatus.locks import end_lease
from tests.apparatus.models import register_directory
from tests.apparatus.thinning import keep_one_in
from tests.apparatus.triton_directories import call_one, write_directory, write_logged


def withdrawn(model_name: str) -> Withdrawal:
    outcome = withdraw_model(model_name, force=True, reason="a test")
    assert isinstance(outcome, Withdrawal)
    return outcome


def assert_out_of_service(environment: Environment, model_name: str, archived: tuple[int, ...]) -> None:
    repository = environment.repository
    assert list_served(environment, model_name) == [
        (),
        (),
    ]
    assert repository.store.list_keys(f"repository/{model_name}/") == {}
    assert repository.list_archived(model_name) == archived
    assert environment.registry.get_aliases(model_name) == {}
    assert read_open(repository, model_name) is None
    outcome = reconcile_models([model_name])
    assert (outcome.found, outcome.left) == ((), ())
    (state,) = survey((model_name,), environment)
    assert state.withdrawn is not None


def test_a_model_is_withdrawn_once_released_again_and_brought_back_from_the_archive(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(2)
    with pytest.raises(InvalidInput, match="is live on 2 replicas"):
        withdraw_model(model_name)
    assert withdraw_model(model_name, dry_run=True, return_state=True).name == "DryRun"
    assert assert_consistent(environment, model_name) == 2

    outcome = withdrawn(model_name)

    assert outcome.withdrawn is not None and outcome.withdrawn.served == (1, 2)
    assert_out_of_service(environment, model_name, (1, 2))
    assert withdraw_model(model_name, return_state=True).name == "AlreadyWithdrawn"
    again = deploy_model(model_name, source="version:1")
    assert isinstance(again, Deployment) and again.plan.version == 3, "a number is never used twice"
    assert assert_consistent(environment, model_name) == 1
    withdrawn(model_name)
    back = deploy_model(model_name, source="version:2", force_version=2)
    assert isinstance(back, Deployment) and (back.plan.version, back.plan.creates_version) == (2, False)
    assert assert_consistent(environment, model_name) == 2
    assert "withdrawn_at" not in dict(environment.registry.list_versions(model_name))[2]


def test_what_an_ensemble_calls_stays_in_service_as_long_as_the_ensemble(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    given(environment, model_name).released(1)
    ensemble = new_name()
    write_directory(write_logged(tmp_path), call_one(model_name), {})
    register_directory(environment.registry, ensemble, tmp_path)
    deploy_model(ensemble)

    with pytest.raises(InvalidInput, match=rf"versions \[1\] are called by '{ensemble}'"):
        withdraw_model(model_name, force=True)

    withdrawn(ensemble)
    withdrawn(model_name)
    assert_out_of_service(environment, ensemble, (1,))
    assert_out_of_service(environment, model_name, (1,))


@pytest.mark.faults
@pytest.mark.parametrize(
    "death",
    keep_one_in(
        5,
        [
            Death("take-out begins"),
            Death("ObjectStore.delete_if"),
            Death("TritonFleet.unload_model", within=True),
            Death("ObjectStore.copy", nth=3),
            Death("ModelRegistry.remove_alias", nth=2, within=True),
        ],
        first=3,
    ),
    ids=str,
)
def test_one_whose_process_is_killed_is_finished_by_the_reconciler_or_was_never_begun(
    environment: Environment, model_name: str, death: Death
) -> None:
    given(environment, model_name).released(2)

    ending = withdraw_in_a_process(model_name, death, force=True)

    assert ending.was_killed, ending.log
    end_lease(environment.repository, model_name)
    reconcile_models([model_name])
    if death.place == "take-out begins":
        assert assert_consistent(environment, model_name) == 2
        withdrawn(model_name)
    assert_out_of_service(environment, model_name, (1, 2))
