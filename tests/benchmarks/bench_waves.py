"""How the time of a load on every replica grows with their number, against one replica and against one after another.

The replicas are real gRPC servers that take a second for a load; what brings them there is slipway's own code.
"""

import time

import pytest
from rich.console import Console
from rich.table import Table

from blocks.fleet import TritonFleet
from slipway.releases.replicas import LoadedReplica, bring_to
from slipway.releases.waves import roll_out
from tests.apparatus.loading_servers import LOAD_S, VERSION, loading_servers
from tests.benchmarks.size import Size
from tests.conftest import free_ports

REPLICAS = 64
SIZES = (1, 2, 4, 16, REPLICAS)
LIMIT = 1.5  # of the waves' own loads
pytestmark = pytest.mark.benchmark


@pytest.mark.timeout(600)
def test_64_replicas_are_loaded_in_little_more_than_their_waves_take(size: Size) -> None:
    table = Table("replicas", "waves", "seconds", "loads' time", "one after another", title="A load in waves")
    with loading_servers(free_ports(size.choose(REPLICAS, 2))) as addresses:
        fleet = TritonFleet(replicas=addresses)
        for count in size.choose(SIZES, (1, 2)):
            waves, seconds = load_on(addresses[:count], f"model-of-{count}", fleet)
            table.add_row(
                f"{count}", f"{waves}", f"{seconds:.2f}", f"{seconds / (waves * LOAD_S):.2f}", f"{count * LOAD_S:g} s"
            )
            assert seconds <= size.most(LIMIT * waves * LOAD_S)
    Console(highlight=False).print(table)


def load_on(addresses: list[str], model_name: str, fleet: TritonFleet) -> tuple[int, float]:
    """Load a model on replicas in waves; return how many waves there were, and the seconds they took."""

    def load(address: str) -> LoadedReplica:
        return bring_to((VERSION,), model_name, address, fleet)

    start = time.perf_counter()
    waves = list(roll_out(load, addresses, fleet.loads_at_once))
    seconds = time.perf_counter() - start
    assert [*(at for wave in waves for at in wave.done)] == addresses
    return len(waves), seconds
