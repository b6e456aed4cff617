"""The config.pbtxt a version was proven with, in its record: what is committed, and gone back to."""

from blocks.errors import InvalidInput
from blocks.labels import AUTHOR_CONFIG_FILE, CONFIG_FILE
from blocks.repository import ModelRepository
from slipway.releases.pins import read_pins


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


def choose_config_back(repository: ModelRepository, model_name: str, version: int, live: int, committed: str) -> str:
    """Return the config.pbtxt to go back to a version with: the committed one, unless authors gave the two others.

    What calls other models goes back to the versions of them that it was proven with.
    """
    content = repository.read_record(model_name, version, CONFIG_FILE)
    proven = content.decode(errors="replace") if content is not None else committed
    theirs = read_author_config(repository, model_name, version)
    if theirs == read_author_config(repository, model_name, live) and read_pins(proven) == read_pins(committed):
        return committed
    return proven
