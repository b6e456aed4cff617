"""After step 7, finish-release: the release is marked as proven, its receipt written, what it left over tidied up."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.completion import finish
from slipway.releases.fetched import FetchedModel
from slipway.releases.plan import ReleasePlan
from slipway.releases.proven_candidate import ProvenCandidate
from slipway.releases.receipt import Receipt, show_receipt
from slipway.releases.replicas import LoadedReplica
from slipway.releases.verification import VerifiedReplica


@task(name="finish-release", task_run_name="finish-release", cache_policy=NO_CACHE)
def finish_release(
    plan: ReleasePlan,
    fetched: FetchedModel,
    candidate: ProvenCandidate,
    loaded: tuple[LoadedReplica, ...],
    verified: tuple[VerifiedReplica, ...],
    approval: str | None = None,
    *,
    environment: Environment,
) -> Receipt:
    """Close a verified release: receipt and tags written, what is not served archived, old archives removed.

    Raises `IntegrityError` where a file was changed while the replicas loaded it.
    """
    receipt = finish(plan, fetched, candidate, loaded, verified, approval=approval, environment=environment)
    show_receipt(receipt)
    return receipt
