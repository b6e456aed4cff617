"""The last step of tuning, keep-best: the model's settings say what was found, until they are released."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.tuning.report import keep
from slipway.tuning.tuning import Tuning


@task(name="keep-best", task_run_name="keep-best", cache_policy=NO_CACHE)
def keep_best(tuning: Tuning, *, environment: Environment) -> Tuning:
    """Put the best into the model's settings; what is served stays as it is until a release.

    Raises `VersionConflict` where somebody changed the settings since the tuning began.
    """
    return keep(tuning, environment)
