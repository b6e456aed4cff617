"""The first step of an adoption, find-served: what is served of a foreign model, and which registered version it is."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from blocks.names import ModelName
from blocks.run import make_artifact_key, publish_table
from slipway.releases.adoption import Adoption, make_rows, plan_adoption


@task(name="find-served", task_run_name="find-served", cache_policy=NO_CACHE)
def find_served(model_name: ModelName, *, environment: Environment) -> Adoption | None:
    """Return what taking a model over comes to, shown as a table too; None where it is slipway's already.

    Raises `InvalidInput` where it cannot be taken over as it is: nothing was touched.
    """
    adoption = plan_adoption(model_name, environment)
    if adoption is not None:
        publish_table(make_artifact_key("adoption", model_name), make_rows(adoption), f"What is served of {model_name}")
    return adoption
