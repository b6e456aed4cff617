"""Where a tuning may measure, what it may turn, and with what it asks."""

from typing import cast

import numpy as np
import pytest

from blocks.errors import InvalidInput
from blocks.fleet import TritonFleet
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.proof import Proof
from slipway.releases.samples import Exchange
from slipway.tuning.ground import choose_replica, cut_rows, narrow
from slipway.tuning.knobs import Ranges
from slipway.tuning.terms import TuningTerms

RANGES = Ranges(instances=(1, 2), intra_op_threads=(1, 2), queue_delay_us=(0, 500), max_batch_size=(64,))
SERVED = 'backend: "onnxruntime" max_batch_size: 32 instance_group { count: 1 }'


class Answering:
    """Two replicas, and whoever else is asked, answer."""

    def list_addresses(self) -> list[str]:
        return ["a:8001", "b:8001"]

    def ping(self, address: str) -> None:
        pass


FLEET = cast(TritonFleet, Answering())


def test_no_replica_that_serves_is_loaded_unasked() -> None:
    with pytest.raises(InvalidInput, match=r"every replica of the fleet serves traffic.*beside_traffic"):
        choose_replica("m", FLEET, TuningTerms())
    with pytest.raises(InvalidInput, match="Triton a:8001 serves traffic"):
        choose_replica("m", FLEET, TuningTerms(replica="a:8001"))


def test_a_replica_beside_the_fleet_is_taken_and_one_that_serves_where_it_is_allowed() -> None:
    assert choose_replica("m", FLEET, TuningTerms(replica="c:8001")) == "c:8001"
    assert choose_replica("m", FLEET, TuningTerms(beside_traffic=True)) == "b:8001"
    assert choose_replica("m", FLEET, TuningTerms(replica="a:8001", beside_traffic=True)) == "a:8001"


def test_what_the_author_wrote_is_not_turned() -> None:
    author = 'backend: "onnxruntime" max_batch_size: 32 instance_group { count: 2 }'

    found = narrow(RANGES, SERVED, author, "model 'm'")

    assert found == Ranges(intra_op_threads=(1, 2), queue_delay_us=(0, 500))


def test_what_the_model_has_not_is_not_turned() -> None:
    assert narrow(RANGES, 'backend: "onnxruntime"', None, "m") == Ranges(instances=(1, 2), intra_op_threads=(1, 2))
    assert narrow(RANGES, 'backend: "python"', None, "m") == Ranges(instances=(1, 2))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('platform: "ensemble" ensemble_scheduling {}', "tune the models it calls"),
        ('backend: "python" instance_group { count: 1 } instance_group { count: 2 }', "there are values to try"),
    ],
)
def test_a_model_of_which_nothing_can_be_turned_is_refused(config: str, expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected):
        narrow(RANGES, config, None, "model 'm'")


def test_requests_are_the_rows_of_the_proof_as_many_in_each_as_asked() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    exchanges = [Exchange({"x": rows[:1]}, {"y": rows[:1]}), Exchange({"x": rows[1:]}, {"y": rows[1:]})]
    proof = Proof(exchanges, AgreementTerms())

    assert [request["x"].tolist() for request in cut_rows(proof, 1)] == [[[0, 1]], [[2, 3]], [[4, 5]]]
    assert [request["x"].shape for request in cut_rows(proof, 4)] == [(4, 2)] * 3
