"""Rollback: back without a reload, marked, once only, and a plain refusal where there is nowhere to go."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Pending

from blocks.environment import Environment, using
from blocks.errors import NoRollbackTarget, ServiceUnavailable, VerificationFailed
from flows.deployment import deploy_model
from flows.reconciliation import reconcile_models
from flows.rollback import Rollback, rollback_model
from infra.local.settings import LocalStack
from slipway.releases.serving_config import read_policy
from tests.apparatus.consistency import assert_consistent, list_served, observed
from tests.apparatus.given import given
from tests.apparatus.models import FEATURES, random_weights
from tests.apparatus.replicas import Replica
from tests.apparatus.transports import failing, interfering


def rolled_back(model_name: str, **parameters: Any) -> Rollback:
    outcome = rollback_model(model_name, **parameters)
    assert isinstance(outcome, Rollback)
    return outcome


def answered_since_loaded(address: str, model_name: str) -> int:
    """Return how many requests version 1 answered since a replica loaded it."""
    with triton.InferenceServerClient(address) as client:
        found = client.get_inference_statistics(model_name, "1", client_timeout=10)
    return int(found.model_stats[0].inference_count)


def written(environment: Environment, model_name: str) -> dict[str, object]:
    """Return everything a rollback may change."""
    return {
        "policy": environment.repository.read_config(model_name),
        "files": observed(environment, model_name)["files"],
        "aliases": environment.registry.get_aliases(model_name),
        "served": list_served(environment, model_name),
        "tags": list(environment.registry.list_versions(model_name)),
    }


def test_a_rollback_serves_the_previous_version_moves_the_aliases_and_says_why(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(3)

    outcome = rolled_back(model_name, reason="too many cats")

    assert assert_consistent(environment, model_name) == 2
    assert {a: v for a, v in environment.registry.get_aliases(model_name).items() if a != "deploy"} == {
        "live": 2,
        "previous": 1,
    }
    assert outcome.receipt is not None and [r.version for r in outcome.receipt.replicas] == [2, 2]
    assert all(0 < (r.latency_p50_ms or 0) <= (r.latency_p99_ms or 0) for r in outcome.receipt.replicas)
    inputs = np.ones((1, FEATURES), np.float32)
    for address in environment.fleet.list_addresses():
        answer = environment.fleet.infer(address, model_name, {"input": inputs}, ["output"], None)["output"]
        np.testing.assert_allclose(answer, inputs @ random_weights(2), rtol=1e-5)
    tags = dict(environment.registry.list_versions(model_name))
    assert tags[3]["rolled_back"] == "too many cats" and tags[3]["rolled_back_at"]
    assert json.loads(tags[2]["receipt"])["kind"] == "rollback"


def test_a_rollback_reloads_nothing(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released(2)
    addresses, inputs = environment.fleet.list_addresses(), np.ones((1, FEATURES), np.float32)
    for address in addresses:
        environment.fleet.infer(address, model_name, {"input": inputs}, ["output"], 1)
    before = [answered_since_loaded(address, model_name) for address in addresses]

    rolled_back(model_name)

    after = [answered_since_loaded(address, model_name) for address in addresses]
    assert all(now > then > 0 for now, then in zip(after, before, strict=True)), "a load would start at zero"


def test_a_version_rolled_back_from_can_be_released_anew_and_its_mark_goes(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(2)
    rolled_back(model_name, reason="by mistake")

    deploy_model(model_name, source="version:2")

    assert assert_consistent(environment, model_name) == 2
    assert "rolled_back" not in dict(environment.registry.list_versions(model_name))[2]


def test_where_there_is_nowhere_to_go_back_to_nothing_is_touched(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released()
    before = written(environment, model_name)

    with pytest.raises(NoRollbackTarget, match="has no alias 'previous', so there is nowhere to go back to"):
        rollback_model(model_name)

    assert written(environment, model_name) == before


def test_an_older_version_is_brought_back_from_the_archive_and_proven_first(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(3)
    assert environment.repository.list_archived(model_name) == (1,)

    outcome = rolled_back(model_name, to="version:1", reason="way back")

    assert assert_consistent(environment, model_name) == 1
    assert outcome.receipt is not None and outcome.receipt.candidate is not None
    assert "previous" not in environment.registry.get_aliases(model_name)
    assert environment.repository.list_archived(model_name) == (2, 3)


def test_the_same_run_again_changes_nothing_more(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released(3)
    parameters = {"model_name": model_name, "reason": "too many cats"}
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(rollback_model, parameters=parameters, state=Pending())
        run_flow(rollback_model, flow_run=flow_run, parameters=flow_run.parameters)
        before = written(environment, model_name)
        client.set_flow_run_state(flow_run.id, Pending(), force=True)
        again: Any = run_flow(
            rollback_model,
            flow_run=client.read_flow_run(flow_run.id),
            parameters=flow_run.parameters,
            return_type="state",
        )

    assert again.name == "AlreadyLive"
    assert written(environment, model_name) == before
    assert assert_consistent(environment, model_name) == 2


def test_a_replica_whose_process_of_the_previous_version_died_loads_it_afresh(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(2)

    with interfering(failing(environment.fleet.list_addresses()[1], "infer", "INTERNAL", times=1)):
        rolled_back(model_name)

    assert assert_consistent(environment, model_name) == 1


def test_a_rollback_that_a_replica_refuses_is_undone(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released(2)
    before = written(environment, model_name)
    refusing = failing(environment.fleet.list_addresses()[1], "infer", "INTERNAL", times=2)
    with interfering(refusing), pytest.raises(VerificationFailed, match="injected"):
        rollback_model(model_name)

    after = written(environment, model_name)
    assert read_policy(environment.repository.read_config(model_name)) == (1, 2)
    assert {key: after[key] for key in ("files", "aliases", "served", "tags")} == {
        key: before[key] for key in ("files", "aliases", "served", "tags")
    }
    assert assert_consistent(environment, model_name) == 2


def test_a_live_version_that_the_registry_has_no_more_is_gone_back_from(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(2)
    environment.registry.connect().delete_model_version(model_name, "2")

    outcome = rolled_back(model_name)

    assert outcome.plan.version == 1
    assert read_policy(environment.repository.read_config(model_name)) == (1,)
    assert assert_consistent(environment, model_name) == 1


def test_a_version_set_live_again_after_the_live_one_was_deleted_is_not_its_own_predecessor(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(2)
    environment.registry.connect().delete_model_version(model_name, "2")

    deploy_model(model_name, source="version:1")

    aliases = environment.registry.get_aliases(model_name)
    assert aliases["live"] == 1 and "previous" not in aliases
    assert rolled_back(model_name).plan.version == 2, "the files are there, only the registry forgot them"
    assert list_served(environment, model_name) == [
        (2,),
        (2,),
    ]
    assert "live" not in environment.registry.get_aliases(model_name)


def test_a_rollback_while_the_registry_is_down_switches_the_replicas_and_is_finished_later(
    environment: Environment, model_name: str
) -> None:
    given(environment, model_name).released(2)
    silent = environment.registry.model_copy(update={"tracking_uri": "http://127.0.0.1:9", "max_retries": 0})
    unreachable = replace(environment, registry=silent)

    with using(unreachable), pytest.raises(ServiceUnavailable, match=r"MLflow at http://127\.0\.0\.1:9"):
        rollback_model(model_name, reason="at night")

    assert list_served(environment, model_name) == [
        (1,),
        (1,),
    ]
    reconcile_models([model_name])
    assert assert_consistent(environment, model_name) == 1
    assert dict(environment.registry.list_versions(model_name))[2]["rolled_back"] == "at night"


@pytest.mark.faults
def test_a_replica_that_hangs_is_left_to_the_reconciler_and_keeps_no_rollback_waiting(
    environment: Environment, stack: LocalStack, model_name: str
) -> None:
    given(environment, model_name).released(2)
    impatient = replace(environment, fleet=environment.fleet.model_copy(update={"call_timeout_s": 2}))
    hung = Replica(stack, 1)

    hung.process.suspend()
    try:
        with using(impatient):
            outcome = rolled_back(model_name)
    finally:
        hung.process.resume()

    assert outcome.proven_s is not None and outcome.proven_s < impatient.fleet.load_timeout_s / 10
    assert outcome.receipt is not None and outcome.receipt.left_to_reconcile == (hung.address,)
    reconcile_models([model_name])
    assert assert_consistent(environment, model_name) == 1


def test_a_rollback_that_is_proven_and_breaks_off_is_finished_not_undone(
    environment: Environment, model_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(environment, model_name).released(2)
    monkeypatch.setattr("slipway.releases.completion.time_replicas", lambda *_: 1 / 0)
    assert rollback_model(model_name, return_state=True).is_failed()

    reconcile_models([model_name])

    assert assert_consistent(environment, model_name) == 1
