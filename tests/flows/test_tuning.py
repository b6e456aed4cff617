"""A tuning measures a candidate, keeps what it found for the next release, and leaves what is served alone."""

from typing import Any

import pytest
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from blocks.errors import InvalidInput
from blocks.repository_layout import name_candidate, parse_candidate
from flows.deployment import Deployment, deploy_model
from flows.tuning import tune_model
from slipway.releases.candidate import find_candidates
from slipway.releases.kept_settings import keep_settings, read_kept
from slipway.releases.serving_config import make_candidate_config, parse_config
from slipway.releases.serving_settings import ServingSettings
from slipway.tuning.report import PICTURE, TABLE
from slipway.tuning.tuning import Tuning
from tests.apparatus.consistency import assert_consistent, observed
from tests.apparatus.given import given
from tests.apparatus.transports import Request, Send, interfering

SLOW_US = 200_000


def test_the_best_is_found_on_a_candidate_kept_and_released_like_any_change(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released()
    _serve_slowly(environment, model_name)
    repository, replica = environment.repository, environment.fleet.list_addresses()[1]
    config, before = repository.read_commit(model_name), observed(environment, model_name)
    _leave_a_candidate(environment, model_name, replica)
    with pytest.raises(InvalidInput, match="serves traffic"):
        tune_model(model_name)
    changed: list[Request] = []

    def watch(request: Request, send: Send) -> Any:
        if request.method in {"load_model", "unload_model"}:
            changed.append(request)
        return send()

    with interfering(watch):
        state: State[Any] = tune_model(
            model_name,
            latency_ms=5000,
            beside_traffic=True,
            instances=(),
            intra_op_threads=(),
            queue_delays_us=(0,),
            max_batch_sizes=(),
            seconds=0.2,
            clients=2,
            rounds=1,
            return_state=True,
        )
    tuning: Tuning = state.result()

    assert [trial.knobs.queue_delay_us for trial in tuning.trials] == [SLOW_US, 0]
    assert tuning.verdict.ratio is not None and tuning.verdict.ratio > 5
    assert all(trial.points and not trial.refusal for trial in tuning.trials), tuning.rows
    assert {request.address for request in changed if request.method == "load_model"} == {replica}
    assert {parse_candidate(str(request.model_name)) for request in changed} == {model_name}, "nothing else is touched"
    assert find_candidates(model_name, environment) == set(), "its own, and the one that was left, are gone"
    assert repository.read_commit(model_name) == config and observed(environment, model_name) == before
    files = environment.registry.connect().list_artifacts(str(tuning.run_id))
    assert {PICTURE, TABLE} <= {file.path for file in files}

    assert tuning.kept and read_kept(repository, model_name).now == ServingSettings(queue_delay_us=0), state.message
    released = deploy_model(model_name, "alias:live")
    assert isinstance(released, Deployment) and released.receipt is not None
    batching = parse_config(repository.read_config(model_name) or "").dynamic_batching
    assert batching.max_queue_delay_microseconds == 0
    assert assert_consistent(environment, model_name) == 1


def _serve_slowly(environment: Environment, model_name: str) -> None:
    """Release settings by which each request waits for others that do not come."""
    slow, kept = ServingSettings(queue_delay_us=SLOW_US), read_kept(environment.repository, model_name)
    keep_settings(model_name, slow, after=kept, by="a test", environment=environment)
    deploy_model(model_name, "alias:live")


def _leave_a_candidate(environment: Environment, model_name: str, replica: str) -> None:
    """Leave what a tuning that was killed leaves."""
    name = name_candidate(model_name, 1)
    config = make_candidate_config(environment.repository.read_config(model_name) or "", name, 2)
    environment.repository.place_candidate(model_name, 2, name, config)
    environment.fleet.load_model(replica, name)
