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
    PRECISION_TAG,
    SIBLINGS_TAG,
    VALIDATION_PASSED_TAG,
    VARIANT_PROBLEM_TAG,
)
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.learning.served_precision import FULL, PRECISIONS, VARIANTS, Precision

# MLflow keeps no infinity, which is what a difference is where outputs cannot be compared.
LARGEST_METRIC = 1e300
ONNX_MODEL = "onnx"  # what an export's FP32 model is called in its run; a variant's name has its precision behind it


class ExportRun(BaseModel):
    """An export run as MLflow knows it: the ONNX models it logged and the version they were made of."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    run_id: str
    model_ids: dict[Precision, str]
    problems: dict[Precision, str] = {}
    parent_name: str
    parent_version: int

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What was exported, or could not be made, FP32 first."""
        return tuple(name for name in PRECISIONS if name in self.model_ids or name in self.problems)

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
        logged = [client.get_logged_model(found.model_id) for found in run.outputs.model_outputs] if run.outputs else []
    tags, models = run.data.tags, {found.name: found.model_id for found in logged}
    if ONNX_MODEL not in models or not {EXPORTED_MODEL_TAG, EXPORTED_VERSION_TAG} <= tags.keys():
        raise InvalidInput(
            f"run {run_id} ('{run.info.run_name}') logged no ONNX export; expected the run of an export-onnx step"
        )
    return ExportRun(
        run_id=run_id,
        model_ids={FULL: models[ONNX_MODEL]}
        | {variant: found for variant in VARIANTS if (found := models.get(f"{ONNX_MODEL}-{variant}")) is not None},
        problems={
            variant: found for variant in VARIANTS if (found := tags.get(f"{VARIANT_PROBLEM_TAG}{variant}")) is not None
        },
        parent_name=tags[EXPORTED_MODEL_TAG],
        parent_version=int(tags[EXPORTED_VERSION_TAG]),
    )


def download_export(export: ExportRun, precision: Precision, into: Path, registry: ModelRegistry) -> Path:
    """Download a logged ONNX model's files into a directory of its own in another, and return where they are."""
    registry.connect()
    directory = into / precision
    directory.mkdir()
    with registry.transferring(f"ONNX model of run {export.run_id}"):
        model_id = export.model_ids[precision]
        return Path(mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(directory)))


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
    export: ExportRun,
    precision: Precision,
    parent: RegisteredVersion,
    files: Path,
    registry: ModelRegistry,
    tags: dict[str, str],
) -> int:
    """Register the ONNX model whose validated files, golden samples among them, are in a directory.

    Returns the version, the old one if this precision of the export is registered already. The tags carry the SHA-256
    of each file that was validated, so that whoever deploys the version can tell that it is this one.
    """
    client, model_id = registry.connect(), export.model_ids[precision]
    with registry.reaching(f"versions of model '{export.onnx_name}'"):
        known = client.search_model_versions(f"run_id='{export.run_id}'")
    for version in known:
        if version.name == export.onnx_name and version.tags.get(PRECISION_TAG, FULL) == precision:
            return int(version.version)
    with registry.transferring(f"golden samples of run {export.run_id}"):
        client.log_model_artifact(model_id, str(files / GOLDEN_FILE))
    trace = _make_trace(parent) | _name_siblings(export, precision)
    with registry.reaching(f"registration of model '{export.onnx_name}'"):
        registered = mlflow.register_model(
            f"models:/{model_id}", export.onnx_name, tags=trace | tags | _make_checksums(files)
        )
    return int(registered.version)


def _make_trace(parent: RegisteredVersion) -> dict[str, str]:
    return {
        PARENT_MODEL_TAG: parent.model_name,
        PARENT_VERSION_TAG: str(parent.version),
        PARENT_RUN_TAG: parent.run_id or "",
        VALIDATION_PASSED_TAG: "true",
    }


def _name_siblings(export: ExportRun, precision: Precision) -> dict[str, str]:
    """Return the precision, and where the others of the same run lie, where there are any."""
    others = [f"{name} models:/{found}" for name, found in export.model_ids.items() if name != precision]
    return {PRECISION_TAG: precision} | ({SIBLINGS_TAG: ", ".join(others)} if others else {})


def _make_checksums(files: Path) -> dict[str, str]:
    present = [files / name for name in (MODEL_FILE, EXTERNAL_DATA_FILE, GOLDEN_FILE) if (files / name).exists()]
    return {f"{CHECKSUM_TAG}{file.name}": FileDigest.of(file).sha256 for file in present}
