"""The config.pbtxt a version was proven with, in its record: what is committed, and gone back to."""

from blocks.errors import InvalidInput
from blocks.labels import AUTHOR_CONFIG_FILE, CONFIG_FILE
from blocks.repository import ModelRepository
from slipway.releases.pins import read_pins
from slipway.releases.plan import ReleasePlan


def record_config(
    repository: ModelRepository, model_name: str, version: int, config: str, author_config: str | None
) -> None:
    """Record what a version was proven with, and what its author gave it, where that is something."""
    repository.write_record(model_name, version, CONFIG_FILE, config.encode())
    if author_config is not None:
        repository.write_record(model_name, version, AUTHOR_CONFIG_FILE, author_config.encode())


def read_proven_config(repository: ModelRepository, model_name: str, version: int) -> str:
    """Return what a version was proven with; `InvalidInput` where it was never proven."""
    content = repository.read_record(model_name, version, CONFIG_FILE)
    if content is None:
        raise InvalidInput(
            f"model '{model_name}' version {version}: no config.pbtxt is recorded that it was proven with; run "
            "prove-candidate first"
        )
    return content.decode(errors="replace")


def read_author_config(repository: ModelRepository, model_name: str, version: int) -> str | None:
    """Return the config.pbtxt that its author gave a version, None where it came without one."""
    content = repository.read_record(model_name, version, AUTHOR_CONFIG_FILE)
    return content.decode(errors="replace") if content is not None else None


def choose_config_back(repository: ModelRepository, plan: ReleasePlan, committed: str) -> str:
    """Return the config.pbtxt to go back to a version with: the committed one, unless the two have others.

    They have where their authors gave them others, or settings said something else of one than of the other, or where
    they call other versions of other models.
    """
    name, version, live = plan.model_name, plan.version, plan.live_before
    content = repository.read_record(name, version, CONFIG_FILE)
    if live is None or content is None:
        return committed
    proven = content.decode(errors="replace")
    is_same = read_author_config(repository, name, version) == read_author_config(repository, name, live)
    is_same = is_same and plan.settings == plan.settings_before
    return committed if is_same and read_pins(proven) == read_pins(committed) else proven
