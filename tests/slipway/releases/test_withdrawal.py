"""A model is taken out of service whole, by whoever comes next where a run dies, and never by mistake."""

from dataclasses import replace

import pytest

from blocks.environment import Environment
from blocks.errors import ForeignModel, InvalidInput, LoadFailed, ServiceUnavailable, VersionConflict
from blocks.labels import DEPLOY, LIVE, PREVIOUS
from slipway.formats.model_config import parse_config
from slipway.releases.dependencies import list_needed
from slipway.releases.journal import Begun, open_journal, read_open
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import read_receipt
from slipway.releases.rollback_plan import plan_rollback
from slipway.releases.settlement import settle
from slipway.releases.survey import Depth, survey
from slipway.releases.withdrawal import carry_out, plan_withdrawal, withdraw
from slipway.releases.withdrawn import finish_withdrawal, read_withdrawn
from tests.apparatus.locks import commit_by_hand
from tests.apparatus.paper import ADDRESSES, Died, PaperReplicas, Shelf, dying_at
from tests.apparatus.transports import failing, interfered

DEPTH = Depth(ask_replicas=False)


@pytest.fixture
def three(shelf: Shelf) -> Shelf:
    """A model on paper: 3 live, 2 previous, 1 in the archive."""
    return shelf.released(3)


def served(shelf: Shelf) -> list[tuple[int, ...]]:
    return [shelf.environment.fleet.list_ready_versions(address, shelf.model_name) for address in ADDRESSES]


def keys(shelf: Shelf, prefix: str) -> set[str]:
    place = f"{prefix}/{shelf.model_name}/"
    return {key.removeprefix(place) for key in shelf.environment.repository.store.list_keys(place)}


def assert_out_of_service(shelf: Shelf) -> None:
    repository, name = shelf.environment.repository, shelf.model_name
    assert served(shelf) == [(), ()]
    assert keys(shelf, "repository") == set()
    assert repository.list_archived(name) == (1, 2, 3)
    assert repository.list_recorded(name) == (1, 2, 3)
    assert shelf.environment.registry.get_aliases(name) == {}
    assert read_open(repository, name) is None
    (state,) = survey((name,), shelf.environment, DEPTH)
    assert state.drift == () and state.withdrawn is not None
    (unasked,) = survey((name,), shelf.environment, DEPTH._replace(tell_withdrawn=False))
    assert unasked == state.model_copy(update={"withdrawn": None})


def test_a_model_is_taken_out_of_service_and_its_records_stay(three: Shelf) -> None:
    repository, registry, name = three.environment.repository, three.environment.registry, three.model_name
    repository.store.write(f"repository/{name}/labels.txt", b"cat")

    withdrawn = withdraw(name, three.environment, force=True, reason="no more cats")

    assert withdrawn is not None and (withdrawn.registry_version, withdrawn.served) == (3, (2, 3))
    assert withdrawn.aliases == {LIVE: 3, PREVIOUS: 2, DEPLOY: 3}
    assert read_withdrawn(repository, name) == withdrawn
    assert_out_of_service(three)
    assert {"beside/labels.txt", "beside/config.pbtxt", "3/model.onnx"} <= keys(three, "archive")
    assert dict(registry.list_versions(name))[3]["withdrawn_at"] == withdrawn.at.isoformat()
    receipt = read_receipt(repository, name, 3)
    assert receipt is not None and (receipt.kind, receipt.reason) == ("withdrawal", "no more cats")
    assert [replica.address for replica in receipt.replicas] == list(ADDRESSES)


def test_a_second_time_there_is_nothing_to_do(three: Shelf) -> None:
    withdraw(three.model_name, three.environment, force=True)

    assert withdraw(three.model_name, three.environment) is None
    assert_out_of_service(three)


def test_a_live_model_is_left_alone_without_force(three: Shelf) -> None:
    with pytest.raises(InvalidInput, match=r"version 3 \(Triton 3\) is live on 2 replicas.*with force"):
        withdraw(three.model_name, three.environment)

    assert served(three) == [(2, 3), (2, 3)]
    assert read_open(three.environment.repository, three.model_name) is None


def test_a_model_that_slipway_has_no_record_of_is_left_alone(on_paper: Environment, model_name: str) -> None:
    on_paper.repository.store.write(f"repository/{model_name}/1/model.onnx", b"somebody's own")

    with pytest.raises(ForeignModel, match="adopt it first"):
        withdraw(model_name, on_paper, force=True)
    with pytest.raises(InvalidInput, match="no record of it, and nothing of it is served"):
        withdraw(f"not-{model_name}", on_paper, force=True)


def test_a_version_of_somebody_else_among_its_own_keeps_it_in_service(three: Shelf) -> None:
    three.environment.repository.store.write(f"repository/{three.model_name}/9/model.onnx", b"somebody's own")

    with pytest.raises(InvalidInput, match=r"versions \[9\] lie where Triton reads"):
        withdraw(three.model_name, three.environment, force=True)


def test_a_model_that_an_ensemble_calls_is_left_alone(three: Shelf) -> None:
    repository, ensemble = three.environment.repository, f"calls-{three.model_name}"
    note = f'{{"ensemble": "{ensemble}", "versions": [3]}}'
    repository.store.write(f"records/{three.model_name}/dependents/{ensemble}.json", note.encode())
    repository.store.write(f"repository/{ensemble}/config.pbtxt", b"version_policy { specific { versions: 1 } }")
    assert list_needed(repository, three.model_name)

    with pytest.raises(InvalidInput, match=rf"versions \[3\] are called by '{ensemble}'"):
        withdraw(three.model_name, three.environment, force=True)

    repository.store.delete(f"repository/{ensemble}/config.pbtxt")
    assert withdraw(three.model_name, three.environment, force=True) is not None


def begun(shelf: Shelf, by: str = "a run that died") -> ReleasePlan:
    """Open the journal of a withdrawal, as a run does that dies then."""
    plan = plan_withdrawal(shelf.model_name, force=True, environment=shelf.environment)
    assert plan is not None
    plan = plan.model_copy(update={"flow_run_id": by})
    open_journal(shelf.environment.repository, plan)
    return plan


def test_one_that_dies_anywhere_is_finished_by_whoever_comes_next(three: Shelf) -> None:
    plan, change = begun(three), 0
    while True:
        try:
            finish_withdrawal(plan, dying_at(three.environment, change))
            break
        except Died:
            change += 1

    assert change > 5, "each time it got one change further than the time before"
    assert_out_of_service(three)


@pytest.mark.parametrize("change", [0, 1, 2, 5, 11, 15])
def test_one_that_was_begun_is_finished_when_it_is_settled(three: Shelf, change: int) -> None:
    plan = begun(three)
    with pytest.raises(Died):
        finish_withdrawal(plan, dying_at(three.environment, change))

    assert isinstance(settle(three.model_name, three.environment), Begun)

    assert_out_of_service(three)


def test_a_replica_that_does_not_answer_keeps_a_model_in_service_or_is_left_to_the_reconciler(
    three: Shelf, paper: tuple[Environment, PaperReplicas]
) -> None:
    paper[1].silent = {ADDRESSES[1]}
    with pytest.raises(ServiceUnavailable):
        withdraw(three.model_name, three.environment, force=True)

    withdrawn = withdraw(three.model_name, three.environment, force=True, leave_silent=True)

    assert withdrawn is not None and withdrawn.left_to_reconcile == (ADDRESSES[1],)
    paper[1].silent = set()
    (state,) = survey((three.model_name,), three.environment, DEPTH)
    assert [(drift.kind.value, drift.address) for drift in state.drift] == [
        ("replica serves other versions", ADDRESSES[1])
    ]


def test_a_replica_that_refuses_leaves_it_open_for_the_next_run(three: Shelf) -> None:
    refusing = interfered(three.environment.fleet, failing(ADDRESSES[0], "unload_model", "INTERNAL"))

    with pytest.raises(LoadFailed, match="unload refused"):
        withdraw(three.model_name, replace(three.environment, fleet=refusing), force=True)

    assert served(three) == [(2, 3), ()]
    assert withdraw(three.model_name, three.environment) is None, "the run before is finished first"
    assert_out_of_service(three)


def test_a_configuration_that_was_changed_since_stands(three: Shelf) -> None:
    plan = begun(three)
    commit_by_hand(three.environment.repository, three.model_name, "version_policy { specific { versions: [3] } }")

    with pytest.raises(VersionConflict, match="was changed after this withdrawal"):
        carry_out(plan, three.environment)

    assert read_open(three.environment.repository, three.model_name) is None
    assert served(three) == [(2, 3), (2, 3)]


def test_an_alias_that_was_moved_since_asks_for_its_release_still(three: Shelf) -> None:
    plan = begun(three)
    three.registered()

    carry_out(plan, three.environment)

    assert three.environment.registry.get_aliases(three.model_name) == {DEPLOY: 4}


def test_while_mlflow_is_down_it_is_out_of_service_and_the_aliases_are_left_to_the_next_run(three: Shelf) -> None:
    silent = three.environment.registry.model_copy(update={"tracking_uri": "http://127.0.0.1:9", "max_retries": 0})

    with pytest.raises(ServiceUnavailable, match="MLflow at"):
        withdraw(three.model_name, replace(three.environment, registry=silent), force=True)

    assert served(three) == [(), ()]
    settle(three.model_name, three.environment)
    assert_out_of_service(three)


def test_nothing_of_it_is_gone_back_to_and_its_numbers_are_never_used_again(three: Shelf) -> None:
    withdraw(three.model_name, three.environment, force=True)

    with pytest.raises(InvalidInput, match="nothing is live"):
        plan_rollback(three.model_name, environment=three.environment)
    assert three.environment.repository.find_next_version(three.model_name) == 4


def test_the_configuration_that_was_committed_last_is_kept(three: Shelf) -> None:
    withdraw(three.model_name, three.environment, force=True)

    kept = three.environment.repository.store.read(f"archive/{three.model_name}/beside/config.pbtxt") or b""
    assert list(parse_config(kept.decode(), "kept").version_policy.specific.versions) == [2, 3]
