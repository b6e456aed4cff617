"""Every kind of model on real servers: a right one is released, no answer under load is wrong, a wrong one is refused.

What each kind is, and what its right answers are, `tests/apparatus/test_model_kinds.py` shows without a server.
"""

import json
from collections.abc import Callable

import pytest

from blocks.environment import Environment
from blocks.errors import SlipwayError
from flows.deployment import deploy_model
from tests.apparatus.consistency import list_served
from tests.apparatus.kinds.kind import ModelKind
from tests.apparatus.model_kinds import REFUSED_KINDS, SERVED_KINDS
from tests.apparatus.releasing_kinds import (
    assert_answers_right,
    assert_goes_the_whole_way,
    is_served_in_batches,
    register_kind,
    release_kind,
)
from tests.apparatus.thinning import keep

# What takes another way from gate to answer. Real exports and detectors are in test_exported_models.py and
# test_agreement.py; the long runs take every kind the whole way.
TELLING = (
    "image classifier with golden samples",
    "images of any size",
    "tokens with an attention mask",
    "several inputs and outputs",
    "text in and out",
    "FP16 weights with FP32 golden samples",
)
telling_kinds = pytest.mark.parametrize("kind", [SERVED_KINDS[name] for name in TELLING], ids=TELLING)
every_kind = pytest.mark.parametrize("kind", SERVED_KINDS.values(), ids=SERVED_KINDS.keys())
# the others are refused without servers: tests/slipway/formats, tests/slipway/releases/test_golden.py
refused_kinds = pytest.mark.parametrize(
    "kind",
    keep(
        REFUSED_KINDS,
        {"ZipMap", "no inputs", "BF16 inputs", "golden samples of different counts", "scores said to be probabilities"},
    ),
)


@telling_kinds
def test_a_kind_is_released_and_answers_every_client_right(
    environment: Environment, model_name: str, kind: ModelKind
) -> None:
    release = release_kind(environment, model_name, kind, seed=1)

    assert_answers_right(environment, model_name, kind, seed=1, version=release.plan.version)
    assert is_served_in_batches(environment, model_name) == kind.is_batched


@pytest.mark.exhaustive
@every_kind
def test_a_kind_goes_the_whole_way_and_back(environment: Environment, model_name: str, kind: ModelKind) -> None:
    assert_goes_the_whole_way(environment, model_name, kind)


@refused_kinds
def test_a_kind_that_cannot_be_served_is_refused_with_the_reason(
    environment: Environment, model_name: str, kind: ModelKind
) -> None:
    register_kind(environment, model_name, kind, seed=1)

    with pytest.raises(SlipwayError, match=kind.refused) as refusal:
        deploy_model(model_name)

    assert model_name in str(refusal.value)
    assert "live" not in environment.registry.get_aliases(model_name)
    assert list_served(environment, model_name) == [
        (),
        (),
    ]


def test_a_metric_that_is_no_number_leaves_the_metadata_what_every_program_reads(
    environment: Environment, model_name: str
) -> None:
    release = release_kind(environment, model_name, SERVED_KINDS["metric that is no number"], seed=1)

    text = environment.repository.read_metadata(model_name, release.plan.version) or ""
    metadata = json.loads(text, parse_constant=_refuse_constant(text))
    assert metadata["mlflow"]["run_id"]


def _refuse_constant(text: str) -> Callable[[str], object]:
    def refuse(constant: str) -> object:
        raise AssertionError(f"{constant} is no JSON: {text}")

    return refuse
