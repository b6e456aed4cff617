"""A release that cannot be made is refused, or undone: everything is as if nothing had happened."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError

from blocks.environment import Environment, using
from blocks.errors import (
    InvalidInput,
    LoadFailed,
    NotRegistered,
    ServiceUnavailable,
    SlipwayError,
    UnusableModel,
    VerificationFailed,
)
from blocks.fleet import TritonFleet
from flows.deployment import Deployment, deploy_model
from tests.apparatus.consistency import observed
from tests.apparatus.given import given
from tests.apparatus.models import register_directory, register_overflowing
from tests.apparatus.ports import free_port
from tests.apparatus.transports import failing, interfering


def test_a_model_that_does_not_give_what_pytorch_gave_is_undone(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released().registered(lie=0.1)
    before = observed(environment, model_name)

    with pytest.raises(VerificationFailed, match=r"version 2 on Triton .* differs from the known answers by"):
        deploy_model(model_name)

    assert observed(environment, model_name) == before


def test_a_first_release_that_fails_leaves_nothing(environment: Environment, model_name: str) -> None:
    given(environment, model_name).registered(lie=0.1)

    with pytest.raises(VerificationFailed):
        deploy_model(model_name)

    state = observed(environment, model_name)
    assert state == dict.fromkeys(state) | {
        "policy": (),
        "versions": {"repository": (), "archive": ()},
        "files": {},
        "staging": {},
        "aliases": {},
        "served": [(), ()],
    }


def test_after_a_failure_the_same_run_succeeds_when_it_is_retried(environment: Environment, model_name: str) -> None:
    model = given(environment, model_name).registered(lie=0.1)
    with pytest.raises(VerificationFailed):
        deploy_model(model_name)
    model.registered()

    release = deploy_model(model_name)

    assert isinstance(release, Deployment)
    assert observed(environment, model_name)["served"] == [(2,), (2,)], (
        "a number that was taken once is not taken again"
    )


def test_a_model_that_computes_nan_is_undone(environment: Environment, model_name: str) -> None:
    register_overflowing(environment.registry, model_name)

    with pytest.raises(VerificationFailed, match=r"holds NaN or infinity"):
        deploy_model(model_name)

    assert observed(environment, model_name)["served"] == [(), ()]


def test_a_replica_that_fails_while_releasing_leaves_the_others_as_they_were(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(2).registered()  # so that the undo has a version to bring back
    before = observed(environment, model_name)
    failing_once = failing(environment.fleet.list_addresses()[1], "load_model", "INTERNAL", times=1)

    with interfering(failing_once), pytest.raises(LoadFailed, match="injected"):
        deploy_model(model_name)

    assert observed(environment, model_name) == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"source": "alias:nope"}, "alias 'nope': not in the MLflow registry"),
        ({"source": "version:99"}, "version 99: not in the MLflow registry"),
        ({"expected_input_shape": (1, 5)}, r"input is input \['batch_size', 4\], expected \[1, 5\]"),
        ({"expected_output_shape": (3,)}, r"output is output \['batch_size', 3\], expected \[3\]"),
    ],
)
def test_bad_input_is_refused_before_anything_is_changed(
    environment: Environment, model_name: str, parameters: dict[str, Any], message: str
) -> None:
    given(environment, model_name).registered()
    before = observed(environment, model_name)

    with pytest.raises((InvalidInput, NotRegistered), match=message):
        deploy_model(model_name, **parameters)

    assert observed(environment, model_name) == before


@pytest.mark.parametrize("bad", [{"model_name": "../x"}, {"source": "deploy"}, {"force_version": 0}])
def test_a_parameter_that_makes_no_sense_is_refused_before_the_first_task(
    environment: Environment, bad: dict[str, Any]
) -> None:
    with pytest.raises(ParameterTypeError):
        deploy_model(**({"model_name": "m"} | bad))


def test_a_corrupt_file_is_refused_before_anything_is_changed(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    (tmp_path / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\n")
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a")
    register_directory(environment.registry, model_name, tmp_path)

    with pytest.raises(UnusableModel, match=f"model '{model_name}' version 1"):
        deploy_model(model_name)

    assert observed(environment, model_name)["files"] == {}


def test_a_file_that_changed_after_gate_2_is_refused(environment: Environment, model_name: str) -> None:
    given(environment, model_name).registered()
    environment.registry.tag_version(model_name, 1, {"sha256/model.onnx": "0" * 64})

    with pytest.raises(SlipwayError, match=r"the file changed after gate 2"):
        deploy_model(model_name)


def test_a_fleet_with_a_replica_that_is_down_is_refused_before_anything_is_changed(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).registered()
    gone = f"127.0.0.1:{free_port()}"
    fleet = TritonFleet(replicas=[*environment.fleet.replicas, gone])

    with using(replace(environment, fleet=fleet)), pytest.raises(ServiceUnavailable, match=f"Triton {gone}: no answer"):
        deploy_model(model_name)

    assert observed(environment, model_name)["files"] == {}
