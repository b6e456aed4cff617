"""Gate 1: what it judges by, and, against the real MLflow, what it changes."""

import math
from datetime import UTC, datetime

import pytest
import torch

from blocks.environment import Environment
from blocks.errors import InvalidInput, NotRegistered, ServiceUnavailable
from blocks.labels import CHAMPION, VALIDATION_DIGEST_PARAM
from blocks.registry import ModelRegistry, RegisteredVersion
from slipway.learning.evaluation import evaluate
from slipway.learning.gate import Criteria, Verdict
from slipway.learning.promotion import must_measure_again, promote
from slipway.learning.weights import load_weights
from tests.apparatus.networks import SmallNetwork
from tests.apparatus.ports import free_port
from tests.apparatus.trained_candidates import digits, register_candidate, unused_name

OTHER_DATA = "0" * 32


def criteria(metric: str = "best_val_accuracy") -> Criteria:
    return Criteria(metric_name=metric, greater_is_better=True, metric_threshold=0.9, min_improvement=0.005)


@pytest.fixture
def registry(environment: Environment) -> ModelRegistry:
    return environment.registry


def promoted(registry: ModelRegistry, candidate: RegisteredVersion, metric: str = "best_val_accuracy") -> Verdict:
    return promote(candidate.model_name, candidate.version, criteria(metric), num_workers=0, registry=registry)


def champion(registry: ModelRegistry, model_name: str) -> int | None:
    found = registry.find_at_alias(model_name, CHAMPION)
    return found.version if found else None


def on_paper(version: int, digest: str | None) -> RegisteredVersion:
    return RegisteredVersion(
        model_name="resnet18-digits",
        version=version,
        source_uri="models:/m-1",
        created_at=datetime(2026, 2, 3, tzinfo=UTC),
        params={VALIDATION_DIGEST_PARAM: digest} if digest else {},
    )


@pytest.mark.parametrize(
    ("champions", "candidates", "again"),
    [("d1", "d1", False), ("d1", "d2", True), (None, "d2", True), ("d1", None, True), (None, None, True)],
)
def test_a_champion_is_measured_again_unless_both_are_known_to_be_judged_on_the_same_data(
    champions: str | None, candidates: str | None, again: bool
) -> None:
    assert must_measure_again(on_paper(6, champions), on_paper(7, candidates), "best_val_accuracy") is again


def test_a_metric_that_cannot_be_measured_again_is_refused_where_it_has_to_be() -> None:
    assert not must_measure_again(on_paper(6, "d1"), on_paper(7, "d1"), "f1")

    with pytest.raises(InvalidInput, match="champion version 6 was judged on other validation data"):
        must_measure_again(on_paper(6, "d1"), on_paper(7, "d2"), "f1")


def test_the_first_good_candidate_becomes_champion(registry: ModelRegistry) -> None:
    candidate = register_candidate(registry, unused_name(), accuracy=0.93)

    verdict = promoted(registry, candidate)

    assert verdict.passed and verdict.champion_version is None
    assert champion(registry, candidate.model_name) == 1


def test_a_refused_candidate_changes_no_alias(registry: ModelRegistry) -> None:
    candidate = register_candidate(registry, unused_name(), accuracy=0.89)

    verdict = promoted(registry, candidate)

    assert not verdict.passed
    assert champion(registry, candidate.model_name) is None
    assert registry.get_version(candidate.model_name, 1).tags["gate_1"] == "rejected"


def test_only_a_clearly_better_candidate_replaces_the_champion(registry: ModelRegistry) -> None:
    name = unused_name()
    promoted(registry, register_candidate(registry, name, accuracy=0.93))

    barely = promoted(registry, register_candidate(registry, name, accuracy=0.934))
    clearly = promoted(registry, register_candidate(registry, name, accuracy=0.935))

    assert (barely.passed, clearly.passed) == (False, True)
    assert (barely.champion_value, clearly.champion_value) == (0.93, 0.93)
    assert champion(registry, name) == 3


def test_promoting_again_after_a_success_says_so_and_passes(registry: ModelRegistry) -> None:
    candidate = register_candidate(registry, unused_name(), accuracy=0.93)
    promoted(registry, candidate)

    again = promoted(registry, candidate)

    assert again.passed and again.already_champion
    assert champion(registry, candidate.model_name) == 1


@pytest.mark.parametrize("accuracy", [None, math.nan])
def test_a_missing_figure_and_one_that_is_no_number_are_refused(
    accuracy: float | None, registry: ModelRegistry
) -> None:
    candidate = register_candidate(registry, unused_name(), accuracy=accuracy)

    verdict = promoted(registry, candidate)

    assert not verdict.passed and verdict.candidate_value is None
    assert champion(registry, candidate.model_name) is None


def test_a_champion_judged_on_other_data_is_evaluated_again(registry: ModelRegistry) -> None:
    name = unused_name()
    old = register_candidate(registry, name, accuracy=0.999, digest=OTHER_DATA)
    promoted(registry, old)
    model, _ = load_weights(old, registry)
    truth = evaluate(model, digits().validation, 10, torch.device("cpu")).accuracy

    verdict = promoted(registry, register_candidate(registry, name, accuracy=0.95))

    assert truth < 0.5, "it has learnt nothing"
    assert verdict.champion_value == pytest.approx(truth)
    assert verdict.passed and champion(registry, name) == 2


def test_validation_data_that_changed_since_the_training_is_an_error(registry: ModelRegistry) -> None:
    name = unused_name()
    promoted(registry, register_candidate(registry, name, accuracy=0.93))
    candidate = register_candidate(registry, name, accuracy=0.99, digest=OTHER_DATA)

    with pytest.raises(InvalidInput, match=f"was validated on {OTHER_DATA}"):
        promoted(registry, candidate)

    assert champion(registry, name) == 1


def test_a_champion_of_other_classes_is_not_compared(registry: ModelRegistry) -> None:
    name = unused_name()
    promoted(registry, register_candidate(registry, name, accuracy=0.93, digest=OTHER_DATA, model=SmallNetwork(4)))

    with pytest.raises(InvalidInput, match="4 classes apart, the images have 10"):
        promoted(registry, register_candidate(registry, name, accuracy=0.99))


def test_a_metric_that_cannot_be_measured_again_is_an_error_not_a_promotion(registry: ModelRegistry) -> None:
    name = unused_name()
    first = register_candidate(registry, name, accuracy=0.93, digest=OTHER_DATA)
    promoted(registry, first)

    with pytest.raises(InvalidInput, match="best_val_accuracy and best_val_loss can be measured again"):
        promoted(registry, register_candidate(registry, name, accuracy=0.99), metric="f1")


def test_an_unknown_version_is_an_error(registry: ModelRegistry) -> None:
    candidate = register_candidate(registry, unused_name())

    with pytest.raises(NotRegistered):
        promote(candidate.model_name, 9, criteria(), num_workers=0, registry=registry)


def test_a_registry_that_is_down_is_not_a_registry_without_champion(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = register_candidate(registry, unused_name())
    nowhere = ModelRegistry(tracking_uri=f"http://127.0.0.1:{free_port()}", request_timeout_s=1, max_retries=0)
    monkeypatch.setattr(ModelRegistry, "get_version", lambda *_: candidate)

    with pytest.raises(ServiceUnavailable, match=nowhere.tracking_uri):
        promoted(nowhere, candidate)


def test_a_champion_that_appears_while_the_candidate_is_judged_is_judged_against_too(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unused_name()
    ours = register_candidate(registry, name, accuracy=0.93)
    theirs = register_candidate(registry, name, accuracy=0.97)
    look_up, looks = ModelRegistry.find_at_alias, 0

    def meanwhile(self: ModelRegistry, model_name: str, alias: str) -> RegisteredVersion | None:
        nonlocal looks
        looks += 1
        found = look_up(self, model_name, alias)
        if looks == 1:
            self.set_alias(name, CHAMPION, theirs.version)
        return found

    monkeypatch.setattr(ModelRegistry, "find_at_alias", meanwhile)

    verdict = promoted(registry, ours)

    assert not verdict.passed and verdict.champion_version == theirs.version
    assert registry.get_aliases(name) == {CHAMPION: theirs.version}
