"""Several versions served side by side on real servers: asked by number, each answers for itself."""

from pathlib import Path

import numpy as np
import pytest

from blocks.environment import Environment
from blocks.errors import InvalidInput
from blocks.labels import PROOF_FILE
from flows.deployment import Deployment, deploy_model
from flows.rollback import rollback_model
from slipway.releases.drift import Kind
from slipway.releases.pins import read_pins
from slipway.releases.survey import survey
from tests.apparatus.consistency import assert_consistent, observed
from tests.apparatus.given import given, new_name
from tests.apparatus.models import FEATURES, random_weights, register_directory
from tests.apparatus.triton_directories import call_one, write_directory, write_logged


def assert_each_answers_for_itself(environment: Environment, model_name: str, *versions: int) -> None:
    """Prove that just these versions are served, the newest to whoever names none; version n has the n-th weights."""
    assert assert_consistent(environment, model_name) == max(versions)
    assert observed(environment, model_name)["served"] == [versions, versions]
    inputs = np.ones((2, FEATURES), np.float32)
    for address in environment.fleet.list_addresses():
        for version, expected in [*((version, version) for version in versions), (None, max(versions))]:
            answer = environment.fleet.infer(address, model_name, {"input": inputs}, ["output"], version)
            np.testing.assert_allclose(answer["output"], inputs @ random_weights(expected), rtol=1e-5)


def test_versions_are_served_side_by_side_for_as_long_as_releases_say_so(
    environment: Environment, model_name: str
) -> None:
    model = given(environment, model_name).released(2).registered()

    deploy_model(model_name, keep_served=3)
    assert_each_answers_for_itself(environment, model_name, 1, 2, 3)

    model.registered()
    deploy_model(model_name)
    assert_each_answers_for_itself(environment, model_name, 3, 4)

    asked = deploy_model(model_name, also_serve=(1,))
    assert isinstance(asked, Deployment) and (asked.plan.version, asked.plan.creates_version) == (4, False)
    assert_each_answers_for_itself(environment, model_name, 1, 3, 4)

    rollback_model(model_name)
    assert_each_answers_for_itself(environment, model_name, 1, 3)

    rollback_model(model_name, "version:2")
    assert_each_answers_for_itself(environment, model_name, 1, 2)


def test_an_older_version_that_answers_wrongly_is_found_and_left_to_people(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(2)
    proof_of_2 = environment.repository.read_record(model_name, 2, PROOF_FILE)
    assert survey((model_name,), environment)[0].drift == ()

    environment.repository.write_record(model_name, 1, PROOF_FILE, proof_of_2 or b"")

    (state,) = survey((model_name,), environment)
    assert [drift.kind for drift in state.drift] == [Kind.OLDER_WRONG, Kind.OLDER_WRONG]
    assert {drift.address for drift in state.drift} == set(environment.fleet.list_addresses())
    assert not state.is_repairable


def test_what_cannot_be_served_beside_a_release_is_refused_before_anything_changes(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(1).registered(2)
    before = observed(environment, model_name)

    with pytest.raises(InvalidInput, match="version 2: was never released"):
        deploy_model(model_name, also_serve=(2,))

    assert observed(environment, model_name) == before


def test_what_an_ensemble_calls_stays_served_until_it_calls_another_version(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    model, ensemble = given(environment, model_name).released(1), new_name()
    write_directory(write_logged(tmp_path), call_one(model_name), {})
    register_directory(environment.registry, ensemble, tmp_path)
    deploy_model(ensemble)

    model.released(2)

    assert read_pins(environment.repository.read_config(ensemble)) == {model_name: (1,)}
    assert_each_answers_for_itself(environment, model_name, 1, 2, 3)
    inputs = np.ones((2, FEATURES), np.float32)
    for address in environment.fleet.list_addresses():
        answer = environment.fleet.infer(address, ensemble, {"input": inputs}, ["output"], None)
        np.testing.assert_allclose(answer["output"], inputs @ random_weights(1), rtol=1e-5)

    register_directory(environment.registry, ensemble, tmp_path)
    deploy_model(ensemble)
    assert read_pins(environment.repository.read_config(ensemble)) == {model_name: (3,)}
    with pytest.raises(InvalidInput, match=f"Triton version 3 is called by '{ensemble}'"):
        rollback_model(model_name)
    model.released(1)
    assert_each_answers_for_itself(environment, model_name, 3, 4)
