"""What a dead run left is undone where it was begun, finished where it was proven; what is another's stays."""

from dataclasses import replace

import pytest

from blocks.environment import Environment
from blocks.errors import LoadFailed, ServiceUnavailable
from blocks.repository_layout import name_candidate
from slipway.releases.journal import Begun, Proven, mark_proven, open_journal, read_open
from slipway.releases.plan import ReleasePlan
from slipway.releases.pointer import commit_plan
from slipway.releases.receipt import read_receipt
from slipway.releases.serving_config import apply_policy, read_policy
from slipway.releases.settlement import is_left_to_settle, settle
from tests.apparatus.locks import commit_by_hand
from tests.apparatus.paper import ADDRESSES, PaperReplicas, Shelf, make_plan, make_receipt
from tests.apparatus.transports import failing, interfered


@pytest.fixture
def two(shelf: Shelf) -> Shelf:
    """A model on paper: 2 live, 1 previous, 3 registered."""
    return shelf.released(2).registered()


def plan_third(shelf: Shelf, **further: object) -> ReleasePlan:
    """Return the plan of releasing version 3 after version 2."""
    repository, aliases = shelf.environment.repository, shelf.environment.registry.get_aliases(shelf.model_name)
    return make_plan(
        shelf.model_name,
        3,
        flow_run_id="a run that died",
        config_before=repository.read_config(shelf.model_name),
        served_before=(1, 2),
        aliases_before=aliases,
        aliases_after=aliases | {"live": 3, "previous": 2},
        **further,
    )


def begin(shelf: Shelf, plan: ReleasePlan) -> None:
    """Do all that a release does before it is proven, on one replica and for one alias."""
    environment, name = shelf.environment, shelf.model_name
    repository = environment.repository
    open_journal(repository, plan)
    repository.claim(name, plan.version, plan.flow_run_id)
    repository.store.write(f"staging/{name}/3/model.onnx", b"weights 3")
    repository.store.write(f"repository/{name}/3/model.onnx", b"weights 3")
    repository.store.write(f"repository/{name_candidate(name, plan.epoch)}/3/model.onnx", b"weights 3")
    commit_plan(repository, plan, apply_policy(plan.config_before or "", plan.serves))
    environment.fleet.load_model(ADDRESSES[0], name)
    environment.registry.set_alias(name, "previous", 2)


def served(shelf: Shelf) -> list[tuple[int, ...]]:
    return [shelf.environment.fleet.list_ready_versions(address, shelf.model_name) for address in ADDRESSES]


def committed(shelf: Shelf) -> tuple[int, ...]:
    return read_policy(shelf.environment.repository.read_config(shelf.model_name))


def test_a_release_that_was_begun_is_undone_everywhere(two: Shelf) -> None:
    plan = plan_third(two)
    before = two.environment.registry.get_aliases(two.model_name)
    begin(two, plan)

    assert settle(two.model_name, two.environment) == Begun(plan=plan)

    assert (committed(two), served(two)) == ((1, 2), [(1, 2), (1, 2)])
    assert two.environment.registry.get_aliases(two.model_name) == before
    assert two.environment.repository.list_stored(two.model_name) == (1, 2)
    names = two.environment.repository.store.list_prefixes("repository/")
    assert [name for name in names if two.model_name in name] == [two.model_name], "the candidate is gone"
    assert two.environment.repository.store.list_keys(f"staging/{two.model_name}/") == {}
    assert read_open(two.environment.repository, two.model_name) is None


def test_what_a_release_brought_back_from_the_archive_goes_there_again(shelf: Shelf) -> None:
    shelf.released(3)
    repository, name = shelf.environment.repository, shelf.model_name
    plan = make_plan(
        name,
        4,
        flow_run_id="a run that died",
        config_before=repository.read_config(name),
        served_before=(2, 3),
        also_serves=(1,),
        aliases_before=shelf.environment.registry.get_aliases(name),
    )
    open_journal(repository, plan)
    repository.place(name, 1)
    commit_plan(repository, plan, apply_policy(plan.config_before or "", plan.serves))

    settle(name, shelf.environment)

    assert committed(shelf) == (2, 3)
    assert repository.list_versions(name).model_dump() == {"repository": (2, 3), "archive": (1,)}


def test_settling_twice_does_nothing_the_second_time(two: Shelf) -> None:
    begin(two, plan_third(two))
    settle(two.model_name, two.environment)

    assert settle(two.model_name, two.environment) is None
    assert (committed(two), served(two)) == ((1, 2), [(1, 2), (1, 2)])


def test_a_first_release_that_was_begun_leaves_nothing(shelf: Shelf) -> None:
    shelf.registered()
    aliases = shelf.environment.registry.get_aliases(shelf.model_name)
    plan = make_plan(shelf.model_name, 3, flow_run_id="a run that died", aliases_before=aliases)
    repository = shelf.environment.repository
    open_journal(repository, plan)
    repository.claim(shelf.model_name, 3, plan.flow_run_id)
    repository.store.write(f"repository/{shelf.model_name}/3/model.onnx", b"weights 3")
    commit_plan(repository, plan, apply_policy("", plan.serves))
    shelf.environment.fleet.load_model(ADDRESSES[0], shelf.model_name)

    settle(shelf.model_name, shelf.environment)

    assert served(shelf) == [(), ()]
    assert repository.store.list_keys(f"repository/{shelf.model_name}/") == {}
    assert shelf.environment.registry.get_aliases(shelf.model_name) == aliases


def test_a_release_that_is_proven_is_finished(two: Shelf) -> None:
    plan = plan_third(two)
    begin(two, plan)
    two.environment.fleet.load_model(ADDRESSES[1], two.model_name)
    receipt = make_receipt(two.model_name, 3, plan.aliases_before, plan.aliases_after)
    mark_proven(two.environment.repository, plan, receipt)

    assert settle(two.model_name, two.environment) == Proven(plan=plan, receipt=receipt)

    assert (committed(two), served(two)) == ((2, 3), [(2, 3), (2, 3)])
    assert two.environment.registry.get_aliases(two.model_name) == {"deploy": 3, "live": 3, "previous": 2}
    assert two.environment.repository.list_archived(two.model_name) == (1,)
    assert read_receipt(two.environment.repository, two.model_name, 3) == receipt
    assert two.environment.registry.get_version(two.model_name, 3).tags["triton_version"] == "3"


def test_only_a_run_s_own_release_is_settled_where_that_is_asked_for(two: Shelf) -> None:
    begin(two, plan_third(two))

    assert settle(two.model_name, two.environment, only_flow_run_id="another run") is None
    assert read_open(two.environment.repository, two.model_name) is not None
    assert settle(two.model_name, two.environment, only_flow_run_id="a run that died") is not None


def test_what_somebody_committed_since_stands_and_replicas_are_brought_to_it(two: Shelf) -> None:
    begin(two, plan_third(two))
    config = two.environment.repository.read_config(two.model_name) or ""
    commit_by_hand(two.environment.repository, two.model_name, apply_policy(config, (1,)))

    settle(two.model_name, two.environment)

    assert (committed(two), served(two)) == ((1,), [(1,), (1,)])
    assert two.environment.registry.get_aliases(two.model_name)["previous"] == 2, (
        "aliases are not this release's any more"
    )


def test_a_version_that_the_policy_of_now_names_is_never_removed(two: Shelf) -> None:
    begin(two, plan_third(two))
    config = two.environment.repository.read_config(two.model_name) or ""
    commit_by_hand(two.environment.repository, two.model_name, apply_policy(config, (3,)))

    settle(two.model_name, two.environment)

    assert 3 in two.environment.repository.list_stored(two.model_name)
    assert served(two) == [(3,), (3,)]


def test_a_number_that_another_run_took_is_not_removed(two: Shelf) -> None:
    plan = plan_third(two)
    two.environment.repository.claim(two.model_name, 3, "another run")
    two.environment.repository.store.write(f"repository/{two.model_name}/3/model.onnx", b"another's")
    open_journal(two.environment.repository, plan)

    settle(two.model_name, two.environment)

    assert two.environment.repository.store.read(f"repository/{two.model_name}/3/model.onnx") == b"another's"


def test_a_replica_that_is_silent_keeps_no_undo_waiting(
    paper: tuple[Environment, PaperReplicas], model_name: str
) -> None:
    environment, replicas = paper
    two = Shelf(environment, model_name).released(2).registered()
    begin(two, plan_third(two))
    replicas.silent = {ADDRESSES[0]}

    settle(model_name, environment)

    replicas.silent = set()
    assert read_open(environment.repository, model_name) is None
    assert (committed(two), served(two)) == ((1, 2), [(2, 3), (1, 2)]), "the silent one is the reconciler's"


def test_a_registry_that_is_down_keeps_no_wrong_version_serving_and_the_journal_open(two: Shelf) -> None:
    begin(two, plan_third(two))
    registry = two.environment.registry.model_copy(update={"tracking_uri": "http://127.0.0.1:9", "max_retries": 0})
    without = Environment(registry, two.environment.repository, two.environment.fleet)

    with pytest.raises(ServiceUnavailable, match="MLflow at http://127"):
        settle(two.model_name, without)

    assert (committed(two), served(two)) == ((1, 2), [(1, 2), (1, 2)])
    assert read_open(two.environment.repository, two.model_name) is not None
    settle(two.model_name, two.environment)
    assert two.environment.registry.get_aliases(two.model_name) == {"deploy": 3, "live": 2, "previous": 1}


def test_a_replica_that_cannot_be_brought_back_keeps_the_journal_open_and_no_other_from_it(two: Shelf) -> None:
    begin(two, plan_third(two))
    fleet = interfered(two.environment.fleet, failing(ADDRESSES[0], "load_model", "INTERNAL"))

    with pytest.raises(LoadFailed, match=f"on Triton {ADDRESSES[0]}: load refused"):
        settle(two.model_name, replace(two.environment, fleet=fleet))

    assert (committed(two), served(two)) == ((1, 2), [(2, 3), (1, 2)])
    assert read_open(two.environment.repository, two.model_name) is not None
    assert two.environment.registry.get_aliases(two.model_name)["previous"] == 1


def test_a_run_leaves_its_own_begun_release_to_itself(two: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_left_to_settle(two.model_name, two.environment)
    plan = plan_third(two)
    open_journal(two.environment.repository, plan)

    assert is_left_to_settle(two.model_name, two.environment)
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", plan.flow_run_id)
    assert not is_left_to_settle(two.model_name, two.environment)
    mark_proven(two.environment.repository, plan, make_receipt(two.model_name, 3, {}, {}))
    assert is_left_to_settle(two.model_name, two.environment), "what is proven is only finished"
