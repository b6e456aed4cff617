"""Step validate-onnx, gate 2, against the real MLflow."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from blocks.environment import Environment
from blocks.errors import InvalidInput, NotRegistered, ValidationFailed
from blocks.labels import DEPLOY, REPORT_FILE
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.learning import validation
from slipway.learning.export import export
from slipway.learning.parameters import ValidationTerms
from slipway.learning.results import OnnxExport, ValidatedOnnx
from tests.apparatus.trained_candidates import register_candidate, registered_names, unused_name

METRICS = (
    "num_samples max_diff mean_diff median_diff tolerance passed pytorch_time_seconds onnx_time_seconds onnx_speedup"
)


def terms(tolerance: float = 1e-5) -> ValidationTerms:
    return ValidationTerms(validation_tolerance=tolerance, validation_samples=100)


@pytest.fixture(scope="module")
def registry(environment: Environment) -> ModelRegistry:
    return environment.registry


@pytest.fixture(scope="module")
def parent(registry: ModelRegistry) -> RegisteredVersion:
    return register_candidate(registry, unused_name())


@pytest.fixture(scope="module")
def exported(parent: RegisteredVersion, registry: ModelRegistry) -> OnnxExport:
    return export(parent.model_name, parent.version, registry=registry)


@pytest.fixture(scope="module")
def validated(exported: OnnxExport, registry: ModelRegistry) -> ValidatedOnnx:
    return validate(exported, registry)


@pytest.fixture(scope="module")
def sound(registry: ModelRegistry, tmp_path_factory: pytest.TempPathFactory) -> tuple[OnnxExport, bytes]:
    candidate = register_candidate(registry, unused_name())
    exported = export(candidate.model_name, candidate.version, registry=registry)
    files = mlflow.artifacts.download_artifacts(
        f"models:/{exported.model_id}", dst_path=str(tmp_path_factory.mktemp("sound"))
    )
    return exported, (Path(files) / "model.onnx").read_bytes()


@pytest.fixture
def unvalidated(sound: tuple[OnnxExport, bytes], registry: ModelRegistry, tmp_path: Path) -> "Unvalidated":
    """An export that no test has validated, with its model as it was exported."""
    export, content = sound
    return Unvalidated(export, registry, tmp_path / "model.onnx", content)


class Unvalidated:
    """An export for a test to damage."""

    def __init__(self, export: OnnxExport, registry: ModelRegistry, path: Path, content: bytes) -> None:
        self.export, self.registry, self.content = export, registry, content
        self._path = path

    def replace(self, content: bytes) -> None:
        """Store another model.onnx with the export run."""
        self._path.write_bytes(content)
        self.registry.connect().log_model_artifact(self.export.model_id, str(self._path))

    def assert_refused(self, reason: str, tolerance: float = 1e-5) -> None:
        """Assert that gate 2 fails for a reason, writes its report, and leaves nothing behind in the registry."""
        with pytest.raises(ValidationFailed, match=reason):
            validate(self.export, self.registry, tolerance)

        run = self.registry.connect().get_run(self.export.run_id)
        report = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{REPORT_FILE}")
        assert run.data.metrics["validation_passed"] == 0
        assert "failed" in report
        assert registered_names(self.registry, self.export.model_name) == {self.export.model_name}


def validate(export: OnnxExport, registry: ModelRegistry, tolerance: float = 1e-5) -> ValidatedOnnx:
    found = validation.validate(export.run_id, terms(tolerance), seed=0, registry=registry)
    assert isinstance(found, ValidatedOnnx)
    return found


def test_a_faithful_export_is_registered_and_ready_for_deployment(
    validated: ValidatedOnnx, parent: RegisteredVersion, registry: ModelRegistry
) -> None:
    version = registry.get_version(validated.model_name, validated.version)

    assert (validated.model_name, validated.version) == (f"{parent.model_name}-onnx", 1)
    assert registry.get_aliases(validated.model_name) == {DEPLOY: 1}
    assert version.run_id == validated.run_id
    assert version.tags["parent_pytorch_model"] == parent.model_name
    assert version.tags["parent_pytorch_version"] == "1"
    assert version.tags["parent_training_run_id"] == parent.run_id
    assert version.tags["validation_passed"] == "true"
    assert float(version.tags["validation_max_diff"]) <= 1e-5


def test_the_export_run_carries_the_references_figures(validated: ValidatedOnnx, registry: ModelRegistry) -> None:
    metrics = registry.connect().get_run(validated.run_id).data.metrics

    assert {f"validation_{name}" for name in METRICS.split()} <= metrics.keys()
    assert metrics["validation_passed"] == 1
    assert metrics["validation_num_samples"] == 112, "100 random ones and the 12 images the training run kept"


def test_the_golden_samples_lie_beside_the_model_and_are_reproduced_by_it(
    validated: ValidatedOnnx, registry: ModelRegistry, tmp_path: Path
) -> None:
    files = registry.download(registry.get_version(validated.model_name, validated.version), tmp_path / "model")

    with np.load(files / "golden.npz", allow_pickle=False) as golden:
        inputs, outputs, onnx = (golden[key] for key in ("input/input", "output/output", "onnxruntime/output"))
    found = onnxruntime.InferenceSession(str(files / "model.onnx")).run(["output"], {"input": inputs})[0]

    assert inputs.shape == (16, 3, 32, 32) and inputs.dtype == outputs.dtype == np.float32
    assert np.abs(found - outputs).max() <= 1e-5 * np.abs(outputs).max()
    assert np.abs(found - onnx).max() <= 1e-6 * np.abs(outputs).max()


def test_the_version_carries_the_checksums_of_what_was_validated(
    validated: ValidatedOnnx, registry: ModelRegistry, tmp_path: Path
) -> None:
    from blocks.checksums import FileDigest

    version = registry.get_version(validated.model_name, validated.version)
    files = registry.download(version, tmp_path / "model")

    recorded = {name: value for name, value in version.tags.items() if name.startswith("sha256/")}
    assert recorded == {f"sha256/{name}": FileDigest.of(files / name).sha256 for name in ("model.onnx", "golden.npz")}


def test_validating_again_registers_nothing_twice(
    validated: ValidatedOnnx, exported: OnnxExport, registry: ModelRegistry
) -> None:
    again = validate(exported, registry)

    assert again.version == validated.version
    assert again.max_diff == validated.max_diff, "the inputs are seeded"
    assert len(registry.connect().search_model_versions(f"name='{validated.model_name}'")) == 1


def changed_weights(content: bytes, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> bytes:
    """Return an ONNX model with its largest weight tensor changed."""
    model = onnx.load_from_string(content)
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(weights).copy()), weights.name))
    return bytes(model.SerializeToString())


def test_an_export_with_slightly_other_weights_is_refused(unvalidated: Unvalidated) -> None:
    unvalidated.replace(changed_weights(unvalidated.content, lambda weights: weights * np.float32(1.001)))

    unvalidated.assert_refused(r"relative difference \d\.\de-0[1-4]")


def test_an_export_with_nan_in_it_is_refused(unvalidated: Unvalidated) -> None:
    def broken(weights: NDArray[np.float32]) -> NDArray[np.float32]:
        weights.flat[0] = np.nan
        return weights

    unvalidated.replace(changed_weights(unvalidated.content, broken))

    unvalidated.assert_refused("relative difference inf")


def test_a_truncated_export_is_refused(unvalidated: Unvalidated) -> None:
    unvalidated.replace(unvalidated.content[:-100])

    unvalidated.assert_refused("cannot be checked and run")


def test_an_export_that_takes_one_batch_size_only_is_refused(unvalidated: Unvalidated) -> None:
    model = onnx.load_from_string(unvalidated.content)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    unvalidated.replace(model.SerializeToString())

    unvalidated.assert_refused("cannot be checked and run")


def test_a_difference_beyond_the_tolerance_is_refused(unvalidated: Unvalidated) -> None:
    unvalidated.replace(unvalidated.content)

    unvalidated.assert_refused("1e-15 allowed", tolerance=1e-15)


def test_external_data_is_validated_and_registered_whole(
    parent: RegisteredVersion, registry: ModelRegistry, tmp_path: Path
) -> None:
    exported = export(parent.model_name, parent.version, registry=registry, single_file_limit_bytes=5_000)

    validated = validate(exported, registry)

    version = registry.get_version(validated.model_name, validated.version)
    files = registry.download(version, tmp_path / "model")
    assert {"model.onnx", "model.onnx.data", "golden.npz"} <= {file.name for file in files.iterdir()}
    assert "sha256/model.onnx.data" in version.tags


def test_a_run_that_is_no_export_is_refused(parent: RegisteredVersion, registry: ModelRegistry) -> None:
    assert parent.run_id

    with pytest.raises(InvalidInput, match="logged no ONNX export"):
        validation.validate(parent.run_id, terms(), seed=0, registry=registry)


def test_an_unknown_run_is_an_error(registry: ModelRegistry) -> None:
    with pytest.raises(NotRegistered, match="0123456789abcdef"):
        validation.validate("0123456789abcdef" * 2, terms(), seed=0, registry=registry)
