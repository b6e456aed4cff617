"""Between steps 4 and 5, prove-candidate: one replica serves the version under a name no client asks for."""

from typing import Annotated

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.candidate import prove
from slipway.releases.proven_candidate import ProvenCandidate
from slipway.releases.release import Release, Terms
from tasks.policies import FLAT


@task(name="prove-candidate", task_run_name="prove-candidate", cache_policy=NO_CACHE)
def prove_candidate(
    release: Annotated[Release, FLAT],
    terms: Annotated[Terms, FLAT] = Terms(),  # noqa: B008, a value
    *,
    environment: Environment,
) -> ProvenCandidate:
    """Load a staged or archived version on one replica under the candidate's name and prove its answers there.

    Raises `LoadFailed` where it does not load, `VerificationFailed` where an answer is wrong, `ServiceLevelMissed`
    where gate 3 refuses it.
    """
    return prove(release, terms, environment)
