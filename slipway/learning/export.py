"""Export: exactly the promoted version, expressed as ONNX."""

import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mlflow
import onnx
import torch
from mlflow.models import ModelSignature
from torch import nn

from blocks.labels import (
    EXPORTED_ALIAS_TAG,
    EXPORTED_MODEL_TAG,
    EXPORTED_RUN_TAG,
    EXPORTED_VERSION_TAG,
    EXTERNAL_DATA_FILE,
    MODEL_FILE,
    VARIANT_PROBLEM_TAG,
)
from blocks.registry import ModelRegistry, RegisteredVersion
from blocks.run import say
from slipway.learning.machine import keep_to_share
from slipway.learning.parameters import SINGLE_FILE_LIMIT_BYTES
from slipway.learning.quantization import MadeVariant, count_bytes, load_calibration, make_variant
from slipway.learning.registration import ONNX_MODEL
from slipway.learning.results import ExportedVariant, OnnxExport
from slipway.learning.samples import INPUT, OUTPUT
from slipway.learning.served_precision import Variant
from slipway.learning.tracking import TrackedRun, tracked_run
from slipway.learning.weights import load_weights, make_signature


def export(
    model_name: str,
    version: int,
    *,
    registry: ModelRegistry,
    variants: Sequence[Variant] = (),
    num_workers: int | None = None,
    seed: int = 0,
    single_file_limit_bytes: int = SINGLE_FILE_LIMIT_BYTES,
) -> OnnxExport:
    """Export a registered version, and variants of it, and log them to a run `export-<model>-v<N>`.

    The ONNX model takes `input` (batch_size, 3, height, width) float32 and returns `output` (batch_size, classes);
    weights of `single_file_limit_bytes` and more go to `model.onnx.data` beside it. A variant that cannot be made is
    logged with its reason.
    """
    keep_to_share()
    parent = registry.get_version(model_name, version)
    model, input_shape = load_weights(parent, registry)
    images = load_calibration(parent, num_workers, seed) if "int8" in variants else None
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:
        path = Path(directory) / MODEL_FILE
        started = time.monotonic()
        external = _count_weight_bytes(model) >= single_file_limit_bytes
        write_onnx(model, input_shape, path, external)
        duration_s = time.monotonic() - started
        size_bytes = count_bytes(path)
        made = [make_variant(variant, path, images, external) for variant in variants]
        logged = _log(path, made, parent, input_shape, external, duration_s, size_bytes, registry)
    say(f"{model_name} version {version} exported in {duration_s:.1f} s: {size_bytes / 1e6:.1f} MB")
    return OnnxExport(
        model_name=model_name,
        version=version,
        run_id=logged.run_id,
        model_id=logged.model_id,
        size_bytes=size_bytes,
        external_data=external,
        opset=logged.opset,
        input_shape=input_shape,
        export_duration_s=duration_s,
        variants=logged.variants,
    )


def write_onnx(model: nn.Module, input_shape: list[int], path: Path, external_data: bool) -> None:
    """Write a model that infers, with a dynamic batch axis, as ONNX."""
    with warnings.catch_warnings():
        # An exported program computes what it was exported to compute; its `training` flag means nothing.
        warnings.filterwarnings("ignore", message="Exporting a model while it is in training mode")
        torch.onnx.export(
            model,
            (torch.rand(2, *input_shape[1:]),),
            path,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch_size")},),
            external_data=external_data,
            verbose=False,
        )


class _Logged(NamedTuple):
    run_id: str
    model_id: str
    opset: int
    variants: list[ExportedVariant]


def _log(
    path: Path,
    made: Sequence[MadeVariant],
    parent: RegisteredVersion,
    input_shape: list[int],
    external: bool,
    duration_s: float,
    size_bytes: int,
    registry: ModelRegistry,
) -> _Logged:
    model = onnx.load(str(path), load_external_data=False)
    classes = int(model.graph.output[0].type.tensor_type.shape.dim[1].dim_value)
    opset = next(int(used.version) for used in model.opset_import if not used.domain)
    name = f"export-{parent.model_name}-v{parent.version}"
    signature = make_signature(input_shape, classes)
    with tracked_run(registry, parent.model_name, name, _make_tags(parent)) as run:
        run.log_params({"onnx.opset": opset, "onnx.external_data": external, "onnx.exporter": "torch.onnx (dynamo)"})
        run.log_metrics({"export_duration_seconds": duration_s, "onnx_file_size_mb": size_bytes / 2**20})
        model_id = _log_model(path, ONNX_MODEL, signature, external, run.run_id, registry)
        variants = [_log_variant(variant, signature, external, run, registry) for variant in made]
        return _Logged(run.run_id, model_id, opset, variants)


def _log_model(
    path: Path, name: str, signature: ModelSignature, external: bool, run_id: str, registry: ModelRegistry
) -> str:
    with registry.transferring(f"ONNX model of run {run_id}"):
        logged = mlflow.onnx.log_model(
            # MLflow's external-data save empties the tensors of the model it is given: it is used for nothing else.
            onnx.load(str(path)),
            name=name,
            signature=signature,
            save_as_external_data=external,
            location=EXTERNAL_DATA_FILE,
            pip_requirements=[f"onnx=={onnx.__version__}", "onnxruntime"],
        )
    return str(logged.model_id)


def _log_variant(
    made: MadeVariant, signature: ModelSignature, external: bool, run: TrackedRun, registry: ModelRegistry
) -> ExportedVariant:
    """Log a variant beside the FP32 model, or why there is none."""
    if made.problem is not None:
        run.set_tags({f"{VARIANT_PROBLEM_TAG}{made.precision}": made.problem})
        say(f"variant {made.precision} could not be made: {made.problem}")
        return ExportedVariant(precision=made.precision, model_id=None, size_bytes=0, problem=made.problem)
    size_bytes = count_bytes(made.path)
    model_id = _log_model(made.path, f"{ONNX_MODEL}-{made.precision}", signature, external, run.run_id, registry)
    run.log_metrics({f"onnx_{made.precision}_file_size_mb": size_bytes / 2**20})
    say(f"variant {made.precision}: {size_bytes / 1e6:.1f} MB")
    return ExportedVariant(precision=made.precision, model_id=model_id, size_bytes=size_bytes)


def _make_tags(parent: RegisteredVersion) -> dict[str, str]:
    return {
        EXPORTED_RUN_TAG: parent.run_id or "",
        EXPORTED_MODEL_TAG: parent.model_name,
        EXPORTED_VERSION_TAG: str(parent.version),
        EXPORTED_ALIAS_TAG: ",".join(parent.aliases),
    }


def _count_weight_bytes(model: nn.Module) -> int:
    return sum(values.numel() * values.element_size() for values in model.state_dict().values())
