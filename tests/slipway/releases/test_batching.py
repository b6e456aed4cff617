"""Batching is on only where joined requests get their own answers: what mixes rows up is told from what does not."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest

from blocks.errors import ReplicaLost, VerificationFailed
from blocks.fleet import Answer, Tensors, TritonFleet
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.batching import prove_batching
from slipway.releases.proof import Question
from slipway.releases.samples import Exchange

Computing = Callable[[np.ndarray], np.ndarray]


class ComputingFleet(TritonFleet):
    """A fleet whose model is a function of the whole input."""

    _block_type_name = "Computing fleet"
    _block_type_slug = "computing-fleet"

    def computing(self, compute: Computing) -> "ComputingFleet":
        self.__dict__["compute"] = compute
        return self

    def answers(
        self, address: str, model_name: str, batches: Iterable[Tensors], outputs: list[str], version: int | None
    ) -> Iterator[Answer]:
        for batch in batches:
            yield Answer(version or 0, {"output": self.__dict__["compute"](batch["input"])}, 1.0)


def make_signature(inputs: tuple[int | str, ...], outputs: tuple[int | str, ...]) -> Signature:
    return Signature(
        inputs=(TensorSpec(name="input", dtype="FP32", shape=inputs),),
        outputs=(TensorSpec(name="output", dtype="FP32", shape=outputs),),
    )


ROWS = make_signature(("batch", 4), ("batch", 4))


def prove(
    compute: Computing, signature: Signature = ROWS, requests: int = 3, shape: tuple[int, ...] = (1, 4), limit: int = 32
) -> str:
    random = np.random.default_rng(1)
    inputs = [random.standard_normal(shape).astype(np.float32) for _ in range(requests)]
    exchanges = [Exchange({"input": array}, {"output": compute(array)}) for array in inputs]
    fleet = ComputingFleet(replicas=["a:1"]).computing(compute)
    return prove_batching(Question(fleet, "a:1", "m", 1, True), signature, exchanges, AgreementTerms(), limit)


RIGHT: dict[str, Computing] = {
    "each row by itself": lambda x: x * 2,
    "a value a row": lambda x: x.sum(axis=1, keepdims=True),
    "the same for all": lambda x: np.zeros_like(x),
}


@pytest.mark.parametrize("requests", [1, 2, 8])
@pytest.mark.parametrize("compute", RIGHT.values(), ids=RIGHT)
def test_a_model_that_takes_rows_one_by_one_may_be_batched(compute: Computing, requests: int) -> None:
    shape: tuple[int | str, ...] = ("batch", compute(np.ones((1, 4), np.float32)).shape[1])

    assert "joined in two orders" in prove(compute, make_signature(("batch", 4), shape), requests)


WRONG: dict[str, Computing] = {
    "the mean of the batch": lambda x: x - x.mean(axis=0, keepdims=True),
    "a softmax over the batch": lambda x: np.exp(x) / np.exp(x).sum(axis=0, keepdims=True),
    "a running sum, as a recurrent network": lambda x: np.cumsum(x, axis=0),
    "one that looks ahead": lambda x: np.cumsum(x[::-1], axis=0)[::-1],
    "rows that depend on data": lambda x: x[x[:, 0] > 0],
    "one row in all": lambda x: x.sum(axis=0, keepdims=True),
    "each row with each other": lambda x: np.repeat(x, len(x), axis=0),
}


@pytest.mark.parametrize("requests", [1, 2, 8])
@pytest.mark.parametrize("compute", WRONG.values(), ids=WRONG)
def test_a_model_that_mixes_rows_up_may_not(compute: Computing, requests: int) -> None:
    with pytest.raises(VerificationFailed, match=r"requests joined into one batch"):
        prove(compute, requests=requests)


def test_no_more_rows_are_joined_than_are_allowed() -> None:
    def refuse_three(x: np.ndarray) -> np.ndarray:
        if len(x) > 2:
            raise VerificationFailed("batch-size must be <= 2")
        return x

    prove(refuse_three, limit=2)
    assert prove(refuse_three, limit=1) == "one row at a time"
    with pytest.raises(VerificationFailed, match=r"joined into one batch are refused \(batch-size must be <= 2\)"):
        prove(refuse_three, limit=4)


def test_a_replica_that_is_lost_is_no_model_that_refuses_batches() -> None:
    lost: list[int] = []

    def lose(x: np.ndarray) -> np.ndarray:
        if len(x) > 1:
            lost.append(1)
            raise VerificationFailed("unknown model")
        if lost:
            raise ReplicaLost("Triton a:1: went away")
        return x

    with pytest.raises(ReplicaLost):
        prove(lose)


def test_a_value_a_row_is_asked_for_as_triton_serves_it() -> None:
    signature = make_signature(("batch",), ("batch",))

    assert "joined" in prove(lambda x: x.reshape(-1) * 2, signature, shape=(1,))
