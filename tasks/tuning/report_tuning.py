"""The step report-tuning: the trials as a table, and as a picture in MLflow."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.tuning.report import record
from slipway.tuning.tuning import Tuning


@task(name="report-tuning", task_run_name="report-tuning", cache_policy=NO_CACHE)
def report_tuning(tuning: Tuning, *, environment: Environment) -> Tuning:
    """Return a tuning with the MLflow run that holds its table and its picture."""
    return record(tuning, environment)
