"""Step 1, fetch-model: the registered version's files, streamed to disk and checked."""

from prefect import task
from prefect.cache_policies import INPUTS, RUN_ID, TASK_SOURCE

from blocks.names import ModelName, Source
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.releases.fetched import FetchedModel
from slipway.releases.fetching import fetch


@task(
    name="fetch-model",
    task_run_name="fetch-model",
    cache_policy=(INPUTS + RUN_ID + TASK_SOURCE) - "registry" - "registered",
)
def fetch_model(
    model_name: ModelName,
    source: Source = "alias:deploy",
    registered: RegisteredVersion | None = None,
    *,
    registry: ModelRegistry,
) -> FetchedModel:
    """Download a registered ONNX model and check it.

    Raises:
        NotRegistered: the registry knows no such model, alias or version.
        UnusableModel: the files are corrupt, incomplete, hold NaN or point outside their directory, or the golden
            samples are not such of this model.
        IntegrityError: a file is not the one that was registered, by the SHA-256 in the version's tags.

    Args:
        model_name: the registered model.
        source: which version, `alias:NAME` or `version:N`.
        registered: the version, where the source was looked up before.
        registry: where it is registered.
    """
    return fetch(registered or registry.resolve(model_name, source), source, registry)
