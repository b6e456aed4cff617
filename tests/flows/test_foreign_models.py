"""A model that slipway never released is shown, and nothing of it is moved, deleted, loaded or unloaded."""

import pytest

from blocks.environment import Environment
from blocks.errors import ForeignModel
from flows.deployment import deploy_model
from flows.reconciliation import reconcile_models
from slipway.formats.contents import Contents
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.drift import Kind
from slipway.releases.journal import read_open
from slipway.releases.serving_config import generate_config
from slipway.releases.survey import survey
from tests.apparatus.consistency import list_served
from tests.apparatus.given import given
from tests.apparatus.models import linear_model, random_weights

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
def kept_by_hand(environment: Environment, model_name: str) -> str:
    """The name of a model that somebody keeps by hand: two folders without metadata.json, the second one served."""
    store = environment.repository.store
    for version in (1, 2):
        content = linear_model(random_weights(version)).SerializeToString()
        store.write(f"repository/{model_name}/{version}/model.onnx", content)
    store.write(f"repository/{model_name}/config.pbtxt", generate_config(model_name, CONTENTS, (2,)).encode())
    for address in environment.fleet.list_addresses():
        environment.fleet.load_model(address, model_name)
    return model_name


def found(environment: Environment, name: str) -> tuple[dict[str, int], list[tuple[int, ...]]]:
    """Return the keys of a model with their sizes, and what each replica serves of it."""
    served = list_served(environment, name)
    return environment.repository.store.list_keys(f"repository/{name}/"), served


def test_the_reconciler_leaves_a_model_alone_that_is_kept_by_hand(environment: Environment, kept_by_hand: str) -> None:
    before = found(environment, kept_by_hand)

    outcome = reconcile_models([kept_by_hand])

    assert outcome.found == ()
    assert found(environment, kept_by_hand) == before
    assert environment.repository.store.list_keys(f"archive/{kept_by_hand}/") == {}


def test_a_model_without_a_configuration_stays_loaded(environment: Environment, kept_by_hand: str) -> None:
    environment.repository.store.delete(f"repository/{kept_by_hand}/config.pbtxt")
    before = found(environment, kept_by_hand)

    outcome = reconcile_models([kept_by_hand])

    assert outcome.found == ()
    assert found(environment, kept_by_hand) == before
    assert before[1] == [(2,), (2,)]


def test_it_is_shown_as_foreign(environment: Environment, kept_by_hand: str) -> None:
    (state,) = survey((kept_by_hand,), environment)

    assert (state.foreign, state.repository, set(state.served.values())) == (True, (1, 2), {(2,)})


def test_its_name_is_never_released_over(environment: Environment, kept_by_hand: str) -> None:
    given(environment, kept_by_hand).registered()
    before = found(environment, kept_by_hand)

    with pytest.raises(ForeignModel, match=r"has no record of releasing it.*adopt it first"):
        deploy_model(kept_by_hand)

    assert found(environment, kept_by_hand) == before
    assert read_open(environment.repository, kept_by_hand) is None
    assert "live" not in environment.registry.get_aliases(kept_by_hand)


def test_a_folder_put_by_hand_beside_released_versions_is_reported_and_stays(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released()
    environment.repository.store.write(f"repository/{model_name}/7/model.onnx", b"somebody's own")

    outcome = reconcile_models([model_name])

    assert [drift.kind for drift in outcome.left] == [Kind.VERSION_FOREIGN]
    assert environment.repository.store.read(f"repository/{model_name}/7/model.onnx") == b"somebody's own"
