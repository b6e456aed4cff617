"""One release as the steps hand it on: what is released, and the terms it has to meet."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import InvalidInput
from slipway.formats.signature import Shape, TensorSpec
from slipway.releases.artifacts import PreparedArtifacts
from slipway.releases.fetched import FetchedModel
from slipway.releases.plan import ReleasePlan
from slipway.releases.proof import Tolerance
from slipway.releases.service_level import ServiceLevel

ExpectedShape = Annotated[
    Shape | None,
    Field(description="Shape to expect, batch axis included, say [1, 3, 224, 224]; left out: the model's."),
]


class Release(BaseModel):
    """A registered model, what will be done with it, and what is written beside its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fetched: FetchedModel
    plan: ReleasePlan
    artifacts: PreparedArtifacts


class Terms(BaseModel):
    """How a release is to be proven, and with whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expected_input_shape: ExpectedShape = None
    expected_output_shape: ExpectedShape = None
    tolerance: Tolerance = 1e-4
    requests: Annotated[int, Field(ge=1, le=10_000, description="Synthetic requests that measure the latency.")] = 20
    service_level: Annotated[
        ServiceLevel | None, Field(description="Gate 3: limits the candidate has to keep on the serving replica.")
    ] = None
    leave_silent: Annotated[bool, Field(description="Pass over replicas that do not answer, as long as one does.")] = (
        False
    )

    def check_shapes(self, fetched: FetchedModel) -> None:
        """Raise `InvalidInput` where an expected shape, batch axis included, does not fit the model."""
        _check_shape(self.expected_input_shape, fetched.signature.inputs, "input", fetched)
        _check_shape(self.expected_output_shape, fetched.signature.outputs, "output", fetched)


def _check_shape(expected: Shape | None, specs: tuple[TensorSpec, ...], kind: str, fetched: FetchedModel) -> None:
    if expected is not None and not (len(specs) == 1 and specs[0].accepts(expected)):
        observed = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)
        raise InvalidInput(
            f"{fetched.subject}: {kind} is {observed}, expected {list(expected)}; correct expected_{kind}_shape or the "
            "model"
        )
