"""What ensembles call: pinned to what is live, noted at each model, and never taken from under them."""

import pytest

from blocks.environment import Environment
from blocks.errors import ForeignModel, IntegrityError, InvalidInput, ReleaseInProgress
from slipway.releases.dependencies import (
    align_dependents,
    list_needed,
    record_dependents,
    require_needed,
)
from slipway.releases.journal import open_journal
from slipway.releases.pins import pin_dependencies, read_pins
from slipway.releases.pointer import commit_plan
from slipway.releases.rollback_plan import plan_rollback
from slipway.releases.serving_config import apply_policy
from slipway.releases.settlement import settle
from tests.apparatus.locks import commit_by_hand
from tests.apparatus.paper import ADDRESSES, Shelf, make_plan


@pytest.fixture
def ensemble(model_name: str) -> str:
    """The name of an ensemble that calls the test's model."""
    return f"{model_name}-ensemble"


def configure(ensemble: str, model_name: str, *versions: int) -> str:
    """Return an ensemble's config.pbtxt with a step for each of these versions of a model."""
    steps = " ".join(f'step {{ model_name: "{model_name}" model_version: {version} }}' for version in versions)
    return f'name: "{ensemble}" platform: "ensemble" ensemble_scheduling {{ {steps} }}'


def serve(shelf: Shelf, ensemble: str, config: str) -> None:
    """Commit an ensemble's config and note what it calls, as its release does."""
    repository = shelf.environment.repository
    record_dependents(ensemble, read_pins(config), repository)
    commit_by_hand(repository, ensemble, apply_policy(config, (1,)))
    align_dependents(ensemble, repository)


def needed(shelf: Shelf) -> dict[int, tuple[str, ...]]:
    return list_needed(shelf.environment.repository, shelf.model_name)


def test_a_step_without_a_version_is_pinned_to_the_one_live_now(shelf: Shelf, ensemble: str) -> None:
    name = shelf.released(2).model_name

    pinned, pins = pin_dependencies(configure(ensemble, name, -1), (name,), shelf.environment)

    assert pins == read_pins(pinned) == {name: (2,)}


def test_a_version_that_the_author_chose_stays_where_it_is_served(shelf: Shelf, ensemble: str) -> None:
    name = shelf.released(3).model_name

    assert pin_dependencies(configure(ensemble, name, 2, -1), (), shelf.environment)[1] == {name: (2, 3)}
    with pytest.raises(InvalidInput, match=rf"calls '{name}' version 1, and Triton {ADDRESSES[0]} serves \[2, 3\]"):
        pin_dependencies(configure(ensemble, name, 1), (), shelf.environment)


def test_a_model_that_only_code_calls_has_to_be_served_and_is_not_pinned(shelf: Shelf, ensemble: str) -> None:
    name = shelf.released().model_name

    assert pin_dependencies(f'name: "{ensemble}"', (name,), shelf.environment)[1] == {}
    shelf.environment.fleet.unload_model(ADDRESSES[1], name)
    with pytest.raises(InvalidInput, match=rf"Triton {ADDRESSES[1]} serves nothing of it, expected it on every"):
        pin_dependencies(f'name: "{ensemble}"', (name,), shelf.environment)


def configure_code(caller: str, said: str) -> str:
    """Return the config.pbtxt of a model whose code calls others."""
    value = f'value {{ string_value: "{said}" }}'
    return f'name: "{caller}" backend: "python" parameters {{ key: "slipway.depends_on" {value} }}'


def test_what_code_is_said_to_call_is_pinned_where_the_code_can_read_it(shelf: Shelf, ensemble: str) -> None:
    name = shelf.released(3).model_name

    pinned, pins = pin_dependencies(configure_code(ensemble, f"{name}, {name}:2"), (name,), shelf.environment)

    assert f'string_value: "{name}:3,{name}:2"' in pinned
    assert pins == read_pins(pinned) == {name: (2, 3)}


def test_what_code_calls_stays_served_like_what_an_ensemble_calls(shelf: Shelf, ensemble: str) -> None:
    name = shelf.released(2).model_name
    serve(shelf, ensemble, configure_code(ensemble, f"{name}:2"))

    assert needed(shelf) == {2: (ensemble,)}
    with pytest.raises(InvalidInput, match=rf"served as \[1\], and Triton version 2 is called by '{ensemble}'"):
        plan_rollback(name, environment=shelf.environment)


def test_code_that_calls_what_is_not_served_is_refused(shelf: Shelf, ensemble: str) -> None:
    name = shelf.released(3).model_name

    with pytest.raises(ForeignModel, match=r"calls 'nobody', of which slipway has no record"):
        pin_dependencies(configure_code(ensemble, "nobody"), ("nobody",), shelf.environment)
    with pytest.raises(InvalidInput, match=rf"calls '{name}' version 1, and Triton {ADDRESSES[0]} serves \[2, 3\]"):
        pin_dependencies(configure_code(ensemble, f"{name}:1"), (name,), shelf.environment)


def test_what_slipway_never_released_or_serves_no_more_cannot_be_called(shelf: Shelf, ensemble: str) -> None:
    name, repository = shelf.model_name, shelf.environment.repository
    repository.store.write(f"repository/{name}/1/model.onnx", b"somebody's own")

    for version in (-1, 1):
        with pytest.raises(ForeignModel, match=rf"calls '{name}', of which slipway has no record"):
            pin_dependencies(configure(ensemble, name, version), (name,), shelf.environment)
    repository.claim(name, 1, "a run that failed")
    with pytest.raises(InvalidInput, match="of which nothing is live"):
        pin_dependencies(configure(ensemble, name, -1), (name,), shelf.environment)


def test_a_note_says_what_is_needed_and_disturbs_no_number(shelf: Shelf, ensemble: str) -> None:
    name, repository = shelf.released(2).model_name, shelf.environment.repository

    serve(shelf, ensemble, configure(ensemble, name, 1))

    assert needed(shelf) == {1: (ensemble,)}
    assert repository.store.read(f"records/{name}/dependents/{ensemble}.json") is not None
    assert (repository.list_recorded(name), repository.find_next_version(name)) == ((1, 2), 3)
    assert (repository.list_recorded(ensemble), repository.find_next_version(ensemble)) == ((), 1)


def test_while_an_ensemble_is_released_what_it_called_and_will_call_is_needed_afterwards_only_what_it_calls(
    shelf: Shelf, ensemble: str
) -> None:
    name, repository = shelf.released(2).model_name, shelf.environment.repository
    serve(shelf, ensemble, configure(ensemble, name, 1))

    record_dependents(ensemble, {name: (2,)}, repository)
    assert needed(shelf) == {1: (ensemble,), 2: (ensemble,)}

    commit_by_hand(repository, ensemble, apply_policy(configure(ensemble, name, 2), (1, 2)))
    align_dependents(ensemble, repository)
    assert needed(shelf) == {2: (ensemble,)}

    commit_by_hand(repository, ensemble, f'name: "{ensemble}"')
    align_dependents(ensemble, repository)
    assert needed(shelf) == {}
    assert [key for key in repository.store.list_keys("records/") if "depend" in key and name in key] == []


def test_undoing_an_ensemble_s_first_release_removes_its_notes(shelf: Shelf, ensemble: str) -> None:
    name, repository = shelf.released(2).model_name, shelf.environment.repository
    open_journal(repository, make_plan(ensemble, 1, flow_run_id="a run that died"))
    record_dependents(ensemble, {name: (2,)}, repository)
    assert needed(shelf) == {2: (ensemble,)}

    settle(ensemble, shelf.environment)

    assert [key for key in repository.store.list_keys("records/") if "depend" in key and name in key] == []


def test_what_an_ensemble_that_is_gone_called_is_needed_no_more(shelf: Shelf, ensemble: str) -> None:
    serve(shelf, ensemble, configure(ensemble, shelf.released(2).model_name, 1))

    shelf.environment.repository.store.delete_below(f"repository/{ensemble}/")

    assert needed(shelf) == {}


def test_a_rollback_never_stops_serving_what_an_ensemble_calls(shelf: Shelf, ensemble: str) -> None:
    name = shelf.released(2).model_name
    serve(shelf, ensemble, configure(ensemble, name, 2))

    with pytest.raises(InvalidInput, match=rf"served as \[1\], and Triton version 2 is called by '{ensemble}'"):
        plan_rollback(name, environment=shelf.environment)


def test_a_commit_that_was_planned_before_the_note_came_is_refused(shelf: Shelf, ensemble: str) -> None:
    name, repository = shelf.released(2).model_name, shelf.environment.repository
    before = repository.read_config(name)
    plan = make_plan(name, 3, config_before=before, served_before=(1, 2))
    serve(shelf, ensemble, configure(ensemble, name, 1))

    with pytest.raises(InvalidInput, match=r"version 3: would be served as \[2, 3\], and Triton version 1 is called"):
        commit_plan(repository, plan, apply_policy(before or "", plan.serves))

    require_needed(plan.model_copy(update={"also_serves": (1,)}), repository)
    assert repository.read_config(name) == before


def test_a_note_that_comes_after_a_release_was_begun_is_refused(shelf: Shelf, ensemble: str) -> None:
    name, repository = shelf.released(2).model_name, shelf.environment.repository
    open_journal(repository, make_plan(name, 3, flow_run_id="run a", served_before=(1, 2)))

    with pytest.raises(ReleaseInProgress, match=r"a release under way \(flow run run a\) leaves \[2, 3\]"):
        record_dependents(ensemble, {name: (1,)}, repository)
    record_dependents(ensemble, {name: (2,)}, repository)


def test_what_left_since_it_was_pinned_is_refused(shelf: Shelf, ensemble: str) -> None:
    name = shelf.released(3).model_name

    with pytest.raises(InvalidInput, match=rf"calls '{name}' version 1, and \[2, 3\] are served by now"):
        record_dependents(ensemble, {name: (1,)}, shelf.environment.repository)


def test_a_note_that_cannot_be_read_is_named(on_paper: Environment, shelf: Shelf) -> None:
    shelf.released()
    on_paper.repository.store.write(f"records/{shelf.model_name}/dependents/e.json", b"{")

    with pytest.raises(IntegrityError, match=r"dependents/e\.json: cannot be read \(1 errors, .*; delete it"):
        needed(shelf)
