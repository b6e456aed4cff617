"""What a tuning is asked for: the limit, where it may measure, which values it tries, how long it takes."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from blocks.replica_addresses import Replica
from slipway.releases.serving_settings import MOST_ROWS, split_commas
from slipway.tuning.knobs import Knobs, Ranges

_MOST_DOUBLED = 64


_FEW = Field(max_length=16)
Counts = Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], BeforeValidator(split_commas), _FEW]
Delays = Annotated[tuple[Annotated[int, Field(ge=0, le=10**6)], ...], BeforeValidator(split_commas), _FEW]
Sizes = Annotated[tuple[Annotated[int, Field(ge=1, le=MOST_ROWS)], ...], BeforeValidator(split_commas), _FEW]


class TuningTerms(BaseModel):
    """What is tuned for, where, and with what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_ms: Annotated[float, Field(gt=0, description="Longest p99 latency of a request, in milliseconds.")] = 50.0
    replica: Annotated[
        Replica | None,
        Field(description="gRPC address of the Triton to measure on, best one beside the fleet: host:port."),
    ] = None
    beside_traffic: Annotated[
        bool, Field(description="Measure on a replica that serves: its clients wait longer meanwhile.")
    ] = False
    instances: Annotated[Counts, Field(description="Instances to try; none: what is served stays.")] = (1, 2, 4)
    intra_op_threads: Annotated[Counts, Field(description="Threads of one operator to try, of ONNX models.")] = (
        1,
        2,
        4,
    )
    queue_delays_us: Annotated[
        Delays, Field(description="Microseconds to try that requests wait to be joined, where they are.")
    ] = (0, 500, 2000)
    max_batch_sizes: Annotated[
        Sizes | None,
        Field(
            description="Rows that may be joined, to try; left out: what is served and twice that, up to 64. A smaller "
            "one than is served refuses requests that were answered before."
        ),
    ] = None
    rows: Annotated[int, Field(ge=1, le=MOST_ROWS, description="Rows in one request.")] = 1
    clients: Annotated[int, Field(ge=1, le=1024, description="Most clients that ask at once.")] = 64
    seconds: Annotated[float, Field(gt=0, le=600, description="Seconds that one number of clients asks.")] = 3.0
    rounds: Annotated[int, Field(ge=1, le=25, description="Rounds in which the best is compared with what serves.")] = 3
    budget_s: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds after which no other trial begins; the comparison follows.")
    ] = 600.0

    def make_ranges(self, start: Knobs) -> Ranges:
        """Return the values of each knob."""
        sizes = self.max_batch_sizes
        if sizes is None:
            sizes = (min(2 * (start.max_batch_size or 0), _MOST_DOUBLED),)
            sizes = tuple(size for size in sizes if size > (start.max_batch_size or 0))
        return Ranges(
            instances=self.instances,
            intra_op_threads=self.intra_op_threads,
            queue_delay_us=self.queue_delays_us,
            max_batch_size=sizes,
        )
