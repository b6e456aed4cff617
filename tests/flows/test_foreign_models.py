"""A model that slipway never released is shown, and nothing of it is moved, deleted, loaded or unloaded."""

import uuid
from collections.abc import Iterator

import pytest

from blocks.environment import Environment
from blocks.errors import ForeignModel
from flows.deployment import deploy_model
from flows.reconciliation import reconcile_models
from slipway.formats.contents import Contents
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.journal import read_open
from slipway.releases.serving_config import generate_config
from slipway.releases.survey import Kind, survey
from tests.apparatus.candidates import withdraw
from tests.apparatus.models import linear_model, random_weights, register_linear

CONTENTS = Contents(
    backend="onnxruntime",
    model_file="model.onnx",
    files=("model.onnx",),
    signature=Signature(
        inputs=(TensorSpec(name="input", dtype="FP32", shape=("batch_size", 4)),),
        outputs=(TensorSpec(name="output", dtype="FP32", shape=("batch_size", 3)),),
        opset=20,
    ),
)


@pytest.fixture
def model_name(environment: Environment) -> Iterator[str]:
    """The name of a model that somebody keeps by hand: two folders without metadata.json, the second one served."""
    name = f"test-{uuid.uuid4().hex[:8]}-onnx"
    store = environment.repository.store
    for version in (1, 2):
        content = linear_model(random_weights(version)).SerializeToString()
        store.write(f"repository/{name}/{version}/model.onnx", content)
    store.write(f"repository/{name}/config.pbtxt", generate_config(name, CONTENTS, (2,)).encode())
    for address in environment.fleet.addresses():
        environment.fleet.load_model(address, name)
    yield name
    withdraw(environment, name)


def found(environment: Environment, name: str) -> tuple[dict[str, int], list[tuple[int, ...]]]:
    """Return the keys of a model with their sizes, and what each replica serves of it."""
    served = [environment.fleet.ready_versions(address, name) for address in environment.fleet.addresses()]
    return environment.repository.store.keys(f"repository/{name}/"), served


def test_the_reconciler_leaves_a_model_alone_that_is_kept_by_hand(environment: Environment, model_name: str) -> None:
    before = found(environment, model_name)

    outcome = reconcile_models([model_name])

    assert outcome.found == ()
    assert found(environment, model_name) == before
    assert environment.repository.store.keys(f"archive/{model_name}/") == {}


def test_a_model_without_a_configuration_stays_loaded(environment: Environment, model_name: str) -> None:
    environment.repository.store.delete(f"repository/{model_name}/config.pbtxt")
    before = found(environment, model_name)

    outcome = reconcile_models([model_name])

    assert outcome.found == ()
    assert found(environment, model_name) == before
    assert before[1] == [(2,), (2,)]


def test_it_is_shown_as_foreign(environment: Environment, model_name: str) -> None:
    (state,) = survey((model_name,), environment)

    assert (state.foreign, state.repository, set(state.served.values())) == (True, (1, 2), {(2,)})


def test_its_name_is_never_released_over(environment: Environment, model_name: str) -> None:
    register_linear(environment.registry, model_name, seed=3)
    before = found(environment, model_name)

    with pytest.raises(ForeignModel, match=r"has no record of releasing it.*adopt it first"):
        deploy_model(model_name)

    assert found(environment, model_name) == before
    assert read_open(environment.repository, model_name) is None
    assert "live" not in environment.registry.aliases(model_name)


def test_a_folder_put_by_hand_beside_released_versions_is_reported_and_stays(environment: Environment) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}-onnx"
    register_linear(environment.registry, name, seed=1)
    deploy_model(name)
    environment.repository.store.write(f"repository/{name}/7/model.onnx", b"somebody's own")

    outcome = reconcile_models([name])

    assert [drift.kind for drift in outcome.left] == [Kind.VERSION_FOREIGN]
    assert environment.repository.store.read(f"repository/{name}/7/model.onnx") == b"somebody's own"
