"""The publishing flow: a model that was trained elsewhere becomes a version that can be released.

register-model -> (alias deploy -> deploy-model)
"""

from prefect import flow

from blocks.environment import RESULT_STORAGE, load_environment
from blocks.names import ModelName
from flows.running.forms import with_form
from slipway.releases.publication import Publication
from tasks.publication.register_model import (
    ConfigPath,
    GoldenPath,
    LabelsPath,
    ModelPath,
    SetsDeploy,
    Tags,
    register_model,
)


@flow(
    name="publish-model",
    flow_run_name="publish {model_name}",
    result_storage=RESULT_STORAGE,
    result_serializer="json",
)
@with_form()
def publish_model(
    path: ModelPath,
    model_name: ModelName,
    config: ConfigPath = None,
    golden: GoldenPath = None,
    labels: LabelsPath = None,
    deploy: SetsDeploy = False,
    tags: Tags = None,
) -> Publication:
    """Register a model that lies where the flow runs, checked as a release would; nothing is registered otherwise."""
    return register_model(
        path=path,
        model_name=model_name,
        config=config,
        golden=golden,
        labels=labels,
        deploy=deploy,
        tags=tags,
        registry=load_environment().registry,
    )
