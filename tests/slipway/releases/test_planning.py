"""Planning: the number a release gets, whether there is anything to do, and whose the name is."""

from typing import Any

import pytest

from blocks.checksums import FileDigest
from blocks.environment import Environment
from blocks.errors import ForeignModel, InvalidInput, ServiceUnavailable, VersionConflict
from slipway.formats.contents import Contents
from slipway.formats.signature import Signature
from slipway.releases.dependencies import record_dependents
from slipway.releases.fetched import FetchedModel
from slipway.releases.journal import open_journal
from slipway.releases.kept_settings import KeptSettings, keep_settings, record_settings
from slipway.releases.pins import read_pins
from slipway.releases.plan import ReleasePlan
from slipway.releases.planning import plan_release
from slipway.releases.serving_config import apply_policy
from slipway.releases.serving_settings import ServingSettings
from tests.apparatus.locks import commit_by_hand
from tests.apparatus.paper import ADDRESSES, FILE_SHA256, PaperReplicas, Shelf, make_plan

CONTENTS = Contents(
    backend="onnxruntime",
    model_file="model.onnx",
    files=("model.onnx",),
    signature=Signature(inputs=(), outputs=(), opset=20),
)


def fetch(shelf: Shelf, version: int, sha256: str = FILE_SHA256) -> FetchedModel:
    """Return what fetch-model returns of a version."""
    return FetchedModel(
        source=f"version:{version}",
        registered=shelf.environment.registry.get_version(shelf.model_name, version),
        contents=CONTENTS,
        files=(FileDigest(name="model.onnx", size_bytes=9, sha256=sha256),),
        golden=None,
    )


def plan(
    shelf: Shelf,
    version: int,
    force_version: int | None = None,
    sha256: str = FILE_SHA256,
    leave_silent: bool = False,
    **beside: Any,
) -> ReleasePlan:
    return plan_release(
        fetch(shelf, version, sha256),
        force_version=force_version,
        keep_archived=5,
        leave_silent=leave_silent,
        **beside,
        environment=shelf.environment,
    )


def test_a_first_release_gets_the_first_number_and_serves_alone(shelf: Shelf) -> None:
    found = plan(shelf.registered(), 1)

    assert (found.version, found.creates_version, found.already_live, found.serves) == (1, True, False, (1,))
    assert (found.config_before, found.aliases_after) == (None, {"deploy": 1, "live": 1})


def test_the_next_one_gets_the_next_number_and_the_live_one_becomes_previous(shelf: Shelf) -> None:
    found = plan(shelf.released(2).registered(), 3)

    assert (found.version, found.served_before, found.serves) == (3, (1, 2), (2, 3))
    assert found.aliases_after == {"deploy": 3, "live": 3, "previous": 2}


def test_as_many_as_are_to_be_served_stay_and_what_is_asked_for_comes_back(shelf: Shelf) -> None:
    shelf.released(3).registered()  # 2 and 3 served, 1 in the archive

    assert plan(shelf, 4, keep_served=3).serves == (2, 3, 4)
    found = plan(shelf, 4, also_serve=(1,))

    assert (found.serves, found.also_serves, found.served_before) == ((1, 3, 4), (1, 3), (2, 3))
    assert found.aliases_after == {"deploy": 4, "live": 4, "previous": 3}
    with pytest.raises(InvalidInput, match=r"version 4: was never released"):
        plan(shelf, 3, also_serve=(4,))


def test_one_that_is_to_be_served_alone_has_the_live_one_leave_and_become_previous(shelf: Shelf) -> None:
    shelf.released(3).registered()

    found = plan(shelf, 4, keep_served=1)

    assert (found.serves, found.live_leaves) == ((4,), True)
    assert found.aliases_after == {"deploy": 4, "live": 4, "previous": 3}
    assert plan(shelf, 4, keep_served=1, also_serve=(2,)).serves == (2, 4)


def test_what_is_live_is_released_again_only_where_something_is_to_be_served_beside_it_that_is_not(
    shelf: Shelf,
) -> None:
    shelf.released(3)

    assert plan(shelf, 3, keep_served=5, also_serve=(2,)).already_live
    found = plan(shelf, 3, also_serve=(1,))

    assert (found.already_live, found.creates_version, found.serves) == (False, False, (1, 2, 3))
    assert found.aliases_after == found.aliases_before


def test_what_an_ensemble_calls_stays_served_and_is_never_outranked_away(shelf: Shelf) -> None:
    name, repository = shelf.released(3).registered().model_name, shelf.environment.repository
    config = f'name: "e" ensemble_scheduling {{ step {{ model_name: "{name}" model_version: 2 }} }}'
    record_dependents(f"{name}-e", read_pins(config), repository)
    commit_by_hand(repository, f"{name}-e", apply_policy(config, (1,)))

    assert plan(shelf, 4).serves == (2, 3, 4)
    with pytest.raises(InvalidInput, match=rf"served as \[1\], and Triton version 2 is called by '{name}-e'"):
        plan(shelf, 1, force_version=1)


def test_previous_is_one_that_is_served_where_one_is_beside_the_new_one(shelf: Shelf) -> None:
    shelf.released(3)

    assert plan(shelf, 2, force_version=2, also_serve=(1,)).aliases_after == {"deploy": 3, "live": 2, "previous": 1}
    shelf.environment.registry.remove_alias(shelf.model_name, "previous")
    shelf.environment.fleet.unload_model(ADDRESSES[1], shelf.model_name)
    assert plan(shelf, 3).aliases_after == {"deploy": 3, "live": 3, "previous": 2}


def test_what_is_live_everywhere_has_nothing_left_to_do(shelf: Shelf) -> None:
    found = plan(shelf.released(2), 2)

    assert (found.already_live, found.creates_version, found.version) == (True, False, 2)
    assert found.aliases_after == found.aliases_before


def test_what_a_replica_has_lost_is_released_to_it_again_without_another_number(shelf: Shelf) -> None:
    shelf.released(2)
    shelf.environment.fleet.unload_model(ADDRESSES[1], shelf.model_name)

    found = plan(shelf, 2)

    assert (found.already_live, found.creates_version, found.version) == (False, False, 2)
    assert found.serves == (1, 2), "the one before it stays"


def test_what_live_names_with_other_files_than_are_served_gets_a_number_of_its_own(shelf: Shelf) -> None:
    found = plan(shelf.released(2), 2, sha256="0" * 64)

    assert (found.already_live, found.creates_version, found.version) == (False, True, 3)


def test_a_forced_number_is_taken_where_it_is_free(shelf: Shelf) -> None:
    found = plan(shelf.released().registered(), 2, force_version=9)

    assert (found.version, found.creates_version, found.serves) == (9, True, (1, 9))


def test_a_forced_number_of_the_same_files_is_used_again_and_a_lower_one_serves_alone(shelf: Shelf) -> None:
    found = plan(shelf.released(3), 1, force_version=1)

    assert (found.version, found.creates_version, found.serves) == (1, False, (1,))


def test_a_forced_number_never_overwrites_other_files(shelf: Shelf) -> None:
    with pytest.raises(VersionConflict, match=r"version 1 .*: exists with other content than registry version 2"):
        plan(shelf.released().registered(), 2, force_version=1, sha256="0" * 64)


def test_a_number_that_was_taken_once_is_not_taken_again(shelf: Shelf) -> None:
    shelf.registered()
    shelf.environment.repository.claim(shelf.model_name, 1, "a run that failed")

    assert plan(shelf, 1).version == 2


def test_a_run_that_is_executed_again_goes_on_with_its_own_plan_under_the_lock_of_now(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.registered(2)
    begun = make_plan(shelf.model_name, 2, flow_run_id="run a", epoch=1, reason="begun before")
    open_journal(shelf.environment.repository, begun)
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "run a")

    assert plan(shelf, 2) == begun.model_copy(update={"epoch": shelf.environment.epoch})
    assert plan(shelf, 1).version == 1, "what another version was begun with is not this one's"
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", "run b")
    assert plan(shelf, 2).version == 1


def test_a_live_version_that_the_registry_has_no_more_does_not_become_previous(shelf: Shelf) -> None:
    shelf.released(2)
    shelf.environment.registry.connect().delete_model_version(shelf.model_name, "2")

    assert plan(shelf, 1).aliases_after == {"live": 1}


def test_a_name_that_somebody_else_stores_or_serves_is_never_released_over(shelf: Shelf) -> None:
    shelf.registered()
    store = shelf.environment.repository.store
    store.write(f"repository/{shelf.model_name}/1/model.onnx", b"somebody's own")

    with pytest.raises(ForeignModel, match=r"is in .* already, and slipway has no record of releasing it"):
        plan(shelf, 1)

    policy = b"version_policy { specific { versions: 1 } }"
    store.write(f"repository/{shelf.model_name}/config.pbtxt", policy)
    shelf.environment.fleet.load_model(ADDRESSES[1], shelf.model_name)
    store.delete_below(f"repository/{shelf.model_name}/")
    with pytest.raises(ForeignModel, match=rf"is in Triton {ADDRESSES[1]} already"):
        plan(shelf, 1)


def test_a_replica_that_does_not_answer_is_passed_over_only_where_that_is_allowed(
    paper: tuple[Environment, PaperReplicas], model_name: str
) -> None:
    environment, replicas = paper
    shelf = Shelf(environment, model_name).released()
    replicas.silent = {ADDRESSES[0]}

    with pytest.raises(ServiceUnavailable, match=f"Triton {ADDRESSES[0]}: no answer"):
        plan(shelf, 1)
    assert plan(shelf, 1, leave_silent=True).already_live
    replicas.silent = set(ADDRESSES)
    with pytest.raises(ServiceUnavailable):
        plan(shelf, 1, leave_silent=True)


def test_what_is_live_gets_a_number_of_its_own_again_where_other_settings_are_to_be_served(shelf: Shelf) -> None:
    shelf.released(2)
    settings = ServingSettings(instances=2)
    keep_settings(shelf.model_name, settings, after=KeptSettings(), by="ann", environment=shelf.environment)

    found = plan(shelf, 2)

    assert (found.version, found.creates_version, found.already_live, found.serves) == (3, True, False, (2, 3))
    assert (found.settings, found.settings_before) == (settings, ServingSettings())
    assert found.aliases_after == found.aliases_before
    record_settings(shelf.environment.repository, found.model_copy(update={"version": 2}))
    assert plan(shelf, 2).already_live
