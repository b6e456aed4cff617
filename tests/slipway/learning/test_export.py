"""Step export-onnx, against the real MLflow."""

from pathlib import Path

import mlflow
import onnx
import pytest

from blocks.environment import Environment
from blocks.errors import NotRegistered, UnusableModel
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.learning.export import export
from slipway.learning.results import OnnxExport
from tests.apparatus.trained_candidates import register_candidate, registered_names, unused_name


@pytest.fixture(scope="module")
def registry(environment: Environment) -> ModelRegistry:
    return environment.registry


@pytest.fixture(scope="module")
def parent(registry: ModelRegistry) -> RegisteredVersion:
    """Version 1, which was promoted; version 2 has taken the alias since."""
    name = unused_name()
    register_candidate(registry, name, seed=1)
    registry.set_alias(name, "champion", 1)
    promoted = registry.get_version(name, 1)
    register_candidate(registry, name, seed=2)
    registry.set_alias(name, "champion", 2)
    return promoted


@pytest.fixture(scope="module")
def exported(parent: RegisteredVersion, registry: ModelRegistry) -> OnnxExport:
    return export(parent.model_name, parent.version, registry=registry)


def logged_files(export: OnnxExport, into: Path) -> Path:
    return Path(mlflow.artifacts.download_artifacts(f"models:/{export.model_id}", dst_path=str(into)))


def tensor(value: onnx.ValueInfoProto) -> tuple[str, list[str | int]]:
    return value.name, [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_the_onnx_model_has_our_tensors_and_a_dynamic_batch(exported: OnnxExport, tmp_path: Path) -> None:
    model = onnx.load(str(logged_files(exported, tmp_path) / "model.onnx"))

    assert [tensor(value) for value in model.graph.input] == [("input", ["batch_size", 3, 32, 32])]
    assert [tensor(value) for value in model.graph.output] == [("output", ["batch_size", 10])]
    assert exported.opset >= 18


def test_a_small_model_is_a_single_file(exported: OnnxExport, tmp_path: Path) -> None:
    names = {file.name for file in logged_files(exported, tmp_path).iterdir()}

    assert not exported.external_data
    assert "model.onnx" in names and not any(name.endswith(".data") for name in names)


def test_the_promoted_version_is_exported_though_the_alias_has_moved_on(
    exported: OnnxExport, parent: RegisteredVersion, registry: ModelRegistry
) -> None:
    run = registry.connect().get_run(exported.run_id)

    assert run.info.run_name == f"export-{parent.model_name}-v1"
    assert run.data.tags["parent_model_version"] == "1"
    assert run.data.tags["parent_model_name"] == parent.model_name
    assert run.data.tags["parent_run_id"] == parent.run_id
    assert {"export_duration_seconds", "onnx_file_size_mb"} <= run.data.metrics.keys()


def test_an_export_alone_registers_nothing(exported: OnnxExport, registry: ModelRegistry) -> None:
    assert registered_names(registry, exported.model_name) == {exported.model_name}


def test_weights_beyond_the_limit_of_a_file_go_beside_it(
    parent: RegisteredVersion, registry: ModelRegistry, tmp_path: Path
) -> None:
    exported = export(parent.model_name, parent.version, registry=registry, single_file_limit_bytes=5_000)

    files = logged_files(exported, tmp_path)
    assert exported.external_data
    assert (files / "model.onnx.data").stat().st_size >= 192 * 10 * 4
    assert (files / "model.onnx").stat().st_size < 20_000
    onnx.checker.check_model(str(files / "model.onnx"), full_check=True)
    assert onnx.load(str(files / "model.onnx")).graph.initializer


def test_an_unknown_version_is_an_error(parent: RegisteredVersion, registry: ModelRegistry) -> None:
    with pytest.raises(NotRegistered):
        export(parent.model_name, 99, registry=registry)


def test_a_pickled_model_is_refused_unread(registry: ModelRegistry, tmp_path: Path) -> None:
    name, trap = unused_name(), tmp_path / "sprung"
    register_pickle(registry, name, trap)

    with pytest.raises(UnusableModel, match="not an exported PyTorch program"):
        export(name, 1, registry=registry)

    assert not trap.exists(), "unpickling would have created it"


class Trap:
    """Whoever unpickles this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def register_pickle(registry: ModelRegistry, name: str, trap: Path) -> None:
    import torch

    from tests.apparatus.networks import SmallNetwork

    registry.connect()
    network = SmallNetwork(10)
    network.trap = Trap(trap)  # type: ignore[assignment]
    mlflow.set_experiment(name)
    with mlflow.start_run():
        mlflow.pytorch.log_model(
            network,
            name="model",
            registered_model_name=name,
            serialization_format="pickle",
            pip_requirements=[f"torch=={torch.__version__}"],
        )
