"""What an ensemble calls: the version that each of its steps is pinned to."""

from typing import Any

from google.protobuf import text_format

from blocks.environment import Environment
from blocks.errors import ForeignModel, InvalidInput
from blocks.fleet import TritonFleet
from blocks.repository import ModelRepository
from slipway.releases.serving_config import parse_config, read_policy

Pins = dict[str, tuple[int, ...]]


def pin_dependencies(
    config: str, depends_on: tuple[str, ...], environment: Environment, *, leave_silent: bool = False
) -> tuple[str, Pins]:
    """Return an ensemble's config.pbtxt with a version in each of its steps, and the versions it calls by model.

    A step without a version, or with -1, gets the one that is live now; one the author chose stays. A model that no
    step names, called from code, say, is only checked. Raises `ForeignModel` where slipway never released one,
    `InvalidInput` where a version is not served by every replica.
    """
    message, replicas = parse_config(config), environment.fleet.check(leave_silent)
    steps = message.ensemble_scheduling.step
    names = sorted({*depends_on, *(step.model_name for step in steps)})
    live = {name: _find_live(message.name, name, environment.repository) for name in names}
    for step in steps:
        if step.model_version < 1:
            step.model_version = live[step.model_name]
    pins = _list_pins(message)
    for name in names:
        for address in replicas:
            _require_served(message.name, name, pins.get(name, (live[name],)), address, environment.fleet)
    return str(text_format.MessageToString(message)), pins


def read_pins(config: str | None) -> Pins:
    """Return the versions that a config.pbtxt calls, by model; none where it is no ensemble's."""
    return _list_pins(parse_config(config)) if config is not None else {}


def _find_live(ensemble: str, model_name: str, repository: ModelRepository) -> int:
    """Return the version of a model that answers requests without a number; it has to be slipway's own."""
    subject = f"model '{ensemble}': calls '{model_name}'"
    if not repository.recorded_versions(model_name):
        raise ForeignModel(
            f"{subject}, of which slipway has no record, expected one that slipway released; release '{model_name}' "
            "first, nothing was touched"
        )
    live = max(read_policy(repository.read_config(model_name)), default=None)
    if live is None:
        raise InvalidInput(f"{subject}, of which nothing is live, expected a served version; release it first")
    return live


def _require_served(
    ensemble: str, model_name: str, versions: tuple[int, ...], address: str, fleet: TritonFleet
) -> None:
    served = fleet.ready_versions(address, model_name)
    if not set(versions) <= set(served):
        raise InvalidInput(
            f"model '{ensemble}': calls '{model_name}' version {', '.join(map(str, versions))}, and Triton {address} "
            f"serves {list(served) or 'nothing'} of it, expected it on every replica; release it, or correct "
            "model_version in the ensemble"
        )


def _list_pins(message: Any) -> Pins:
    pins: dict[str, set[int]] = {}
    for step in message.ensemble_scheduling.step:
        pins.setdefault(step.model_name, set()).add(int(step.model_version))
    return {name: tuple(sorted(versions)) for name, versions in sorted(pins.items())}
