"""An author's config.pbtxt is served as it was written, kept by later releases, gone back to; what it calls stays."""

from pathlib import Path

import numpy as np
import pytest

from blocks.environment import Environment
from blocks.errors import InvalidInput, VerificationFailed
from flows.deployment import Deployment, deploy_model
from flows.publication import publish_model
from flows.rollback import rollback_model
from slipway.releases.serving_config import parse_config
from tests.apparatus.consistency import list_served
from tests.apparatus.given import new_name
from tests.apparatus.models import FEATURES, linear_model
from tests.apparatus.triton_directories import (
    DOUBLING,
    ENSEMBLE_CONFIG,
    PYTHON_CONFIG,
    write_directory,
    write_python_model,
)

INPUTS = np.arange(8, dtype=np.float32).reshape(2, FEATURES)
TWO_INSTANCES = f"{PYTHON_CONFIG}\ninstance_group [ {{ count: 2 kind: KIND_CPU }} ]\n"
SLOW_QUEUE = f"{PYTHON_CONFIG}\ndynamic_batching {{ max_queue_delay_microseconds: 700 }}\n"
# what each row gets depends on the others
MIXING = DOUBLING.replace("given * 2", "given - given.mean(axis=0, keepdims=True)")

# multiplies by what the configuration says, which all versions share
CONFIGURED = DOUBLING.replace(
    "    def execute",
    """    def initialize(self, args):
        import json

        self.factor = int(json.loads(args["model_config"])["parameters"]["factor"]["string_value"])

    def execute""",
).replace("given * 2", "given * self.factor")


def release_directory(directory: Path, model_name: str) -> Deployment:
    publish_model(directory, model_name, deploy=True)
    release = deploy_model(model_name)
    assert isinstance(release, Deployment)
    return release


def release_factor(factor: int, model_name: str, directory: Path, config: str = PYTHON_CONFIG) -> Deployment:
    """Release a Python model that multiplies what it is given."""
    code = DOUBLING.replace("given * 2", f"given * {factor}")
    return release_directory(write_directory(directory, config, {"1/model.py": code}), model_name)


def answers(environment: Environment, model_name: str) -> list[np.ndarray]:
    """Return every replica's answer to an unversioned request."""
    ask = environment.fleet.infer
    return [
        ask(a, model_name, {"input": INPUTS}, ["output"], None)["output"] for a in environment.fleet.list_addresses()
    ]


def read_committed(environment: Environment, model_name: str) -> str:
    return environment.repository.read_config(model_name) or ""


def test_what_the_author_wrote_is_served_kept_and_gone_back_to(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    release_factor(2, model_name, tmp_path / "1", TWO_INSTANCES)
    assert parse_config(read_committed(environment, model_name)).instance_group[0].count == 2

    release_factor(3, model_name, tmp_path / "2", SLOW_QUEUE)
    committed = parse_config(read_committed(environment, model_name))
    assert committed.dynamic_batching.max_queue_delay_microseconds == 700
    assert list(committed.version_policy.specific.versions) == [1, 2]

    rollback_model(model_name, reason="a test")

    assert parse_config(read_committed(environment, model_name)).instance_group[0].count == 2
    for answer in answers(environment, model_name):
        np.testing.assert_array_equal(answer, INPUTS * 2)


@pytest.mark.exhaustive  # what the author wrote outlives releases, above
def test_what_was_changed_by_hand_outlives_a_release_with_the_same_config(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    release_factor(2, model_name, tmp_path / "1")
    found = environment.repository.read_commit(model_name)
    assert found is not None
    tuned = f"{found.config}\ninstance_group {{ count: 3 kind: KIND_CPU }}\n"
    environment.repository.commit(model_name, tuned, after=found.etag)

    release_factor(3, model_name, tmp_path / "2")

    assert parse_config(read_committed(environment, model_name)).instance_group[0].count == 3


def test_a_config_that_has_the_previous_version_answer_otherwise_is_refused_unless_it_leaves(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    def write(factor: int) -> Path:
        parameter = f'parameters {{ key: "factor" value {{ string_value: "{factor}" }} }}'
        files: dict[str, str | bytes] = {"1/model.py": CONFIGURED, "1/release.txt": str(factor)}
        return write_directory(tmp_path / str(factor), f"{PYTHON_CONFIG}\n{parameter}\n", files)

    release_directory(write(2), model_name)
    publish_model(write(3), model_name, deploy=True)

    with pytest.raises(VerificationFailed, match=r"has version 1 beside it answer otherwise .* with keep_served 1"):
        deploy_model(model_name)
    for answer in answers(environment, model_name):
        np.testing.assert_array_equal(answer, INPUTS * 2)

    deploy_model(model_name, keep_served=1)
    for answer in answers(environment, model_name):
        np.testing.assert_array_equal(answer, INPUTS * 3)
    rollback_model(model_name, reason="a test")
    for answer in answers(environment, model_name):
        np.testing.assert_array_equal(answer, INPUTS * 2)


def test_an_author_who_says_that_requests_may_be_joined_is_held_to_it(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    publish_model(write_directory(tmp_path / "mixing", PYTHON_CONFIG, {"1/model.py": MIXING}), model_name, deploy=True)

    with pytest.raises(VerificationFailed, match=r"requests joined into one batch get other answers than each alone"):
        deploy_model(model_name)

    assert list_served(environment, model_name) == [
        (),
        (),
    ]


def test_another_backend_is_another_model(environment: Environment, model_name: str, tmp_path: Path) -> None:
    release_factor(2, model_name, tmp_path / "1")
    config = PYTHON_CONFIG.replace('backend: "python"', 'backend: "onnxruntime"')
    publish_model(write_linear_square(tmp_path / "2", config), model_name, deploy=True)

    with pytest.raises(InvalidInput, match=r"backend 'onnxruntime'.* 'python'.*register the model under another name"):
        deploy_model(model_name)


def write_linear_square(directory: Path, config: str) -> Path:
    """Write an ONNX model of the Python model's tensors."""
    content = linear_model(np.eye(FEATURES, dtype=np.float32)).SerializeToString()
    return write_directory(directory, config, {"1/model.onnx": content})


def test_an_ensemble_calls_the_versions_it_was_proven_with_and_they_stay(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    first, second = new_name(), new_name()
    for name in (first, second):
        release_directory(write_python_model(tmp_path / name), name)
    config = ENSEMBLE_CONFIG.replace('"first"', f'"{first}"').replace('"second"', f'"{second}"')

    release_directory(write_directory(tmp_path / "ensemble", config, {"1/.keep": ""}), model_name)

    pinned = parse_config(read_committed(environment, model_name)).ensemble_scheduling.step
    assert [(step.model_name, step.model_version) for step in pinned] == [(first, 1), (second, 1)]
    for factor in (3, 4):
        release_factor(factor, first, tmp_path / f"{first}-{factor}")
    assert environment.fleet.list_ready_versions(environment.fleet.list_addresses()[0], first) == (1, 2, 3)
    for answer in answers(environment, model_name):
        np.testing.assert_array_equal(answer, INPUTS * 4)


def test_an_ensemble_of_what_is_not_served_is_refused(
    environment: Environment, model_name: str, tmp_path: Path
) -> None:
    publish_model(write_directory(tmp_path / "ensemble", ENSEMBLE_CONFIG, {"1/.keep": ""}), model_name, deploy=True)

    with pytest.raises(InvalidInput, match=r"calls 'first', of which slipway has no record.* release 'first' first"):
        deploy_model(model_name)
