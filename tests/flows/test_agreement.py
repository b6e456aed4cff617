"""What counts as the same answer is what a version's tag `slipway.agreement` says, on real servers."""

from dataclasses import replace

import numpy as np
import pytest

from blocks.environment import Environment
from blocks.errors import InvalidInput, SlipwayError, VerificationFailed
from flows.deployment import deploy_model
from tests.apparatus.kinds.agreements import AGREEMENT, DETECTIONS
from tests.apparatus.kinds.kind import ModelKind, Tensors
from tests.apparatus.model_kinds import SERVED_KINDS
from tests.apparatus.releasing_kinds import assert_answers_right, register_kind, release_kind
from tests.apparatus.thinning import keep

CLASSES, DETECTOR = SERVED_KINDS["classes"], SERVED_KINDS["detector"]
PROBABILITIES, NEAR_TIES = SERVED_KINDS["probabilities"], SERVED_KINDS["classes with near ties"]


def turn_classes(golden: Tensors) -> Tensors:
    """Return golden samples that claim another class for each."""
    return {**golden, "output/probabilities": np.roll(golden["output/probabilities"], 1, axis=1)}


def move_boxes(golden: Tensors) -> Tensors:
    """Return golden samples whose boxes lie elsewhere."""
    return {**golden, "output/boxes": golden["output/boxes"] + np.float32(100)}


def turn_detections(golden: Tensors) -> Tensors:
    """Return golden samples with the same detections in another order."""
    outputs = {key: array[:, ::-1] for key, array in golden.items() if key.startswith("output/")}
    return {**golden, **outputs}


def assert_refused(environment: Environment, model_name: str, kind: ModelKind, error: type[SlipwayError]) -> None:
    """Try to release a kind; nothing of it is live afterwards."""
    register_kind(environment, model_name, kind, seed=1)

    with pytest.raises(error):
        deploy_model(model_name)

    assert "live" not in environment.registry.get_aliases(model_name)


@pytest.mark.parametrize(
    "kind",
    keep(
        {"classes": CLASSES, "probabilities": PROBABILITIES, "near ties": NEAR_TIES, "detections": DETECTOR},
        {"detections"},
    ),
)
def test_right_answers_agree_by_every_tag(environment: Environment, model_name: str, kind: ModelKind) -> None:
    release = release_kind(environment, model_name, kind, seed=1)

    assert_answers_right(environment, model_name, kind, seed=1, version=release.plan.version)


def test_near_ties_agree_where_nothing_is_said(environment: Environment, model_name: str) -> None:
    release = release_kind(environment, model_name, replace(NEAR_TIES, tags={}), seed=1)

    assert_answers_right(environment, model_name, NEAR_TIES, seed=1, version=release.plan.version)


def test_detections_agree_in_any_order(environment: Environment, model_name: str) -> None:
    release_kind(environment, model_name, replace(DETECTOR, alter=turn_detections), seed=1)


@pytest.mark.parametrize(
    "kind",
    keep(
        {
            "classes": replace(CLASSES, alter=turn_classes),
            "probabilities": replace(PROBABILITIES, alter=turn_classes),
            "detections": replace(DETECTOR, alter=move_boxes, tags=DETECTIONS),
        },
        {"detections"},
    ),
)
def test_wrong_answers_are_refused_by_every_tag(environment: Environment, model_name: str, kind: ModelKind) -> None:
    assert_refused(environment, model_name, kind, VerificationFailed)


def test_a_tag_that_names_no_agreement_is_refused(environment: Environment, model_name: str) -> None:
    assert_refused(environment, model_name, replace(CLASSES, tags={AGREEMENT: "roughly"}), InvalidInput)
