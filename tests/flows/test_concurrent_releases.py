"""Releases at the same time: of one model they take turns, of different models they do not wait."""

import pytest

from blocks.environment import Environment
from tests.apparatus.consistency import assert_consistent
from tests.apparatus.given import given, new_name, withdraw
from tests.apparatus.killing import Meeting, StartedRelease

pytestmark = pytest.mark.faults

MODELS = 4


@pytest.mark.parametrize("releases", [3, pytest.param(8, marks=pytest.mark.exhaustive)])
@pytest.mark.timeout(900)
def test_releases_of_one_model_at_once_take_turns_and_lose_nothing(
    environment: Environment, model_name: str, releases: int
) -> None:
    given(environment, model_name).registered(releases)

    started = [StartedRelease(model_name, source=f"version:{version}") for version in range(1, releases + 1)]
    endings = [release.wait() for release in started]

    released = sorted((e.release for e in endings if e.state_name == "Completed"), key=lambda r: r.plan.version)
    refused = [e.message for e in endings if e.state_name != "Completed"]
    assert all(message and f"model '{model_name}': another release" in message for message in refused), refused
    assert [release.plan.version for release in released] == list(range(1, len(released) + 1))
    lives = [release.plan.registry_version for release in released]
    assert [r.aliases.after.get("previous") for r in released] == [None, *lives[:-1]]
    assert [release.aliases.before.get("live") for release in released] == [None, *lives[:-1]]
    assert assert_consistent(environment, model_name) == lives[-1]
    assert environment.registry.get_aliases(model_name)["previous"] == lives[-2]


@pytest.mark.exhaustive  # test_many_updates.py releases many at once, which wait for places alone
def test_releases_of_different_models_do_not_wait_for_each_other(environment: Environment) -> None:
    names = [given(environment, new_name()).registered().model_name for _ in range(MODELS)]
    everyone = Meeting.of(MODELS, place="commit-version begins")

    started = [StartedRelease(model_name, meeting=everyone) for model_name in names]
    endings = [release.wait() for release in started]

    assert [ending.state_name for ending in endings] == ["Completed"] * MODELS, [e.message for e in endings]
    assert [assert_consistent(environment, model_name) for model_name in names] == [1] * MODELS
    for model_name in names:
        withdraw(environment, model_name)
