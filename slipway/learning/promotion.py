"""Promotion, gate 1: a candidate becomes champion only if it has earned it."""

import torch

from blocks.events import tell_gate
from blocks.labels import (
    BEST_ACCURACY,
    CHAMPION,
    DATASET_PARAM,
    GATE_1_TAG,
    GATE_1_VERDICT_TAG,
    VALIDATION_DIGEST_PARAM,
)
from blocks.registry import ModelRegistry, RegisteredVersion
from blocks.run import publish_report, say
from slipway.learning.datasets import load_dataset
from slipway.learning.evaluation import evaluate
from slipway.learning.gate import Criteria, Verdict, judge, require_measurable
from slipway.learning.recorded_dataset import load_recorded, read_input_shape
from slipway.learning.weights import load_weights


def promote(
    model_name: str, version: int, criteria: Criteria, *, num_workers: int | None, registry: ModelRegistry
) -> Verdict:
    """Judge a version against the threshold and the champion; if it passes, it carries `champion`.

    The champion is judged on the candidate's validation data: by what its run recorded if the data had the same
    digest, otherwise by evaluating it again. Running this again after a success passes again.
    Raises `NotRegistered` for an unknown version and `ServiceUnavailable` for a registry that does not answer,
    which is not the same as having no champion.
    """
    candidate = registry.get_version(model_name, version)
    verdict = _reach_verdict(candidate, criteria, num_workers, registry)
    if verdict.passed and not verdict.already_champion:
        registry.set_alias(model_name, CHAMPION, version)
    registry.tag_version(model_name, version, _make_tags(verdict, candidate))
    say(verdict.reason)
    tell_gate(1, verdict.passed, model_name, verdict.reason)
    publish_report("gate-1", f"# Gate 1\n\n{verdict.reason}\n", verdict.reason)
    return verdict


def _make_tags(verdict: Verdict, candidate: RegisteredVersion) -> dict[str, str]:
    """Return the verdict for people, and for its variants; whom it beat stays known when it is judged as champion."""
    tags = {GATE_1_TAG: "passed" if verdict.passed else "rejected"}
    if verdict.already_champion and GATE_1_VERDICT_TAG in candidate.tags:
        return tags
    return tags | {GATE_1_VERDICT_TAG: verdict.model_dump_json()}


def _reach_verdict(
    candidate: RegisteredVersion, criteria: Criteria, num_workers: int | None, registry: ModelRegistry
) -> Verdict:
    champion = registry.find_at_alias(candidate.model_name, CHAMPION)
    while True:
        verdict = judge(
            candidate.model_name,
            candidate.version,
            criteria,
            candidate_value=candidate.metrics.get(criteria.metric_name),
            champion_version=champion.version if champion else None,
            champion_value=_find_champion_value(champion, candidate, criteria.metric_name, num_workers, registry),
        )
        # Another run may have promoted its own candidate while this champion was evaluated again.
        now = registry.find_at_alias(candidate.model_name, CHAMPION)
        if (now and now.version) == (champion and champion.version):
            return verdict
        champion = now


def _find_champion_value(
    champion: RegisteredVersion | None,
    candidate: RegisteredVersion,
    metric_name: str,
    num_workers: int | None,
    registry: ModelRegistry,
) -> float | None:
    if champion is None or champion.version == candidate.version:
        return None
    if must_measure_again(champion, candidate, metric_name):
        return _measure_again(champion, candidate, metric_name, num_workers, registry)
    return champion.metrics.get(metric_name)


def must_measure_again(champion: RegisteredVersion, candidate: RegisteredVersion, metric_name: str) -> bool:
    """Tell whether the champion was judged on other data; `InvalidInput` where its metric cannot be measured again."""
    digest = candidate.params.get(VALIDATION_DIGEST_PARAM)
    if digest and champion.params.get(VALIDATION_DIGEST_PARAM) == digest:
        return False
    require_measurable(metric_name, f"champion version {champion.version} was judged on other validation data")
    return True


def _measure_again(
    champion: RegisteredVersion,
    candidate: RegisteredVersion,
    metric_name: str,
    num_workers: int | None,
    registry: ModelRegistry,
) -> float:
    """Evaluate the champion, at its own input size, on the data the candidate was validated on."""
    model, champion_shape = load_weights(champion, registry)
    images = load_recorded(candidate, num_workers)
    if champion_shape != read_input_shape(candidate):
        images = load_dataset(candidate.params[DATASET_PARAM], champion_shape, num_workers)
    judged = evaluate(model, images.validation, len(images.classes), torch.device("cpu"))
    say(f"champion version {champion.version} evaluated again: accuracy {judged.accuracy:.4f}, loss {judged.loss:.4f}")
    return judged.accuracy if metric_name == BEST_ACCURACY else judged.loss
