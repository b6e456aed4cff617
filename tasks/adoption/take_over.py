"""The last step of an adoption, take-over: what is served is proven, and the model becomes slipway's."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases import adoption as adoptions
from slipway.releases.adoption import Adoption
from slipway.releases.receipt import Receipt, show_receipt
from slipway.releases.release import InputShapes


@task(name="take-over", task_run_name="take-over", cache_policy=NO_CACHE)
def take_over(
    adoption: Adoption,
    input_shapes: InputShapes = {},  # noqa: B006, it is not changed
    *,
    environment: Environment,
) -> Receipt:
    """Ask what is served, record its answers, its policy and its receipts; no replica loads anything."""
    receipt = adoptions.take_over(adoption, environment, input_shapes)
    show_receipt(receipt)
    return receipt
