"""A tuning measures a candidate, keeps what it found for the next release, and leaves what is served alone."""

import re
from dataclasses import replace
from typing import Any

import pytest

from blocks.environment import Environment, using
from blocks.repository_layout import name_candidate, parse_candidate
from flows.deployment import deploy_model
from infra.command.main import run
from slipway.releases.candidate import find_candidates
from slipway.releases.kept_settings import keep_settings, read_kept
from slipway.releases.serving_config import make_candidate_config, parse_config
from slipway.releases.serving_settings import ServingSettings
from slipway.tuning.report import PICTURE, TABLE
from tests.apparatus.consistency import assert_consistent, observed
from tests.apparatus.given import given
from tests.apparatus.transports import Request, Send, interfered

SLOW_US = 200_000
TUNE = (
    "--latency-ms 5000 --instances= --intra-op-threads= --max-batch-sizes= --queue-delays-us 0 --clients 2 --rounds 1"
)


def test_the_best_is_found_beside_the_fleet_kept_and_released_like_any_change(
    environment: Environment, model_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given(environment, model_name).released()
    _serve_slowly(environment, model_name)
    fleet, repository = environment.fleet, environment.repository
    ours, spare = fleet.list_addresses()
    commit, before = repository.read_commit(model_name), observed(environment, model_name)
    _leave_a_candidate(environment, model_name, spare)
    changed: list[Request] = []

    def watch(request: Request, send: Send) -> Any:
        if request.method in {"load_model", "unload_model"}:
            changed.append(request)
        return send()

    with using(replace(environment, fleet=interfered(fleet.model_copy(update={"replicas": [ours]}), watch))):
        assert run(["tune", model_name]) != 0, "the one replica serves"
        refused = capsys.readouterr().err
        code = run(["tune", model_name, "--replica", spare, "--seconds", "0.2", *TUNE.split()])
    shown = capsys.readouterr().out

    assert "serves traffic" in refused and code == 0, refused + shown
    assert re.search(r"\d\d+\.\d\d times in the median of 1 rounds", shown), shown
    assert {request.address for request in changed if request.method == "load_model"} == {spare}
    assert {parse_candidate(str(request.model_name)) for request in changed} == {model_name}, "nothing else is touched"
    assert find_candidates(model_name, environment) == set(), "its own, and the one that was left, are gone"
    assert repository.read_commit(model_name) == commit and observed(environment, model_name) == before
    assert {PICTURE, TABLE} <= _list_files(environment, shown)
    assert read_kept(repository, model_name).now == ServingSettings(queue_delay_us=0)

    assert run(["config", "set", model_name, "--release"]) == 0, capsys.readouterr()
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


def _list_files(environment: Environment, shown: str) -> set[str]:
    run_id = re.findall(r"MLflow run (\w+)", shown)[-1]
    return {file.path for file in environment.registry.connect().list_artifacts(run_id)}
