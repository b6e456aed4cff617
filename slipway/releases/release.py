"""One release as the steps hand it on: what is released, and the terms it has to meet."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import InvalidInput
from slipway.formats.signature import Shape, TensorSpec
from slipway.releases.agreement_terms import Tolerance
from slipway.releases.artifacts import PreparedArtifacts
from slipway.releases.fetched import FetchedModel
from slipway.releases.plan import ReleasePlan
from slipway.releases.service_level import ServiceLevel
from slipway.releases.synthetic import read_given_shapes

ExpectedShape = Annotated[
    Shape | None,
    Field(description="Shape to expect, batch axis included, say [1, 3, 224, 224]; left out: the model's."),
]
InputShapes = Annotated[
    dict[str, Shape],
    Field(description="Shape to ask each input with, batch axis included, where nothing else says it."),
]
ExpectedTolerance = Annotated[
    Tolerance | None,
    Field(description="Largest difference from the known outputs, relative to their scale; left out: by precision."),
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
    input_shapes: InputShapes = {}
    tolerance: ExpectedTolerance = None
    requests: Annotated[int, Field(ge=1, le=10_000, description="Synthetic requests that measure the latency.")] = 20
    service_level: Annotated[
        ServiceLevel | None, Field(description="Gate 3: limits the candidate has to keep on the serving replica.")
    ] = None
    leave_silent: Annotated[bool, Field(description="Pass over replicas that do not answer, as long as one does.")] = (
        False
    )

    def read_shapes(self, fetched: FetchedModel) -> dict[str, Shape]:
        """Return the shapes to ask with, by input, as far as they are given; `InvalidInput` where one does not fit."""
        return read_given_shapes(
            fetched.signature,
            fetched.registered.tags,
            self.expected_input_shape,
            self.input_shapes,
            fetched.subject,
        )

    def check_shapes(self, fetched: FetchedModel) -> None:
        """Raise `InvalidInput` where an expected shape, batch axis included, does not fit the model."""
        _check_shape(self.expected_input_shape, fetched.signature.inputs, "input", fetched)
        _check_shape(self.expected_output_shape, fetched.signature.outputs, "output", fetched)
        self.read_shapes(fetched)


def _check_shape(expected: Shape | None, specs: tuple[TensorSpec, ...], kind: str, fetched: FetchedModel) -> None:
    if expected is not None and not (len(specs) == 1 and specs[0].accepts(expected)):
        observed = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)
        raise InvalidInput(
            f"{fetched.subject}: {kind} is {observed}, expected {list(expected)}; correct expected_{kind}_shape or the "
            "model"
        )
