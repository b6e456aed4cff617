"""What is asked of replicas, of the live version and of older ones, and what is wrong about the answers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from blocks.environment import Environment
from blocks.errors import VerificationFailed
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.drift import Drift, Kind
from slipway.releases.proof import Proof, write_proof
from slipway.releases.release import Terms
from slipway.releases.replicas import reload_all
from slipway.releases.samples import Exchange
from slipway.releases.wrong_answers import find_wrong_answers, read_asked
from tests.apparatus.paper import ADDRESSES, Shelf

NAME, CONFIG = "m-onnx", 'name: "m-onnx" backend: "python" max_batch_size: 8'
CALLING = f'{CONFIG} parameters {{ key: "slipway.depends_on" value {{ string_value: "other:1" }} }}'
INPUTS = {"x": np.ones((1, 4), np.float32)}


class Answering:
    """A transport to replicas where each version answers with one number all over, its own unless it is told another.

    From a load on they answer what they are told for then.
    """

    def __init__(self, served: Sequence[int], told: dict[int, float], after_load: dict[int, float]) -> None:
        self.served, self.told, self._after_load = tuple(served), told, after_load
        self.asked: list[int] = []

    @contextmanager
    def connect(self, address: str) -> Iterator[triton.InferenceServerClient]:
        yield cast(triton.InferenceServerClient, self)

    def is_server_live(self, **_: object) -> bool:
        return True

    def load_model(self, model_name: str, **_: object) -> None:
        self.told = self._after_load

    def get_model_repository_index(self, **_: object) -> Any:
        entries = [SimpleNamespace(name=NAME, version=str(version), state="READY") for version in self.served]
        return SimpleNamespace(models=entries)

    def infer(self, model_name: str, tensors: object, model_version: str, **_: object) -> Any:
        version = int(model_version or max(self.served))
        self.asked.append(version)
        if (number := self.told.get(version, version)) == np.inf:
            raise InferenceServerException("too late", status="StatusCode.DEADLINE_EXCEEDED")
        return SimpleNamespace(
            get_response=lambda: SimpleNamespace(model_version=str(version)),
            as_numpy=lambda name: np.full((1, 3), number, np.float32),
        )


class Asked:
    """A model of which versions are recorded with what proves them."""

    def __init__(self, shelf: Shelf) -> None:
        self.environment = shelf.environment
        for version in (1, 2, 3):
            known = {"y": np.full((1, 3), version, np.float32)}
            proof = Proof([Exchange(INPUTS, known)] * 2, AgreementTerms(tolerance=1e-4))
            write_proof(shelf.environment.repository, NAME, version, proof, True)

    def through(
        self, served: Sequence[int], told: dict[int, float], after_load: dict[int, float] | None = None
    ) -> tuple[Environment, Answering]:
        transport = Answering(served, told, told if after_load is None else after_load)
        fleet = self.environment.fleet.through(cast(Any, transport))
        return replace(self.environment, fleet=fleet), transport


@pytest.fixture
def asked(shelf: Shelf) -> Asked:
    return Asked(shelf)


def look(asked: Asked, told: dict[int, float], config: str = CONFIG) -> tuple[list[Drift], list[int]]:
    environment, transport = asked.through((1, 2, 3), told)
    proven = read_asked(NAME, (1, 2, 3), config, environment.repository)
    return list(find_wrong_answers(proven, ADDRESSES[0], environment.fleet)), transport.asked


def test_right_answers_are_no_drift_and_older_versions_are_asked_once(asked: Asked) -> None:
    found, versions = look(asked, {})

    assert found == []
    assert versions == [3, 3, 3, 2, 1]


@pytest.mark.parametrize(
    ("told", "kinds"),
    [
        ({3: 7.0}, [Kind.REPLICA_WRONG]),
        ({2: 7.0}, [Kind.OLDER_WRONG]),
        ({1: 7.0, 2: 7.0, 3: 7.0}, [Kind.REPLICA_WRONG, Kind.OLDER_WRONG, Kind.OLDER_WRONG]),
        ({2: np.inf, 1: 7.0}, [Kind.REPLICA_SLOW]),
        ({1: 7.0, 2: np.inf}, [Kind.REPLICA_SLOW]),
        ({1: np.inf, 2: 7.0}, [Kind.OLDER_WRONG, Kind.REPLICA_SLOW]),
    ],
)
def test_a_wrong_answer_of_any_version_is_found(asked: Asked, told: dict[int, float], kinds: list[Kind]) -> None:
    found, _ = look(asked, told)

    assert [drift.kind for drift in found] == kinds
    assert not Kind.OLDER_WRONG.is_safe_to_repair


def test_older_versions_of_what_calls_others_are_not_asked(asked: Asked) -> None:
    assert look(asked, {1: 7.0, 2: 7.0}, CALLING) == ([], [3, 3, 3])


def test_a_release_that_has_an_older_version_answer_otherwise_is_refused(asked: Asked) -> None:
    environment, _ = asked.through((2, 3), {}, after_load={2: 7.0})
    commit(environment, CONFIG)

    with pytest.raises(VerificationFailed, match=r"version 3 on .*: has version 2 beside it .* with keep_served 1"):
        reload_all(NAME, (2, 3), Terms(), environment)


@pytest.mark.parametrize("number", [7.0, np.inf])
def test_an_older_version_that_answered_wrongly_before_or_is_busy_keeps_no_release_from_going_on(
    asked: Asked, number: float
) -> None:
    environment, transport = asked.through((2, 3), {2: number})
    commit(environment, CONFIG)

    assert [replica.versions for replica in reload_all(NAME, (2, 3), Terms(), environment)] == [(2, 3), (2, 3)]
    assert 2 in transport.asked


def commit(environment: Environment, config: str) -> None:
    repository = environment.repository
    repository.store.write(f"{repository.repository_prefix}/{NAME}/config.pbtxt", config.encode())
