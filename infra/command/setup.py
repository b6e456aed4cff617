"""Put into Prefect what the flows need: blocks, work pools, deployments, automations. As often as you like.

python -m infra.setup local         the deployments */local, on the process pool of the local stack
python -m infra.setup kubernetes    the deployments */kubernetes, on the pools cpu and gpu; the chart runs this
"""

import sys
from typing import Literal

from cyclopts import App
from prefect.client.orchestration import get_client
from pydantic import ValidationError
from rich.console import Console

from blocks.environment import load_block
from blocks.errors import SlipwayError
from blocks.repository import ModelRepository
from infra.setup.automations import apply_automations
from infra.setup.blocks import Addresses, register_blocks
from infra.setup.deployments import apply_deployments
from infra.setup.pools import apply_local_queues, apply_pools
from infra.setup.settings import AlertSettings, ClusterSettings

app = App(name="python -m infra.setup", help=__doc__)


@app.default
def setup(world: Literal["local", "kubernetes"], *, only: Literal["blocks", "deployments"] | None = None) -> int:
    """Set one world up.

    Parameters
    ----------
    world
        Where the flows are to run.
    only
        Do only this part: blocks, or deployments with pools and automations.
    """
    if only != "deployments":
        register_blocks(Addresses())
        repository = load_block(ModelRepository)
        repository.store.check_conditions(f"{repository.locks_prefix}/.")
    if only != "blocks":
        with get_client(sync_client=True) as client:
            if world == "kubernetes":
                apply_pools(client, ClusterSettings())
            else:
                apply_local_queues(client)
            apply_automations(client, AlertSettings())
            return apply_deployments(client, world)
    return 0


def main() -> None:
    """Run; an error is one line and status 1."""
    try:
        sys.exit(app(result_action="return_value"))
    except (SlipwayError, ValidationError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False, style="red")
        sys.exit(1)


if __name__ == "__main__":
    main()
