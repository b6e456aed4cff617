"""A step of an adoption where that is asked for, register-unknown: what MLflow does not know is registered."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.adoption import Adoption
from slipway.releases.adoption import register_unknown as register


@task(name="register-unknown", task_run_name="register-unknown", cache_policy=NO_CACHE)
def register_unknown(adoption: Adoption, *, environment: Environment) -> Adoption:
    """Register each folder that the registry does not know, from the bucket, checked as a release would."""
    return register(adoption, environment)
