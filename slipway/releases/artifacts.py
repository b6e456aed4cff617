"""Step 3, prepare-artifacts: metadata.json, the audit trail of a version, and its config.pbtxt."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import runtime, task
from prefect.cache_policies import INPUTS, RUN_ID, TASK_SOURCE, CacheKeyFnPolicy
from prefect.context import TaskRunContext
from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import InvalidInput
from slipway.formats.onnx import TensorSpec
from slipway.releases.fetching import FetchedModel
from slipway.releases.plan import ReleasePlan
from slipway.releases.serving_config import generated_config, updated_config

Shape = tuple[Annotated[int, Field(ge=1)], ...]


class PreparedArtifacts(BaseModel):
    """What a release writes beside the model's own files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metadata: str = Field(description="Content of metadata.json.")
    config: str = Field(description="Content of config.pbtxt.")


def _plan_without_epoch(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Return what of a plan decides what is prepared: a run that goes on in another process has another epoch."""
    plan: ReleasePlan = parameters["plan"]
    return plan.model_dump_json(exclude={"epoch"})


@task(
    name="prepare-artifacts",
    task_run_name="prepare-artifacts",
    cache_policy=(INPUTS - "plan") + CacheKeyFnPolicy(cache_key_fn=_plan_without_epoch) + RUN_ID + TASK_SOURCE,
)
def prepare_artifacts(
    fetched: FetchedModel,
    plan: ReleasePlan,
    expected_input_shape: Shape | None = None,
    expected_output_shape: Shape | None = None,
) -> PreparedArtifacts:
    """Return the metadata and the configuration of a version.

    Raises `InvalidInput` where a shape, batch axis included, does not fit the model, or where the model takes or
    gives something else than the version it follows.
    """
    check_shape(expected_input_shape, fetched.signature.inputs, "input", fetched)
    check_shape(expected_output_shape, fetched.signature.outputs, "output", fetched)
    if plan.config_before is None:
        config = generated_config(plan.model_name, fetched.signature, plan.serves)
    else:
        config = updated_config(plan.config_before, plan.model_name, fetched.signature, plan.serves)
    return PreparedArtifacts(metadata=json.dumps(_metadata(fetched, plan), indent=2) + "\n", config=config)


def check_shape(expected: Shape | None, specs: tuple[TensorSpec, ...], kind: str, fetched: FetchedModel) -> None:
    """Raise `InvalidInput` where a model's only input or output does not take an expected shape."""
    if expected is not None and not (len(specs) == 1 and specs[0].accepts(expected)):
        observed = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)
        raise InvalidInput(
            f"model '{fetched.model_name}' version {fetched.registered.version}: {kind} is {observed}, expected "
            f"{list(expected)}; correct expected_{kind}_shape or the model"
        )


def _metadata(fetched: FetchedModel, plan: ReleasePlan) -> dict[str, Any]:
    registered = fetched.registered
    return {
        "mlflow": {
            "model_name": registered.model_name,
            "version": str(registered.version),
            "run_id": registered.run_id,
            "run_name": registered.run_name,
            "alias_at_deploy": fetched.source,
            "params": registered.params,
            "metrics": registered.metrics,
            "tags": registered.tags,
        },
        "triton": {
            "version": str(plan.version),
            "deployed_at": datetime.now(UTC).isoformat(),
            "deployed_by": runtime.flow_run.name or "shell",
            "flow_run_id": plan.flow_run_id,
        },
        "model": {
            "format": "onnx",
            "file_size_mb": round(fetched.size_bytes / 1024**2, 2),
            "sha256": {file.name: file.sha256 for file in fetched.files},
            "opset": fetched.signature.opset,
            "producer": fetched.signature.producer,
            "inputs": [spec.model_dump(mode="json") for spec in fetched.signature.inputs],
            "outputs": [spec.model_dump(mode="json") for spec in fetched.signature.outputs],
        },
        "validation": {name: value for name, value in registered.metrics.items() if name.startswith("validation_")},
    }
