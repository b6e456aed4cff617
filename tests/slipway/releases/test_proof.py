"""Answers are compared as they come: right ones agree, and whatever else comes is a failed proof, never a traceback."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from blocks.errors import VerificationFailed
from blocks.fleet import Answer, Tensors, TritonFleet
from slipway.releases.proof import Question
from slipway.releases.samples import Samples

OUTPUTS = np.random.default_rng(1).standard_normal((20, 3)).astype(np.float32)
SAMPLES = Samples({"input": np.zeros((20, 4), np.float32)}, {"output": OUTPUTS}, {"output": OUTPUTS + np.float32(1e-6)})


class ScriptedFleet(TritonFleet):
    """A fleet whose answers are given beforehand, eight samples each."""

    _block_type_name = "Scripted fleet"
    _block_type_slug = "scripted-fleet"

    script: list[tuple[int, list[list[float]]]]

    def answers(
        self, address: str, model_name: str, batches: Iterable[Tensors], outputs: list[str], version: int | None
    ) -> Iterator[Answer]:
        for _, (answered_by, values) in zip(batches, self.script, strict=True):
            yield Answer(answered_by, {name: np.array(values, np.float32) for name in outputs}, 1.0)


def asked(script: list[tuple[int, list[list[float]]]]) -> Question:
    return Question(ScriptedFleet(replicas=["a:1"], script=script), "a:1", "m", 2, batched=True)


def right(by: int = 2, plus: float = 0.0) -> list[tuple[int, list[list[float]]]]:
    return [(by, (OUTPUTS[start : start + 8] + np.float32(plus)).tolist()) for start in (0, 8, 16)]


def test_right_answers_agree_with_both_references() -> None:
    found = asked(right()).compare(SAMPLES, 1e-4)

    assert (found.samples, found.top1_agreement, found.max_difference) == (20, 1.0, 0.0)
    assert found.max_difference_onnxruntime is not None and 0 < found.max_difference_onnxruntime < 1e-5


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (right(plus=0.1), r"output 'output' differs from the golden samples by"),
        (right(plus=float("nan")), r"differs from the golden samples by nan"),
        (right(by=1), r"answered by version 1, expected 2"),
        ([*right()[:2], (1, right()[2][1])], r"answered by version 1, expected 2"),
        ([(2, [[1.0, 2.0]])] * 3, r"output 'output' is \[1, 2\], expected \[3\] a sample"),
        ([(2, OUTPUTS.tolist())] * 3, r"more samples than were asked for"),
        ([(2, OUTPUTS[:2].tolist())] * 3, r"of the golden samples|differs from"),
        ([*right()[:2], (2, OUTPUTS[16:18].tolist())], r"90.0% of the golden samples"),
    ],
)
def test_any_other_answer_is_a_failed_proof(script: list[tuple[int, list[list[float]]]], message: str) -> None:
    with pytest.raises(VerificationFailed, match=message):
        asked(script).compare(SAMPLES, 1e-4)
