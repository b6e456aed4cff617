"""The last step of a fast rollback, finish-rollback: it is marked as proven, its receipt written."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.completion import finish_switch
from slipway.releases.plan import ReleasePlan
from slipway.releases.receipt import Receipt, ReplicaReceipt, show_receipt


@task(name="finish-rollback", task_run_name="finish-rollback", cache_policy=NO_CACHE)
def finish_rollback(plan: ReleasePlan, replicas: tuple[ReplicaReceipt, ...], *, environment: Environment) -> Receipt:
    """Close a proven rollback: the version left is marked, receipt and tags written, what is not served archived."""
    receipt = finish_switch(plan, replicas, environment)
    show_receipt(receipt)
    return receipt
