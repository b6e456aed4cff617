"""The deployment flow on real servers: released and proven on every replica."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from blocks.registry import RegisteredVersion
from flows.deployment import Deployment, deploy_model
from infra.local.settings import ROOT
from slipway.releases.agreement import Comparison
from slipway.releases.aliases import move_aliases
from slipway.releases.fetched import load_golden
from slipway.releases.serving_config import apply_policy
from tests.apparatus.consistency import observed
from tests.apparatus.given import given
from tests.apparatus.locks import commit_by_hand
from tests.apparatus.models import FEATURES, linear_model, random_weights, register_directory, register_linear, save
from tests.apparatus.runs import steps_of
from tests.apparatus.transports import Request, Send, interfering


def answers(environment: Environment, model_name: str, inputs: np.ndarray) -> list[np.ndarray]:
    """Return every replica's answer to an unversioned request."""
    ask = environment.fleet.infer
    return [
        ask(a, model_name, {"input": inputs}, ["output"], None)["output"] for a in environment.fleet.list_addresses()
    ]


def comparisons(release: Deployment) -> list[Comparison]:
    """Return what each replica's answers to the golden samples were like."""
    return [replica.comparison for replica in release.verified if replica.comparison is not None]


def state_of(model_name: str, **parameters: Any) -> State[Any]:
    return deploy_model(model_name, return_state=True, **parameters)


def test_a_first_release_is_served_and_proven_on_every_replica(environment: Environment, model_name: str) -> None:
    registered = register_linear(environment.registry, model_name, seed=1)

    release = deploy_model(model_name, expected_input_shape=(1, 4), expected_output_shape=(1, 3))

    assert isinstance(release, Deployment)
    assert [(found.samples, found.top1_agreement) for found in comparisons(release)] == [(6, 1.0), (6, 1.0)]
    assert all(found.max_difference <= 1e-6 for found in comparisons(release))
    state = observed(environment, model_name)
    assert (state["policy"], state["served"]) == ((1,), [(1,), (1,)])
    assert (state["staging"], state["journal"]) == ({}, None)
    assert state["aliases"] == {"live": registered.version}
    inputs = np.ones((2, FEATURES), np.float32)
    for answer in answers(environment, model_name, inputs):
        np.testing.assert_allclose(answer, inputs @ random_weights(1), rtol=1e-5)
    assert_metadata_tells_where_it_came_from(environment, registered)


def assert_metadata_tells_where_it_came_from(environment: Environment, registered: RegisteredVersion) -> None:
    metadata = json.loads(environment.repository.read_metadata(registered.model_name, 1) or "")
    assert set(metadata) == {"mlflow", "triton", "model", "validation"}
    assert metadata["mlflow"]["model_name"] == registered.model_name
    assert metadata["mlflow"]["version"] == str(registered.version)
    assert metadata["mlflow"]["run_id"] == registered.run_id
    assert metadata["mlflow"]["alias_at_deploy"] == "alias:deploy"
    assert metadata["triton"]["version"] == "1"
    assert metadata["model"]["inputs"] == [{"name": "input", "dtype": "FP32", "shape": ["batch_size", 4]}]
    assert metadata["model"]["sha256"] == {"model.onnx": registered.tags["sha256/model.onnx"]}
    assert metadata["model"]["opset"] == 20
    assert metadata["validation"] == {"validation_max_diff": 0.0}


def test_the_next_release_keeps_the_one_before_loaded_and_archives_what_is_older_before_replicas_load(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(2).registered()
    at_loads = []

    def note(request: Request, send: Send) -> Any:
        if (request.method, request.model_name) == ("load_model", model_name):
            at_loads.append(environment.repository.list_stored(model_name))
        return send()

    with interfering(note):
        deploy_model(model_name)

    assert at_loads == [(2, 3), (2, 3)], "Triton reads a model's whole folder for one new version"
    state = observed(environment, model_name)
    assert (state["policy"], state["served"]) == ((2, 3), [(2, 3), (2, 3)])
    assert state["versions"] == {"repository": (2, 3), "archive": (1,)}
    assert state["aliases"] == {"live": 3, "previous": 2}
    inputs = np.ones((1, FEATURES), np.float32)
    for answer in answers(environment, model_name, inputs):
        np.testing.assert_allclose(answer, inputs @ random_weights(3), rtol=1e-5)


def test_releasing_what_is_live_changes_nothing_and_says_so(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released(2)
    before = observed(environment, model_name)

    state = state_of(model_name)

    assert state.name == "AlreadyLive"
    assert "is live on every replica as 2" in (state.message or "")
    assert observed(environment, model_name) == before


@pytest.mark.exhaustive  # the reconciler, too, gives it back: test_reconciliation.py
def test_a_replica_that_lost_the_live_version_gets_it_back(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released()
    before = observed(environment, model_name)
    environment.fleet.unload_model(environment.fleet.list_addresses()[1], model_name)

    release = deploy_model(model_name)

    assert isinstance(release, Deployment)
    assert not release.plan.creates_version
    assert observed(environment, model_name) == before


def test_a_dry_run_changes_nothing_and_says_what_would_change(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released().registered()
    before = observed(environment, model_name)

    state = state_of(model_name, dry_run=True)

    assert state.name == "DryRun"
    assert "would serve [1, 2]" in (state.message or "")
    assert observed(environment, model_name) == before


@pytest.mark.exhaustive  # test_withdrawal.py forces one, test_rollback.py brings one back
def test_a_forced_version_from_the_archive_is_brought_back_and_served_alone(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(3)

    deploy_model(model_name, source="version:1", force_version=1)

    assert observed(environment, model_name)["served"] == [(1,), (1,)]
    inputs = np.ones((1, FEATURES), np.float32)
    for answer in answers(environment, model_name, inputs):
        np.testing.assert_allclose(answer, inputs @ random_weights(1), rtol=1e-5)


def test_external_data_is_published_served_and_proven(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    weights, inputs = random_weights(1), np.ones((2, FEATURES), np.float32)
    save(tmp_path, linear_model(weights), {"input/input": inputs, "output/output": inputs @ weights}, external=True)
    register_directory(environment.registry, model_name, tmp_path)

    release = deploy_model(model_name)

    assert isinstance(release, Deployment)
    assert [found.samples for found in comparisons(release)] == [2, 2]
    version = f"repository/{model_name}/1/"
    names = [key.removeprefix(version) for key in environment.repository.store.list_keys(version)]
    assert names == ["metadata.json", "model.onnx", "model.onnx.data"]


def test_a_model_with_a_fixed_batch_is_proven_sample_by_sample(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    weights, inputs = random_weights(1), np.random.default_rng(1).random((5, 1, FEATURES), np.float32)
    golden = {"input/input": inputs, "output/output": inputs @ weights}
    save(tmp_path, linear_model(weights, batch=1), golden)
    register_directory(environment.registry, model_name, tmp_path)

    release = deploy_model(model_name, expected_input_shape=(1, 4))

    assert isinstance(release, Deployment)
    assert [(found.samples, found.top1_agreement) for found in comparisons(release)] == [(5, 1.0), (5, 1.0)]


def test_a_model_without_golden_samples_is_proven_with_synthetic_inputs_alone(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    save(tmp_path, linear_model(random_weights(1)), {})
    register_directory(environment.registry, model_name, tmp_path)

    release = deploy_model(model_name)

    assert isinstance(release, Deployment)
    assert comparisons(release) == []
    assert all(0 < replica.latency_p50_ms <= replica.latency_p95_ms for replica in release.verified)


def after(first: Callable[[], object], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does something else first."""

    def both(*arguments: Any) -> Any:
        first()
        return function(*arguments)

    return both


def test_aliases_and_verification_run_side_by_side(
    environment: Environment, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_linear(environment.registry, model_name, seed=1)
    both = threading.Barrier(2, timeout=60)
    monkeypatch.setattr("slipway.releases.aliases.move_aliases", after(both.wait, move_aliases))
    monkeypatch.setattr("slipway.releases.verification.load_golden", after(both.wait, load_golden))

    state = state_of(model_name)

    assert state.is_completed(), state.message
    steps = steps_of(state.state_details.flow_run_id)
    began = min(steps["update-aliases"].start, steps["verify-deployment"].start)
    assert began >= steps["reload-triton"].end


def test_two_commits_within_a_second_are_both_seen_by_triton(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released(2)
    config, address = environment.repository.read_config(model_name) or "", environment.fleet.list_addresses()[0]

    for versions in ((1,), (1, 2), (2,), (1, 2)):
        commit_by_hand(environment.repository, model_name, apply_policy(config, versions))
        environment.fleet.load_model(address, model_name)

        assert environment.fleet.list_ready_versions(address, model_name) == versions


@pytest.mark.parametrize("flows", ["deployment", "training, candidate, export_validation, yolo_training"])
def test_a_flow_is_imported_without_torch_which_a_step_imports_where_it_runs(flows: str) -> None:
    absent = ["torch", "torchvision", "onnxruntime", "onnxscript", "sklearn", "matplotlib"]
    program = f"import sys; sys.modules.update(dict.fromkeys({absent})); from flows import {flows}"

    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=120)
