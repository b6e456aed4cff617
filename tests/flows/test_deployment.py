"""The deployment flow on real servers: released and proven everywhere, or as if nothing had happened."""

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect.client.schemas.objects import State
from prefect.exceptions import ParameterTypeError

from blocks.errors import (
    InvalidInput,
    LoadFailed,
    NotRegistered,
    ServiceUnavailable,
    SlipwayError,
    UnusableModel,
    VerificationFailed,
    VersionConflict,
)
from blocks.fleet import TritonFleet
from blocks.wiring import Blocks
from flows.deployment import Release, deploy_model
from infra.local.settings import ROOT
from tasks.deployment.proof import Comparison
from tasks.deployment.serving_config import served_versions, with_policy
from tests.models import FEATURES, linear_model, random_weights, register, register_directory, register_linear, save
from tests.ports import free_port
from tests.runs import steps_of


@pytest.fixture
def model_name() -> str:
    """A model of this test's own."""
    return f"test-{uuid.uuid4().hex[:8]}-onnx"


def observed(blocks: Blocks, model_name: str) -> dict[str, object]:
    """Return everything a release may change: policy, files, aliases, what each replica serves, journal."""
    keys = blocks.repository.store.keys
    return {
        "policy": served_versions(blocks.repository.read_config(model_name)),
        "versions": blocks.repository.versions(model_name).model_dump(),
        "files": keys(f"repository/{model_name}/") | keys(f"archive/{model_name}/"),
        "staging": keys(f"staging/{model_name}/"),
        "journal": blocks.repository.read_journal(model_name),
        "aliases": {a: v for a, v in blocks.registry.aliases(model_name).items() if a in {"live", "previous"}},
        "served": [blocks.fleet.ready_versions(address, model_name) for address in blocks.fleet.addresses()],
    }


def answers(blocks: Blocks, model_name: str, inputs: np.ndarray) -> list[np.ndarray]:
    """Return every replica's answer to an unversioned request."""
    ask = blocks.fleet.infer
    return [ask(a, model_name, {"input": inputs}, ["output"], None)["output"] for a in blocks.fleet.addresses()]


def comparisons(release: Release) -> list[Comparison]:
    """Return what each replica's answers to the golden samples were like."""
    return [replica.comparison for replica in release.verified if replica.comparison is not None]


def state_of(model_name: str, **parameters: Any) -> State[Any]:
    return deploy_model(model_name, return_state=True, **parameters)


def test_a_first_release_is_served_and_proven_on_every_replica(blocks: Blocks, model_name: str) -> None:
    registered = register_linear(blocks.registry, model_name, seed=1)

    release = deploy_model(model_name, expected_input_shape=(1, 4), expected_output_shape=(1, 3))

    assert isinstance(release, Release)
    assert [(found.samples, found.top1_agreement) for found in comparisons(release)] == [(6, 1.0), (6, 1.0)]
    assert all(found.max_difference <= 1e-6 for found in comparisons(release))
    state = observed(blocks, model_name)
    assert (state["policy"], state["served"]) == ((1,), [(1,), (1,)])
    assert (state["staging"], state["journal"]) == ({}, None)
    assert state["aliases"] == {"live": registered.version}
    inputs = np.ones((2, FEATURES), np.float32)
    for answer in answers(blocks, model_name, inputs):
        np.testing.assert_allclose(answer, inputs @ random_weights(1), rtol=1e-5)


def test_the_metadata_tells_where_a_version_came_from(blocks: Blocks, model_name: str) -> None:
    registered = register_linear(blocks.registry, model_name, seed=1)

    deploy_model(model_name)

    metadata = json.loads(blocks.repository.read_metadata(model_name, 1) or "")
    assert set(metadata) == {"mlflow", "triton", "model", "validation"}
    assert metadata["mlflow"]["model_name"] == model_name
    assert metadata["mlflow"]["version"] == str(registered.version)
    assert metadata["mlflow"]["run_id"] == registered.run_id
    assert metadata["mlflow"]["alias_at_deploy"] == "alias:deploy"
    assert metadata["triton"]["version"] == "1"
    assert metadata["model"]["inputs"] == [{"name": "input", "dtype": "FP32", "shape": ["batch_size", 4]}]
    assert metadata["model"]["sha256"] == {"model.onnx": registered.tags["sha256/model.onnx"]}
    assert metadata["model"]["opset"] == 20
    assert metadata["validation"] == {"validation_max_diff": 0.0}


def test_the_next_release_keeps_the_one_before_loaded_and_archives_what_is_older(
    blocks: Blocks, model_name: str
) -> None:
    versions = []
    for seed in (1, 2, 3):
        versions.append(register_linear(blocks.registry, model_name, seed).version)
        deploy_model(model_name)

    state = observed(blocks, model_name)
    assert (state["policy"], state["served"]) == ((2, 3), [(2, 3), (2, 3)])
    assert state["versions"] == {"repository": (2, 3), "archive": (1,)}
    assert state["aliases"] == {"live": versions[2], "previous": versions[1]}
    inputs = np.ones((1, FEATURES), np.float32)
    for answer in answers(blocks, model_name, inputs):
        np.testing.assert_allclose(answer, inputs @ random_weights(3), rtol=1e-5)


def test_releasing_what_is_live_changes_nothing_and_says_so(blocks: Blocks, model_name: str) -> None:
    for seed in (1, 2):
        register_linear(blocks.registry, model_name, seed)
        deploy_model(model_name)
    before = observed(blocks, model_name)

    state = state_of(model_name)

    assert state.name == "AlreadyLive"
    assert "is live on every replica as 2" in (state.message or "")
    assert observed(blocks, model_name) == before


def test_a_replica_that_lost_the_live_version_gets_it_back(blocks: Blocks, model_name: str) -> None:
    register_linear(blocks.registry, model_name, seed=1)
    deploy_model(model_name)
    before = observed(blocks, model_name)
    blocks.fleet.unload_model(blocks.fleet.addresses()[1], model_name)

    release = deploy_model(model_name)

    assert isinstance(release, Release)
    assert not release.plan.creates_version
    assert observed(blocks, model_name) == before


def test_a_dry_run_changes_nothing_and_says_what_would_change(blocks: Blocks, model_name: str) -> None:
    register_linear(blocks.registry, model_name, seed=1)
    deploy_model(model_name)
    register_linear(blocks.registry, model_name, seed=2)
    before = observed(blocks, model_name)

    state = state_of(model_name, dry_run=True)

    assert state.name == "DryRun"
    assert "would serve [1, 2]" in (state.message or "")
    assert observed(blocks, model_name) == before


def test_a_model_that_does_not_give_what_pytorch_gave_is_undone(blocks: Blocks, model_name: str) -> None:
    register_linear(blocks.registry, model_name, seed=1)
    deploy_model(model_name)
    before = observed(blocks, model_name)
    register_linear(blocks.registry, model_name, seed=2, lie=0.1)

    with pytest.raises(VerificationFailed, match=r"version 2 on Triton .* differs from the golden samples by"):
        deploy_model(model_name)

    assert observed(blocks, model_name) == before


def test_a_first_release_that_fails_leaves_nothing(blocks: Blocks, model_name: str) -> None:
    register_linear(blocks.registry, model_name, seed=1, lie=0.1)

    with pytest.raises(VerificationFailed):
        deploy_model(model_name)

    state = observed(blocks, model_name)
    assert state == dict.fromkeys(state) | {
        "policy": (),
        "versions": {"repository": (), "archive": ()},
        "files": {},
        "staging": {},
        "aliases": {},
        "served": [(), ()],
    }


def test_after_a_failure_the_same_run_succeeds_when_it_is_retried(blocks: Blocks, model_name: str) -> None:
    register_linear(blocks.registry, model_name, seed=1, lie=0.1)
    assert state_of(model_name).is_failed()
    register_linear(blocks.registry, model_name, seed=1)

    release = deploy_model(model_name)

    assert isinstance(release, Release)
    assert observed(blocks, model_name)["served"] == [(1,), (1,)]


def test_a_model_that_computes_nan_is_undone(blocks: Blocks, model_name: str) -> None:
    weights = np.full((FEATURES, 3), 3e38, np.float32)
    inputs = np.zeros((2, FEATURES), np.float32)
    register(blocks.registry, model_name, linear_model(weights), inputs, inputs @ weights)

    with pytest.raises(VerificationFailed, match=r"holds NaN or infinity"):
        deploy_model(model_name)

    assert observed(blocks, model_name)["served"] == [(), ()]


def test_a_forced_version_is_taken_and_the_next_one_is_above_it(blocks: Blocks, model_name: str) -> None:
    register_linear(blocks.registry, model_name, seed=1)
    deploy_model(model_name, force_version=5)
    register_linear(blocks.registry, model_name, seed=2)

    deploy_model(model_name)

    assert observed(blocks, model_name)["served"] == [(5, 6), (5, 6)]


def test_a_forced_version_never_overwrites_other_content(blocks: Blocks, model_name: str) -> None:
    register_linear(blocks.registry, model_name, seed=1)
    deploy_model(model_name)
    register_linear(blocks.registry, model_name, seed=2)
    before = observed(blocks, model_name)

    with pytest.raises(VersionConflict, match=r"version 1 .* exists with other content"):
        deploy_model(model_name, force_version=1)

    assert observed(blocks, model_name) == before


def test_a_forced_version_from_the_archive_is_brought_back_and_served_alone(blocks: Blocks, model_name: str) -> None:
    first = register_linear(blocks.registry, model_name, seed=1)
    deploy_model(model_name)
    for seed in (2, 3):
        register_linear(blocks.registry, model_name, seed)
        deploy_model(model_name)

    deploy_model(model_name, source=f"version:{first.version}", force_version=1)

    assert observed(blocks, model_name)["served"] == [(1,), (1,)]
    inputs = np.ones((1, FEATURES), np.float32)
    for answer in answers(blocks, model_name, inputs):
        np.testing.assert_allclose(answer, inputs @ random_weights(1), rtol=1e-5)


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
    blocks: Blocks, model_name: str, parameters: dict[str, Any], message: str
) -> None:
    register_linear(blocks.registry, model_name, seed=1)
    before = observed(blocks, model_name)

    with pytest.raises((InvalidInput, NotRegistered), match=message):
        deploy_model(model_name, **parameters)

    assert observed(blocks, model_name) == before


@pytest.mark.parametrize("bad", [{"model_name": "../x"}, {"source": "deploy"}, {"force_version": 0}])
def test_a_parameter_that_makes_no_sense_is_refused_before_the_first_task(blocks: Blocks, bad: dict[str, Any]) -> None:
    with pytest.raises(ParameterTypeError):
        deploy_model(**({"model_name": "m"} | bad))


def test_a_corrupt_file_is_refused_before_anything_is_changed(blocks: Blocks, model_name: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\n")
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a")
    register_directory(blocks.registry, model_name, tmp_path)

    with pytest.raises(UnusableModel, match=f"model '{model_name}' version 1"):
        deploy_model(model_name)

    assert observed(blocks, model_name)["files"] == {}


def test_external_data_is_published_served_and_proven(blocks: Blocks, model_name: str, tmp_path: Path) -> None:
    weights, inputs = random_weights(1), np.ones((2, FEATURES), np.float32)
    save(tmp_path, linear_model(weights), {"input/input": inputs, "output/output": inputs @ weights}, external=True)
    register_directory(blocks.registry, model_name, tmp_path)

    release = deploy_model(model_name)

    assert isinstance(release, Release)
    assert [found.samples for found in comparisons(release)] == [2, 2]
    version = f"repository/{model_name}/1/"
    names = [key.removeprefix(version) for key in blocks.repository.store.keys(version)]
    assert names == ["metadata.json", "model.onnx", "model.onnx.data"]


def test_a_model_with_a_fixed_batch_is_proven_sample_by_sample(blocks: Blocks, model_name: str, tmp_path: Path) -> None:
    weights, inputs = random_weights(1), np.random.default_rng(1).random((5, 1, FEATURES), np.float32)
    golden = {"input/input": inputs, "output/output": inputs @ weights}
    save(tmp_path, linear_model(weights, batch=1), golden)
    register_directory(blocks.registry, model_name, tmp_path)

    release = deploy_model(model_name, expected_input_shape=(1, 4))

    assert isinstance(release, Release)
    assert [(found.samples, found.top1_agreement) for found in comparisons(release)] == [(5, 1.0), (5, 1.0)]


def test_a_model_without_golden_samples_is_proven_with_synthetic_inputs_alone(
    blocks: Blocks, model_name: str, tmp_path: Path
) -> None:
    save(tmp_path, linear_model(random_weights(1)), {})
    register_directory(blocks.registry, model_name, tmp_path)

    release = deploy_model(model_name)

    assert isinstance(release, Release)
    assert comparisons(release) == []
    assert all(0 < replica.latency_p50_ms <= replica.latency_p95_ms for replica in release.verified)


def test_a_file_that_changed_after_gate_2_is_refused(blocks: Blocks, model_name: str) -> None:
    register_linear(blocks.registry, model_name, seed=1)
    blocks.registry.tag_version(model_name, 1, {"sha256/model.onnx": "0" * 64})

    with pytest.raises(SlipwayError, match=r"the file changed after gate 2"):
        deploy_model(model_name)


def test_aliases_and_verification_run_side_by_side(blocks: Blocks, model_name: str) -> None:
    register_linear(blocks.registry, model_name, seed=1)

    steps = steps_of(state_of(model_name).state_details.flow_run_id)

    aliases, verification = steps["update-aliases"], steps["verify-deployment"]
    assert aliases.start < verification.end
    assert verification.start < aliases.end
    assert min(aliases.start, verification.start) >= steps["reload-triton"].end


def test_two_commits_within_a_second_are_both_seen_by_triton(blocks: Blocks, model_name: str) -> None:
    for seed in (1, 2):
        register_linear(blocks.registry, model_name, seed)
        deploy_model(model_name)
    config, address = blocks.repository.read_config(model_name) or "", blocks.fleet.addresses()[0]

    for versions in ((1,), (1, 2), (2,), (1, 2)):
        blocks.repository.commit(model_name, with_policy(config, versions))
        blocks.fleet.load_model(address, model_name)

        assert blocks.fleet.ready_versions(address, model_name) == versions


def test_the_deployment_flow_imports_with_torch_absent() -> None:
    absent = ["torch", "torchvision", "onnxruntime", "onnxscript", "sklearn", "matplotlib"]
    program = f"import sys; sys.modules.update(dict.fromkeys({absent})); import flows.deployment"

    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=120)


def test_a_fleet_with_a_replica_that_is_down_is_refused_before_anything_is_changed(
    blocks: Blocks, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_linear(blocks.registry, model_name, seed=1)
    gone = f"127.0.0.1:{free_port()}"
    fleet = TritonFleet(replicas=[*blocks.fleet.replicas, gone], call_timeout_s=2)
    monkeypatch.setattr("flows.deployment.load_blocks", lambda: blocks._replace(fleet=fleet))

    with pytest.raises(ServiceUnavailable, match=f"Triton {gone}: no answer"):
        deploy_model(model_name)

    assert observed(blocks, model_name)["files"] == {}


def test_a_replica_that_fails_while_releasing_leaves_the_others_as_they_were(
    blocks: Blocks, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_linear(blocks.registry, model_name, seed=1)
    deploy_model(model_name)
    register_linear(blocks.registry, model_name, seed=2)
    before = observed(blocks, model_name)
    load, second = TritonFleet.load_model, blocks.fleet.addresses()[1]
    failures = iter([True])

    def failing_once(fleet: TritonFleet, address: str, name: str) -> None:
        if address == second and next(failures, False):
            raise LoadFailed(f"model '{name}' on Triton {address}: injected")
        load(fleet, address, name)

    monkeypatch.setattr(TritonFleet, "load_model", failing_once)

    with pytest.raises(LoadFailed, match="injected"):
        deploy_model(model_name)

    assert observed(blocks, model_name) == before
