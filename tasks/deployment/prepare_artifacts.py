"""Step 3, prepare-artifacts: metadata.json, the audit trail of a version, and its config.pbtxt."""

from typing import Annotated, Any

from prefect import task
from prefect.cache_policies import INPUTS, RUN_ID, TASK_SOURCE, CacheKeyFnPolicy
from prefect.context import TaskRunContext

from slipway.releases.artifacts import PreparedArtifacts, prepare
from slipway.releases.fetched import FetchedModel
from slipway.releases.plan import ReleasePlan
from slipway.releases.release import Terms
from tasks.policies import FLAT


def _leave_out_the_epoch(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Return what of a plan decides what is prepared: a run that goes on in another process has another epoch."""
    plan: ReleasePlan = parameters["plan"]
    return plan.model_dump_json(exclude={"epoch"})


@task(
    name="prepare-artifacts",
    task_run_name="prepare-artifacts",
    cache_policy=(INPUTS - "plan") + CacheKeyFnPolicy(cache_key_fn=_leave_out_the_epoch) + RUN_ID + TASK_SOURCE,
)
def prepare_artifacts(
    fetched: FetchedModel,
    plan: ReleasePlan,
    terms: Annotated[Terms, FLAT] = Terms(),  # noqa: B008, a value
) -> PreparedArtifacts:
    """Return the metadata and the configuration of a version.

    Raises `InvalidInput` where an expected shape, batch axis included, does not fit the model, or where the model
    takes or gives something else than the version it follows.
    """
    terms.check_shapes(fetched)
    return prepare(fetched, plan)
