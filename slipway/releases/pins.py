"""What a model calls, an ensemble by its steps or code by BLS: the version that each of its calls is pinned to."""

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from blocks.environment import Environment
from blocks.errors import ForeignModel, InvalidInput
from blocks.fleet import TritonFleet
from blocks.repository import ModelRepository
from slipway.formats.called_models import list_called, read_said, say_called
from slipway.releases.serving_config import parse_config, read_policy

Pins = dict[str, tuple[int, ...]]


def pin_dependencies(
    config: str, depends_on: tuple[str, ...], environment: Environment, *, leave_silent: bool = False
) -> tuple[str, Pins]:
    """Return a config.pbtxt with a version in each of its calls, and the versions it calls by model.

    A call without a version, or with -1, gets the one that is live now; one the author chose stays. A model that the
    configuration does not name is only checked. Raises `ForeignModel` where slipway never released one,
    `InvalidInput` where a version is not served by every replica.
    """
    message, replicas = parse_config(config), environment.fleet.check(leave_silent)
    steps, said = message.ensemble_scheduling.step, read_said(message, message.name)
    names = sorted({*depends_on, *(called.name for called in list_called(message))})
    live = {name: _find_live(message.name, name, environment.repository) for name in names}
    for step in steps:
        if step.model_version < 1:
            step.model_version = live[step.model_name]
    if said:
        say_called(message, tuple(called._replace(version=called.version or live[called.name]) for called in said))
    pins = _list_pins(message)
    for name in names:
        for address in replicas:
            _require_served(message.name, name, pins.get(name, (live[name],)), address, environment.fleet)
    return str(text_format.MessageToString(message)), pins


def read_pins(config: str | None) -> Pins:
    """Return the versions that a config.pbtxt calls, by model; none where it calls none."""
    return _list_pins(parse_config(config)) if config is not None else {}


def _find_live(caller: str, model_name: str, repository: ModelRepository) -> int:
    """Return the version of a model that answers requests without a number; it has to be slipway's own."""
    subject = f"model '{caller}': calls '{model_name}'"
    if not repository.list_recorded(model_name):
        raise ForeignModel(
            f"{subject}, of which slipway has no record, expected one that slipway released; release '{model_name}' "
            "first, nothing was touched"
        )
    live = max(read_policy(repository.read_config(model_name)), default=None)
    if live is None:
        raise InvalidInput(f"{subject}, of which nothing is live, expected a served version; release it first")
    return live


def _require_served(caller: str, model_name: str, versions: tuple[int, ...], address: str, fleet: TritonFleet) -> None:
    served = fleet.list_ready_versions(address, model_name)
    if not set(versions) <= set(served):
        raise InvalidInput(
            f"model '{caller}': calls '{model_name}' version {', '.join(map(str, versions))}, and Triton {address} "
            f"serves {list(served) or 'nothing'} of it, expected it on every replica; release it, or correct the "
            "version that is called"
        )


def _list_pins(message: pb.ModelConfig) -> Pins:
    pins: dict[str, set[int]] = {}
    for called in list_called(message):
        if called.version:
            pins.setdefault(called.name, set()).add(called.version)
    return {name: tuple(sorted(versions)) for name, versions in sorted(pins.items())}
