"""What tuning turns: how many instances, how large a batch, how long a wait, how many threads; read and said."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from slipway.releases.config_fields import FIELDS
from slipway.releases.serving_config import parse_config
from slipway.releases.serving_settings import ServingSettings

KNOBS = ("instances", "intra_op_threads", "queue_delay_us", "max_batch_size")  # in the order in which they are turned


class Knobs(BaseModel):
    """One way to serve a model; None: nothing is said of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instances: int | None = None
    intra_op_threads: int | None = None
    queue_delay_us: int | None = None
    max_batch_size: int | None = None

    @property
    def cost(self) -> tuple[int, ...]:
        """What it takes of a server, for ties: threads in all, instances, the wait, the batch."""
        instances, threads = self.instances or 1, self.intra_op_threads or 1
        return (instances * threads, instances, self.queue_delay_us or 0, self.max_batch_size or 0)

    def describe(self) -> str:
        """Return it in words."""
        said = {name: value for name, value in self.model_dump().items() if value is not None}
        return ", ".join(f"{name} {value}" for name, value in said.items()) or "as it is"

    def __str__(self) -> str:
        return self.describe()

    def turn(self, name: str, value: int) -> "Knobs":
        """Return it with one knob turned."""
        return self.model_copy(update={name: value})

    def say(self, start: "Knobs", settings: ServingSettings) -> ServingSettings:
        """Return settings that say what is other than at the start, and all else as they say it."""
        before = start.model_dump()
        return settings.change({name: value for name, value in self.model_dump().items() if value != before[name]})


class Ranges(BaseModel):
    """The values each knob may have; a knob without any is not turned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instances: tuple[int, ...] = ()
    intra_op_threads: tuple[int, ...] = ()
    queue_delay_us: tuple[int, ...] = ()
    max_batch_size: tuple[int, ...] = ()

    def list_neighbours(self, knobs: Knobs) -> Iterator[Knobs]:
        """Yield what is one step away: each knob up and down, and threads given for instances."""
        for name in KNOBS:
            for step in (1, -1):
                yield from (knobs.turn(name, value) for value in self._step(knobs, name, step))
        for step in (1, -1):
            for more in self._step(knobs, "instances", step):
                for fewer in self._step(knobs, "intra_op_threads", -step):
                    yield knobs.turn("instances", more).turn("intra_op_threads", fewer)

    def _step(self, knobs: Knobs, name: str, step: int) -> list[int]:
        """Return the next value of a knob; none at its end, or where it is not turned, each where nothing says any."""
        value, allowed = getattr(knobs, name), getattr(self, name)
        if value is None:
            return sorted(allowed)
        values = sorted({*allowed, value}) if allowed else []
        place = values.index(value) + step if values else -1
        return values[place : place + 1] if place >= 0 else []


def read_knobs(config: str) -> Knobs:
    """Return how a config.pbtxt serves a model; what it leaves to the backend, or has in several groups, is None."""
    message = parse_config(config)
    found = {field.names[0]: field.read(message) for field in FIELDS if field.names[0] in KNOBS}
    if not message.max_batch_size:
        found |= {"queue_delay_us": None, "max_batch_size": None}
    return Knobs(**{name: value if isinstance(value, int) else None for name, value in found.items()})
