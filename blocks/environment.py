"""The outside systems one release works with, as one value: the registry, the model repository and the fleet.

Where they are is in Prefect's block documents, the same ones everywhere: a laptop's and a cluster's differ only in
their values. `slipway setup` saves them, see `infra/setup/blocks.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Self, TypeVar, cast

import httpx
from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL

from blocks.certificates import load_certificates
from blocks.errors import InvalidInput, ServiceUnavailable, bounded
from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from blocks.repository import ModelRepository

DEFAULT = "default"
DOCUMENT = "slipway"
RESULTS_DOCUMENT = "slipway-results"
MODELS_DOCUMENT = "slipway-models"
RESULT_STORAGE = f"s3-bucket/{RESULTS_DOCUMENT}"
_PREFECT_TIMEOUT_S = 10
T = TypeVar("T", bound=Block)


@dataclass(frozen=True)
class Environment:
    """Where a model is released to and from; its name is part of what tells several of them apart."""

    registry: ModelRegistry
    repository: ModelRepository
    fleet: TritonFleet
    name: str = DEFAULT
    epoch: int = 0
    """Of the model's lock that it is used under, 0 where none is held; it only grows."""

    def behind(self, fence: Callable[[], None], epoch: int) -> Self:
        """Return this environment with a fence that is asked right before each change of any of its systems."""
        return replace(
            self,
            epoch=epoch,
            registry=self.registry.behind(fence),
            repository=self.repository.behind(fence),
            fleet=self.fleet.behind(fence),
        )


_used_instead: ContextVar[Environment | None] = ContextVar("environment", default=None)


def load_environment(name: str = DEFAULT) -> Environment:
    """Return an environment by its name, from its block documents; `InvalidInput` where Prefect has none."""
    if (instead := _used_instead.get()) is not None:
        return instead
    document = name_document(name)
    return Environment(
        load_block(ModelRegistry, document),
        load_block(ModelRepository, document),
        load_block(TritonFleet, document),
        name,
    )


def name_document(environment: str) -> str:
    """Return the name of an environment's block documents."""
    return DOCUMENT if environment == DEFAULT else f"{DOCUMENT}-{environment}"


@contextmanager
def using(environment: Environment) -> Iterator[None]:
    """Have `load_environment` return this environment while the block runs, in this context: for tests."""
    token = _used_instead.set(environment)
    try:
        yield
    finally:
        _used_instead.reset(token)


def load_block(block_type: type[T], document: str = DOCUMENT) -> T:
    """Return one document of a block type; `InvalidInput` where Prefect has none."""
    try:
        return cast(T, block_type.load(document))
    except ValueError as error:
        raise InvalidInput(
            f"block '{block_type.get_block_type_slug()}/{document}': not in Prefect at {PREFECT_API_URL.value()} "
            f"({bounded(error)}); register the blocks: make up, or slipway setup"
        ) from error


def require_prefect() -> None:
    """Raise in one line, and at once, where there is no Prefect server to ask: it says where everything else is."""
    address = PREFECT_API_URL.value()
    if not address:
        raise InvalidInput(
            "Prefect: no address is set, so that no server can be asked where the registry, the store and the replicas "
            "are; set PREFECT_API_URL, or start the local stack (make up) and run this in its folder"
        )
    try:
        httpx.get(f"{address}/health", timeout=_PREFECT_TIMEOUT_S, verify=load_certificates())
    except httpx.HTTPError as error:
        raise ServiceUnavailable(
            f"Prefect at {address}: no answer ({bounded(error)}); start it (make up) or set PREFECT_API_URL"
        ) from error
