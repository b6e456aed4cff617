"""The alias `deploy`, set on many models at once, or taken from those that nobody waits for any more."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from blocks.registry import ModelRegistry
from slipway.releases.missed_updates import find_missed

BURST = 100


def forget_missed_updates(registry: ModelRegistry) -> None:
    """Take `deploy` from every model other tests left unreleased: a poll tells of all of them, and each is released."""
    for update in list(find_missed(registry)):
        registry.remove_alias(update.model_name, update.alias)


@contextmanager
def versions_without_files(registry: ModelRegistry, prefix: str, count: int = BURST) -> Iterator[list[str]]:
    """Register a version 1, which nothing could release, of so many models; yield their names. Gone afterwards."""
    client = registry.connect()
    names = [f"{prefix}-{number}-onnx" for number in range(count)]
    for name in names:
        client.create_registered_model(name)
        client.create_model_version(name, source="s3://nowhere/model")
    try:
        yield names
    finally:
        for name in names:
            client.delete_registered_model(name)


def set_in_a_burst(registry: ModelRegistry, names: list[str], meanwhile: Callable[[], object]) -> None:
    """Set `deploy` on version 1 of each model from eight threads, and do something when a third of them has it."""
    with ThreadPoolExecutor(8) as pool:
        for number, _ in enumerate(pool.map(lambda name: registry.set_alias(name, "deploy", 1), names)):
            if number == len(names) // 3:
                meanwhile()
