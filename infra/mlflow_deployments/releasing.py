"""A deployment's release: the version that a URI names, with what NVIDIA's plugin keeps beside it."""

from typing import Any

from pydantic import ValidationError

from blocks.environment import Environment
from blocks.errors import InvalidInput
from infra.mlflow_deployments.catalogue import locate_model
from infra.mlflow_deployments.meta import META_FILE, Meta, make_meta
from infra.mlflow_deployments.registration import find_version, pin
from slipway.releases.fetched import FetchedModel
from slipway.releases.plan import MAX_VERSION
from slipway.releases.release import Terms
from slipway.releases.standalone import release_alone

_OPTIONS = ("version", "tolerance")


def release_model(
    name: str, model_uri: str, flavor: str | None, config: dict[str, Any], environment: Environment
) -> str:
    """Release what a URI names and return its flavor: the one that was given, or, without one, the model's."""
    terms, force_version = read_options(config)
    registered = find_version(name, model_uri, environment.registry)

    def describe(fetched: FetchedModel) -> dict[str, bytes]:
        found = str(fetched.contents.facts["format"])
        if flavor not in {None, found}:
            raise InvalidInput(
                f"{registered.uri}: is logged with the flavor {found}, expected {flavor}; give --flavor {found}, or "
                "leave it out"
            )
        meta = Meta(locate_model(name, environment.repository), pin(model_uri, registered), found)
        return {META_FILE: make_meta(name, meta)}

    outcome = release_alone(registered, environment, terms=terms, force_version=force_version, beside=describe)
    return str(outcome.fetched.contents.facts["format"])


def read_options(config: dict[str, Any]) -> tuple[Terms, int | None]:
    """Return what `-C NAME=VALUE` says; `InvalidInput` where it says nothing that can be used."""
    if unknown := sorted(config.keys() - set(_OPTIONS)):
        raise InvalidInput(f"option {unknown[0]!r}: is not known, expected {' or '.join(_OPTIONS)}")
    version = config.get("version")
    if version is not None and not (str(version).isdecimal() and 0 < int(version) <= MAX_VERSION):
        raise InvalidInput(f"Please make sure version is a number from 1 on. version = {version}")
    try:
        terms = Terms(tolerance=config.get("tolerance"))
    except ValidationError as error:
        raise InvalidInput(f"option tolerance: {error.errors()[0]['msg']}; correct it") from error
    return terms, int(version) if version is not None else None
