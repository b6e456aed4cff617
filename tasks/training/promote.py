"""Step 2 of the training flow, promote, gate 1: a candidate becomes champion only if it has earned it."""

from typing import Annotated

from prefect import task

from blocks.names import ModelName
from blocks.registry import ModelRegistry
from slipway.learning.gate import Criteria, Verdict
from slipway.learning.parameters import DecodingThreads, Version
from tasks.policies import FLAT, PER_RUN


@task(name="promote", task_run_name="promote", cache_policy=PER_RUN)
def promote(
    model_name: ModelName,
    version: Version,
    criteria: Annotated[Criteria, FLAT],
    num_workers: DecodingThreads = None,
    *,
    registry: ModelRegistry,
) -> Verdict:
    """Judge version `version` against the threshold and the champion; if it passes, it carries `champion`.

    Running this again after a success passes again. Raises `NotRegistered` for an unknown version and
    `ServiceUnavailable` for a registry that does not answer, which is not the same as having no champion.
    """
    from slipway.learning import promotion  # torch

    return promotion.promote(model_name, version, criteria, num_workers=num_workers, registry=registry)
