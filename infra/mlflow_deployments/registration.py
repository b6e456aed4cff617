"""Which registered version a deployment is made of: its own model's, or a copy of what another URI names.

What is served is always in the registry, under the deployment's name: so it has a history, aliases and a way back.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from blocks.errors import InvalidInput
from blocks.labels import COPIED_FROM_TAG
from blocks.registry import ModelRegistry, RegisteredVersion

_MODELS = "models:/"
_LATEST = "latest"
_LOGGED = re.compile(r"m-[0-9a-f]{32}")


class ModelUri(NamedTuple):
    """A `models:/…` URI: a registered model, and what names one of its versions."""

    name: str
    kind: str  # version, alias, stage or latest
    value: str


def parse_model_uri(uri: str) -> ModelUri | None:
    """Return what `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `models:/NAME/STAGE` names, None for other URIs."""
    if not uri.startswith(_MODELS) or _LOGGED.fullmatch(rest := uri.removeprefix(_MODELS).strip("/")):
        return None
    name, slash, suffix = rest.rpartition("/")
    if slash and name and suffix:
        kind = "version" if suffix.isdecimal() else _LATEST if suffix.lower() == _LATEST else "stage"
        return ModelUri(name, kind, suffix)
    name, at, alias = rest.rpartition("@")
    if at and name and alias:
        return ModelUri(name, "alias", alias)
    raise InvalidInput(f"model URI {uri!r}: expected models:/NAME/VERSION or models:/NAME@ALIAS; correct it")


def find_version(name: str, uri: str, registry: ModelRegistry) -> RegisteredVersion:
    """Return the version of the model `name` that a URI names, registered as one where it is not; `NotRegistered`."""
    parsed = parse_model_uri(uri)
    if parsed is None:
        return _register_files(name, uri, registry)
    version = _resolve(parsed, registry)
    return version if parsed.name == name else _copy(name, version, registry)


def pin(uri: str, version: RegisteredVersion) -> str:
    """Return the URI of exactly what is deployed: an alias may name another version tomorrow."""
    return version.tags.get(COPIED_FROM_TAG) or (uri if parse_model_uri(uri) is None else version.uri)


def _resolve(parsed: ModelUri, registry: ModelRegistry) -> RegisteredVersion:
    if parsed.kind in {"version", "alias"}:
        return registry.resolve(parsed.name, f"{parsed.kind}:{parsed.value}")
    with registry.reaching(f"model '{parsed.name}' {parsed.value}"):
        stages = None if parsed.kind == _LATEST else [parsed.value]
        found = registry.connect().get_latest_versions(parsed.name, stages)
    numbers = [int(version.version) for version in found]
    if not numbers:
        raise InvalidInput(f"model '{parsed.name}': no version is in stage {parsed.value!r}; name a version")
    return registry.get_version(parsed.name, max(numbers))


def _copy(name: str, version: RegisteredVersion, registry: ModelRegistry) -> RegisteredVersion:
    if (known := _find_copy(name, version.uri, registry)) is not None:
        return known
    with registry.reaching(f"copy of {version.uri} as a version of model '{name}'"):
        copied = registry.connect().copy_model_version(version.uri, name)
    registry.tag_version(name, int(copied.version), {COPIED_FROM_TAG: version.uri})
    return registry.get_version(name, int(copied.version))


def _register_files(name: str, uri: str, registry: ModelRegistry) -> RegisteredVersion:
    """Register what lies at a URI; what can change there, a path or an object, is registered each time."""
    from mlflow.artifacts import download_artifacts

    if uri.startswith(("runs:/", _MODELS)) and (known := _find_copy(name, uri, registry)) is not None:
        return known
    registry.connect()
    with TemporaryDirectory() as temporary:
        with registry.transferring(f"files at {uri}"):
            found = download_artifacts(artifact_uri=uri, dst_path=temporary)
        return registry.register(name, Path(found), {COPIED_FROM_TAG: uri})


def _find_copy(name: str, uri: str, registry: ModelRegistry) -> RegisteredVersion | None:
    for number, tags in registry.list_versions(name):
        if tags.get(COPIED_FROM_TAG) == uri:
            return registry.get_version(name, number)
    return None
