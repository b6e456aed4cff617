"""The fast way back, switch-replicas: a version every replica still holds only needs another policy, no reload."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import ReplicaReceipt
from slipway.releases.release import Terms
from slipway.releases.switch import switch


@task(name="switch-replicas", task_run_name="switch-replicas", cache_policy=NO_CACHE)
def switch_replicas(plan: ReleasePlan, terms: Terms, *, environment: Environment) -> tuple[ReplicaReceipt, ...]:
    """Commit the policy of a rollback and prove, on all replicas at once, that its version answers."""
    return switch(plan, terms, environment)
