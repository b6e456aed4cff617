"""Released models, copied: what the flow left of one in every server, to the last byte, under another name.

A test that is about the third release need not wait for two before it. The one that is copied was released by the flow,
in this session; the copies are loaded by every replica and answer like it.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from blocks.environment import Environment
from blocks.labels import CONFIG_FILE
from slipway.releases.pointer import read_committed
from slipway.releases.replicas import bring_to

PREPARED = 2  # releases; what comes after them is released


class Version(NamedTuple):
    """What the registry knows of a version: where its files are, and who made it."""

    source: str
    run_id: str
    tags: dict[str, str]


class Snapshot(NamedTuple):
    """A released model as it is in store and registry."""

    model_name: str
    objects: dict[str, bytes]
    versions: list[Version]
    tags: dict[str, str]
    aliases: dict[str, int]

    @classmethod
    def of(cls, environment: Environment, model_name: str) -> "Snapshot":
        """Read everything that is known of a model."""
        registry, store = environment.registry.connect(), environment.repository.store
        keys = [key for prefix in _list_prefixes(environment, model_name) for key in store.list_keys(prefix)]
        found = registry.get_registered_model(model_name)
        versions = sorted(registry.search_model_versions(f"name='{model_name}'"), key=lambda one: int(one.version))
        return cls(
            model_name,
            {key: store.read(key) or b"" for key in keys},
            [Version(one.source or "", one.run_id or "", dict(one.tags)) for one in versions],
            dict(found.tags),
            {alias: int(version) for alias, version in found.aliases.items()},
        )

    def copy(self, environment: Environment, model_name: str) -> None:
        """Put all of it into store, registry and replicas under another name."""
        before, after = self.model_name.encode(), model_name.encode()
        store = environment.repository.store
        objects = {
            key.replace(self.model_name, model_name): content.replace(before, after)
            for key, content in self.objects.items()
        }
        configs = {key for key in objects if key == f"{_root(environment)}{model_name}/{CONFIG_FILE}"}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.write(key, objects[key]), objects.keys() - configs))
        for key in configs:
            store.write(key, objects[key])
        self._register(environment, model_name)
        for address in environment.fleet.list_addresses():
            bring_to(read_committed(environment.repository, model_name), model_name, address, environment.fleet)

    def _register(self, environment: Environment, model_name: str) -> None:
        def rename(tags: dict[str, str]) -> dict[str, str]:
            return {name: value.replace(self.model_name, model_name) for name, value in tags.items()}

        client = environment.registry.connect()
        client.create_registered_model(model_name, rename(self.tags))
        for version in self.versions:
            logged = version.source.removeprefix("models:/")
            client.create_model_version(
                model_name, version.source, version.run_id, rename(version.tags), model_id=logged
            )
        for alias, number in self.aliases.items():
            client.set_registered_model_alias(model_name, alias, str(number))


def _root(environment: Environment) -> str:
    return f"{environment.repository.repository_prefix}/"


def _list_prefixes(environment: Environment, model_name: str) -> Iterator[str]:
    repository = environment.repository
    for prefix in (repository.repository_prefix, repository.archive_prefix, repository.records_prefix):
        yield f"{prefix}/{model_name}/"
    for prefix in (repository.journal_prefix, repository.locks_prefix, repository.settings_prefix):
        yield f"{prefix}/{model_name}.json"
