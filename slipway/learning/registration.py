"""Registration: an export run's ONNX model becomes a version, once, with its golden samples beside its file."""

from pathlib import Path

import mlflow
from pydantic import BaseModel, ConfigDict

from blocks.checksums import FileDigest
from blocks.errors import InvalidInput
from blocks.labels import (
    CHECKSUM_TAG,
    EXPORTED_MODEL_TAG,
    EXPORTED_VERSION_TAG,
    EXTERNAL_DATA_FILE,
    GOLDEN_FILE,
    MODEL_FILE,
    PARENT_MODEL_TAG,
    PARENT_RUN_TAG,
    PARENT_VERSION_TAG,
    VALIDATION_MAX_DIFF_TAG,
    VALIDATION_PASSED_TAG,
)
from blocks.registry import ModelRegistry, RegisteredVersion

# MLflow keeps no infinity, which is what a difference is where outputs cannot be compared.
LARGEST_METRIC = 1e300


class ExportRun(BaseModel):
    """An export run as MLflow knows it: the ONNX model it logged and the version it was made of."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    run_id: str
    model_id: str
    parent_name: str
    parent_version: int

    @property
    def onnx_name(self) -> str:
        """The registered name of the exports of this model."""
        return f"{self.parent_name}-onnx"

    @property
    def subject(self) -> str:
        """What messages call it."""
        return f"ONNX export of model '{self.parent_name}' version {self.parent_version}"


def find_export(run_id: str, registry: ModelRegistry) -> ExportRun:
    """Return an export run; `NotRegistered` for an unknown run, `InvalidInput` for one that is no export."""
    client = registry.connect()
    with registry.reaching(f"run {run_id}"):
        run = client.get_run(run_id)
    tags, models = run.data.tags, run.outputs.model_outputs if run.outputs else []
    if not models or not {EXPORTED_MODEL_TAG, EXPORTED_VERSION_TAG} <= tags.keys():
        raise InvalidInput(
            f"run {run_id} ('{run.info.run_name}') logged no ONNX export; expected the run of an export-onnx step"
        )
    return ExportRun(
        run_id=run_id,
        model_id=models[0].model_id,
        parent_name=tags[EXPORTED_MODEL_TAG],
        parent_version=int(tags[EXPORTED_VERSION_TAG]),
    )


def download_export(export: ExportRun, into: Path, registry: ModelRegistry) -> Path:
    """Download the logged ONNX model's files into a directory, and return where they are."""
    registry.connect()
    with registry.reaching(f"ONNX model of run {export.run_id}"):
        return Path(mlflow.artifacts.download_artifacts(f"models:/{export.model_id}", dst_path=str(into)))


def record_validation(
    export: ExportRun, metrics: dict[str, float], report: str, report_file: str, registry: ModelRegistry
) -> None:
    """Add gate 2's figures and its report to the export run."""
    client = registry.connect()
    with registry.reaching(f"figures of run {export.run_id}"):
        for name, value in metrics.items():
            client.log_metric(export.run_id, name, min(value, LARGEST_METRIC))
        client.log_text(export.run_id, report, report_file)


def register_export(
    export: ExportRun, parent: RegisteredVersion, max_diff: float, files: Path, registry: ModelRegistry
) -> int:
    """Register the ONNX model whose validated files, golden samples among them, are in a directory.

    Returns the version, the old one if the export is registered already. The tags carry the SHA-256 of each file
    that was validated, so that whoever deploys the version can tell that it is this one.
    """
    client = registry.connect()
    with registry.reaching(f"versions of model '{export.onnx_name}'"):
        known = client.search_model_versions(f"run_id='{export.run_id}'")
    for version in known:
        if version.name == export.onnx_name:
            return int(version.version)
    with registry.reaching(f"golden samples of run {export.run_id}"):
        client.log_model_artifact(export.model_id, str(files / GOLDEN_FILE))
    with registry.reaching(f"registration of model '{export.onnx_name}'"):
        registered = mlflow.register_model(
            f"models:/{export.model_id}", export.onnx_name, tags=_make_trace(parent, max_diff) | _make_checksums(files)
        )
    return int(registered.version)


def _make_trace(parent: RegisteredVersion, max_diff: float) -> dict[str, str]:
    return {
        PARENT_MODEL_TAG: parent.model_name,
        PARENT_VERSION_TAG: str(parent.version),
        PARENT_RUN_TAG: parent.run_id or "",
        VALIDATION_MAX_DIFF_TAG: f"{max_diff:.3e}",
        VALIDATION_PASSED_TAG: "true",
    }


def _make_checksums(files: Path) -> dict[str, str]:
    present = [files / name for name in (MODEL_FILE, EXTERNAL_DATA_FILE, GOLDEN_FILE) if (files / name).exists()]
    return {f"{CHECKSUM_TAG}{file.name}": FileDigest.of(file).sha256 for file in present}
