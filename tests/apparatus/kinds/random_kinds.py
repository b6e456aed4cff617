"""Random models from hypothesis strategies: of any shapes and types, their rows independent of each other or not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto

from tests.apparatus.kinds.kind import F32, F64, I32, I64, ModelKind, Tensors, build_model, count_rows, node

TYPES: dict[int, Any] = {F32: np.float32, F64: np.float64, I32: np.int32, I64: np.int64}
ROW_BY_ROW = ("scale", "negate", "sum of the row", "flag")
ACROSS_ROWS = ("running sum", "centre", "reverse", "sum of all", "count of rows")
FREE, UNNAMED, TWO_NAMES, FIXED = "one name", "no names", "two names", "a fixed size"
FIXED_ROWS = 2


class Given(NamedTuple):
    """An input: its type, and its axes but the first."""

    dtype: int
    row: tuple[int, ...]


class Wanted(NamedTuple):
    """An output: which input it is made of, and how."""

    given: int
    operator: str


class Plan(NamedTuple):
    """All that a random model is made of."""

    axis: str
    inputs: tuple[Given, ...]
    outputs: tuple[Wanted, ...]

    @property
    def is_batched(self) -> bool:
        """Whether requests may be joined."""
        rows_alone = all(output.operator in ROW_BY_ROW for output in self.outputs)
        one_axis = self.axis in (FREE, UNNAMED) or (self.axis == TWO_NAMES and len(self.inputs) == 1)
        return rows_alone and one_axis


_GIVEN = st.builds(Given, st.sampled_from(sorted(TYPES)), st.lists(st.integers(1, 4), max_size=2).map(tuple))


@st.composite
def plans(draw: Callable[[Any], Any]) -> Plan:
    """Draw what a model is made of: one time in two of operators that keep rows apart alone."""
    inputs = draw(st.lists(_GIVEN, min_size=1, max_size=3))
    operators = st.sampled_from(ROW_BY_ROW if draw(st.booleans()) else (*ROW_BY_ROW, *ACROSS_ROWS))
    output = st.builds(Wanted, st.integers(0, len(inputs) - 1), operators)
    axis = draw(st.sampled_from((FREE, FREE, FREE, UNNAMED, TWO_NAMES, FIXED)))
    # an input that no output is made of would be no part of what is asked
    used = [draw(st.builds(Wanted, st.just(number), operators)) for number in range(len(inputs))]
    return Plan(axis, tuple(inputs), (*used, *draw(st.lists(output, max_size=2))))


def make_kind(plan: Plan) -> ModelKind:
    """Return the kind of model that a plan describes."""
    return ModelKind(repr(plan), lambda seed: _build(plan, seed), lambda r: _ask(plan, r), is_batched=plan.is_batched)


def _ask(plan: Plan, random: np.random.Generator) -> Tensors:
    rows = FIXED_ROWS if plan.axis == FIXED else count_rows(random)
    return {
        f"in_{number}": random.integers(-9, 10, (rows, *given.row)).astype(TYPES[given.dtype])
        for number, given in enumerate(plan.inputs)
    }


def _build(plan: Plan, seed: int) -> ModelProto:
    inputs = {f"in_{i}": (given.dtype, [_name_axis(plan.axis, i), *given.row]) for i, given in enumerate(plan.inputs)}
    nodes: list[NodeProto] = []
    outputs: dict[str, tuple[int, list[Any]]] = {}
    weights: dict[str, np.ndarray] = {
        "zero": np.array(0, np.int64),
        "rows": np.array([0], np.int64),
        "last": np.array([-1], np.int64),
        "first": np.array([np.iinfo(np.int64).min], np.int64),
    }
    for number, wanted in enumerate(plan.outputs):
        given, axis = plan.inputs[wanted.given], _name_axis(plan.axis, wanted.given)
        source, target = f"in_{wanted.given}", f"out_{number}"
        weights[f"factor_{number}"] = np.array(seed + number + 2, TYPES[given.dtype])
        weights[f"columns_{number}"] = np.arange(1, len(given.row) + 1, dtype=np.int64)
        nodes += _operate(wanted.operator, source, target, number)
        outputs[target] = _describe_output(wanted.operator, given, axis)
    return build_model(nodes, inputs, outputs, weights)


def _name_axis(axis: str, number: int) -> int | str | None:
    return {FREE: "n", UNNAMED: None, TWO_NAMES: f"n_{number}", FIXED: FIXED_ROWS}[axis]


def _operate(operator: str, source: str, target: str, number: int) -> list[NodeProto]:
    """Return the nodes that make an output of an input, scaled by what the seed gives."""
    scaled, passing = f"scaled_{number}", f"passing_{number}"
    scale = node("Mul", f"{source} factor_{number}", scaled)
    last = {
        "scale": [node("Identity", scaled, target)],
        "negate": [node("Neg", scaled, target)],
        "sum of the row": [node("ReduceSum", f"{scaled} columns_{number}", target, keepdims=0, noop_with_empty_axes=1)],
        "flag": [node("Cast", scaled, passing, to=F32), node("Sign", passing, target)],
        "running sum": [node("CumSum", f"{scaled} zero", target)],
        "centre": [
            node("ReduceSum", f"{scaled} rows", passing, keepdims=1),
            node("Sub", f"{scaled} {passing}", target),
        ],
        "reverse": [node("Slice", f"{scaled} last first rows last", target)],
        "sum of all": [node("ReduceSum", f"{scaled} rows", target, keepdims=0)],
        "count of rows": [node("Shape", scaled, target, end=1)],
    }[operator]
    return [scale, *last]


def _describe_output(operator: str, given: Given, axis: int | str | None) -> tuple[int, list[Any]]:
    if operator == "sum of the row":
        return given.dtype, [axis]
    if operator == "sum of all":
        return given.dtype, [*given.row]
    if operator == "count of rows":
        return I64, [1]
    return (F32 if operator == "flag" else given.dtype), [axis, *given.row]
