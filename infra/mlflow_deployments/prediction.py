"""Asking a deployment: the first replica that answers."""

from typing import TYPE_CHECKING, Any

from blocks.errors import ServiceUnavailable
from blocks.fleet import TritonFleet
from infra.mlflow_deployments.names import check_name
from infra.mlflow_deployments.tensors import make_frame, make_tensors

if TYPE_CHECKING:
    import pandas as pd


def predict(name: str, given: Any, fleet: TritonFleet) -> "pd.DataFrame":
    """Return what a deployment answers, as its clients get it who name no version.

    Raises `InvalidInput` where it is not served or takes something else, `ServiceUnavailable` where no replica answers.
    """
    check_name(name)
    *others, last = fleet.list_addresses()
    for address in others:
        try:
            return _ask(address, name, given, fleet)
        except ServiceUnavailable:
            continue
    return _ask(last, name, given, fleet)


def _ask(address: str, name: str, given: Any, fleet: TritonFleet) -> "pd.DataFrame":
    described = fleet.describe(address, name)
    inputs = make_tensors(given, {tensor.name: tensor.datatype for tensor in described.inputs}, name)
    return make_frame(fleet.infer(address, name, inputs, [tensor.name for tensor in described.outputs], None))
