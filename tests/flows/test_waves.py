"""A release on four real Tritons: one, then one, then two at once, each proven; what one refuses is undone on all."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest

from blocks.environment import Environment
from blocks.errors import LoadFailed
from flows.deployment import deploy_model
from flows.rollback import rollback_model
from infra.local.settings import LocalStack
from tests.apparatus.given import given
from tests.apparatus.plain_triton import plain_triton
from tests.apparatus.transports import Interference, Request, Send, failing, interfering

TOGETHER_S = 60.0


@pytest.fixture(scope="module")
def four(
    stack: LocalStack, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """The stack's environment with two more Tritons on its bucket."""
    with ExitStack() as tritons:
        further = [
            tritons.enter_context(
                plain_triton(
                    tmp_path_factory.mktemp("triton") / name,
                    stack.triton_repository,
                    key=stack.triton_control_key,
                    **stack.s3_variables(),
                )
            ).grpc
            for name in ("triton-2", "triton-3")
        ]
        addresses = [*environment.fleet.list_addresses(), *further]
        yield replace(environment, fleet=environment.fleet.model_copy(update={"replicas": addresses}))


@pytest.fixture(autouse=True)
def with_four(four: Environment, use: Callable[[Environment], object]) -> None:
    use(four)


def list_served(environment: Environment, model_name: str) -> list[tuple[int, ...]]:
    fleet = environment.fleet
    return [fleet.list_ready_versions(address, model_name) for address in fleet.list_addresses()]


def meeting(model_name: str, addresses: list[str], begun: list[str]) -> Interference:
    """Return what notes each load of a model, and lets the last two addresses load only at the same time."""
    last_two = Barrier(2, timeout=TOGETHER_S)

    def interfere(request: Request, send: Send) -> Any:
        if (request.method, request.model_name) == ("load_model", model_name):
            begun.append(request.address)
            if request.address in addresses[2:]:
                last_two.wait()
        return send()

    return interfere


def test_a_release_reaches_four_replicas_the_last_two_at_once_and_is_rolled_back_from_on_all(
    four: Environment, model_name: str
) -> None:
    given(four, model_name).released(1).registered()
    addresses, begun = four.fleet.list_addresses(), list[str]()

    with interfering(meeting(model_name, addresses, begun)):
        deploy_model(model_name)

    assert begun[:2] == addresses[:2] and set(begun[2:]) == set(addresses[2:])
    assert list_served(four, model_name) == [(1, 2)] * 4
    rollback_model(model_name, reason="test")
    assert list_served(four, model_name) == [(1,)] * 4
    assert four.registry.get_aliases(model_name)["live"] == 1


def test_what_the_last_of_four_replicas_refuses_is_undone_on_all_of_them(four: Environment, model_name: str) -> None:
    given(four, model_name).released(1).registered()
    addresses = four.fleet.list_addresses()

    with interfering(failing(addresses[-1], "load_model", "INTERNAL", times=1)), pytest.raises(LoadFailed) as refused:
        deploy_model(model_name)

    assert addresses[-1] in str(refused.value)
    assert list_served(four, model_name) == [(1,)] * 4
    assert four.registry.get_aliases(model_name)["live"] == 1
