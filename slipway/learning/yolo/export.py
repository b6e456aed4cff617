"""Export of a detector: the weights that were trained, as ONNX, shown to compute what PyTorch computes (gate 2)."""

import tempfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from blocks.checksums import FileDigest
from blocks.errors import IntegrityError, ValidationFailed
from blocks.events import tell_gate
from blocks.labels import GOLDEN_FILE, MODEL_FILE, VALIDATION_MAX_DIFF_TAG
from blocks.registry import ModelRegistry
from blocks.run import publish_report, say
from slipway.learning.inference import open_session
from slipway.learning.yolo.dataset import IMAGES
from slipway.learning.yolo.extra import load_ultralytics
from slipway.learning.yolo.head import compare_heads, name_agreement
from slipway.learning.yolo.pictures import read_pictures
from slipway.learning.yolo.results import EXPORT_FOLDER, DatasetSplit, ExportedDetector, TrainedDetector
from slipway.learning.yolo.training import WEIGHTS_FILE

_MOST_GOLDEN = 8
Array = NDArray[np.float32]


def export_detector(
    trained: TrainedDetector, split: DatasetSplit, tolerance: float, *, registry: ModelRegistry
) -> ExportedDetector:
    """Export the best weights, compare both on pictures of the test part, and keep what PyTorch answers as golden.

    The ONNX model takes `images` (batch, 3, size, size) float32 from 0 to 1, and gives `output0`. Raises
    `ValidationFailed` where a difference exceeds the tolerance, and `IntegrityError` where the weights are not those
    that were trained, which are not opened then.
    """
    ultralytics = load_ultralytics()
    with tempfile.TemporaryDirectory(prefix="slipway-yolo-") as directory:
        weights = download_checked(trained.run_id, WEIGHTS_FILE, trained.weights_sha256, Path(directory), registry)
        network = ultralytics.YOLO(str(weights))
        files = Path(directory) / EXPORT_FOLDER
        files.mkdir()
        onnx_file = files / MODEL_FILE
        Path(
            network.export(format="onnx", imgsz=trained.image_size, dynamic=True, simplify=False, device="cpu")
        ).rename(onnx_file)
        fix_size(onnx_file, trained.image_size)
        paths = [Path(split.root) / IMAGES / name for name in split.test[:_MOST_GOLDEN]]
        inputs = read_pictures(paths, trained.image_size)
        expected, found = _run_pytorch(network, inputs), _run_onnx(onnx_file, inputs)
        max_diff = compare_heads(expected, found, len(split.classes), trained.image_size)
        _report(trained, max_diff, tolerance, len(inputs))
        golden = files / GOLDEN_FILE
        arrays = {"input/images": inputs, "output/output0": expected, "onnxruntime/output0": found}
        np.savez_compressed(golden, **arrays)  # type: ignore[arg-type]
        _log(trained.run_id, files, max_diff, registry)
        return ExportedDetector(
            model_name=trained.model_name,
            run_id=trained.run_id,
            image_size=trained.image_size,
            sha256=FileDigest.of(onnx_file).sha256,
            golden_sha256=FileDigest.of(golden).sha256,
            agreement=name_agreement(expected, len(split.classes)),
            max_diff=max_diff,
        )


def download_checked(run_id: str, path: str, digest: str, into: Path, registry: ModelRegistry) -> Path:
    """Download a file of a run; `IntegrityError` where it is not the one of this SHA-256."""
    registry.connect()
    with registry.transferring(f"file {path} of run {run_id}"):
        found = Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=str(into)))
    observed = FileDigest.of(found).sha256
    if observed != digest:
        raise IntegrityError(
            f"file {path} of MLflow run {run_id}: its SHA-256 is {observed}, expected {digest}; somebody changed it: "
            "train again"
        )
    return found


def fix_size(path: Path, size: int) -> None:
    """Declare height, width and the output's axes as what they are, so that the batch alone is dynamic."""
    model = onnx.load(str(path))
    answer = _run_onnx(path, np.zeros((2, 3, size, size), np.float32))
    for tensor, shape in ((model.graph.input[0], (3, size, size)), (model.graph.output[0], answer.shape[1:])):
        for axis, length in zip(list(tensor.type.tensor_type.shape.dim)[1:], shape, strict=True):
            axis.dim_value = length
    onnx.save(model, str(path))


def _run_pytorch(network: Any, inputs: Array) -> Array:
    model = network.model.float().cpu().eval()
    with torch.no_grad():
        answer = model(torch.from_numpy(inputs))
    head = answer[0] if isinstance(answer, tuple | list) else answer
    return np.asarray(head.numpy(), dtype=np.float32)


def _run_onnx(path: Path, inputs: Array) -> Array:
    return np.asarray(open_session(path).run(["output0"], {"images": inputs})[0], dtype=np.float32)


def _report(trained: TrainedDetector, max_diff: float, tolerance: float, samples: int) -> None:
    passed = max_diff <= tolerance
    reason = (
        f"ONNX export of model '{trained.model_name}', MLflow run {trained.run_id}: {samples} pictures, largest "
        f"difference from PyTorch {max_diff:.1e} (<= {tolerance:.0e} allowed)"
    )
    say(reason)
    publish_report("gate-2", f"# Gate 2\n\n{reason}\n", reason)
    tell_gate(2, passed, f"{trained.model_name}-onnx", reason)
    if not passed:
        raise ValidationFailed(f"{reason}; nothing is registered")


def _log(run_id: str, files: Path, max_diff: float, registry: ModelRegistry) -> None:
    client = registry.connect()
    with registry.transferring(f"ONNX model of run {run_id}"):
        client.log_artifacts(run_id, str(files), EXPORT_FOLDER)
        client.log_metric(run_id, VALIDATION_MAX_DIFF_TAG, max_diff)
