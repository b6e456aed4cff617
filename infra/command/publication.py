"""`slipway publish`: a model on this machine becomes a registered version."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from blocks.environment import require_prefect
from infra.command.models import keep_log_off_the_screen
from infra.command.screen import console


def publish(
    path: Path,
    /,
    *,
    name: str,
    config: Path | None = None,
    golden: Path | None = None,
    labels: Path | None = None,
    deploy: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Check a model and register it, as the flow publish-model.

    Parameters
    ----------
    path
        An ONNX file, a directory mlflow.onnx wrote, a Triton model directory, or a model file of another backend.
    name
        Name of the model in the MLflow registry.
    config
        Its config.pbtxt, in the place of the directory's own.
    golden
        Inputs and outputs that every replica has to reproduce (npz).
    labels
        Names of the first output's classes, one a line.
    deploy
        Set the alias deploy on the version, which releases it.
    """
    from flows.publication import publish_model

    require_prefect()
    keep_log_off_the_screen()
    config, golden, labels = (place and place.absolute() for place in (config, golden, labels))
    published = publish_model(path.absolute(), name, config, golden, labels, deploy)
    console.print(
        f"{published.model_name}: version {published.version} is registered, {len(published.sha256)} files for backend "
        f"{published.backend}" + (", alias deploy set" if deploy else "")
    )
