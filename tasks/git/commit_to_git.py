"""The last step of a deployment by Git, commit-to-git: committed, proven on every replica, or reverted."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from blocks.run import get_owner
from slipway.releases.fetched import FetchedModel
from slipway.releases.git_planning import GitPlan, carry_out
from slipway.releases.git_pointer import GitRecord
from slipway.releases.git_release import GitRelease, Patience


@task(name="commit-to-git", task_run_name="commit-to-git", cache_policy=NO_CACHE)
def commit_to_git(
    plan: GitPlan, fetched: FetchedModel, record: GitRecord, timeout_s: float, *, environment: Environment
) -> GitRelease:
    """Commit what was planned and return once every replica answers as the version does; else the commit is reverted.

    Raises `VerificationFailed` where a replica answers otherwise when the time is over, `ServiceUnavailable` where
    one is silent and nothing speaks against the version, whose commit stays.
    """
    with record.open_pointer(plan.model_name) as pointer:
        return carry_out(
            plan,
            fetched,
            pointer,
            environment.fleet,
            environment.registry,
            patience=Patience(timeout_s),
            owner=get_owner(),
        )
