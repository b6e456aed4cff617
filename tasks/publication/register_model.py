"""The one step of publication, register-model: a model on disk becomes a registered version."""

from pathlib import Path
from typing import Annotated

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from blocks.names import ModelName
from blocks.registry import ModelRegistry
from slipway.releases.publication import Given, Publication, publish

ModelPath = Annotated[
    Path,
    Field(description="An ONNX file, a directory mlflow.onnx wrote, a Triton model directory, or any model file."),
]
ConfigPath = Annotated[Path | None, Field(description="The model's config.pbtxt, in the place of the directory's own.")]
GoldenPath = Annotated[Path | None, Field(description="Inputs and outputs that every replica has to reproduce (npz).")]
LabelsPath = Annotated[Path | None, Field(description="Names of the first output's classes, one a line.")]
Tags = Annotated[dict[str, str] | None, Field(description="Further tags of the version.")]
SetsDeploy = Annotated[bool, Field(description="Set the alias deploy on the version, which releases it.")]


@task(name="register-model", task_run_name="register-model", cache_policy=NO_CACHE)
def register_model(
    path: ModelPath,
    model_name: ModelName,
    config: ConfigPath = None,
    golden: GoldenPath = None,
    labels: LabelsPath = None,
    deploy: SetsDeploy = False,
    tags: Tags = None,
    *,
    registry: ModelRegistry,
) -> Publication:
    """Check a model as a release would, register it as a new version, and set `deploy` where that is asked for.

    Raises:
        UnusableModel: a release would refuse it; nothing is registered.
        ServiceUnavailable: the registry did not answer.
    """
    given = Given(config=config, golden=golden, labels=labels)
    return publish(path, model_name, given, registry=registry, tags=tags, deploy=deploy)
