"""Settings are served from the next release on, which is proven as any other, and gone back from with the version."""

from typing import Any

import pytest
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from blocks.errors import LoadFailed
from flows.deployment import Deployment, deploy_model
from flows.rollback import rollback_model
from slipway.releases.kept_settings import keep_settings, read_kept
from slipway.releases.receipt import read_receipt
from slipway.releases.serving_config import parse_config
from slipway.releases.serving_settings import ServingSettings
from tests.apparatus.consistency import assert_consistent, observed
from tests.apparatus.given import given

NONE = ServingSettings()
BUSY = ServingSettings(instances=2, queue_delay_us=200, max_batch_size=16, warm_up="zeros", intra_op_threads=2)


def say(environment: Environment, model_name: str, settings: ServingSettings) -> None:
    kept = read_kept(environment.repository, model_name)
    keep_settings(model_name, settings, after=kept, by="a test", environment=environment)


def committed(environment: Environment, model_name: str) -> Any:
    return parse_config(environment.repository.read_config(model_name) or "")


def test_other_settings_are_released_like_another_version_and_gone_back_from(
    environment: Environment, model_name: str
) -> None:
    model = given(environment, model_name).released(2)
    say(environment, model_name, BUSY)
    assert committed(environment, model_name).instance_group[0].count == 1, "nothing changes by itself"

    released = deploy_model(model_name, "alias:live")

    assert isinstance(released, Deployment) and released.receipt is not None
    assert (released.plan.registry_version, released.plan.version, released.plan.serves) == (2, 3, (2, 3))
    config = committed(environment, model_name)
    assert (config.max_batch_size, config.instance_group[0].count, len(config.model_warmup)) == (16, 2, 2)
    assert "proven with" in released.receipt.gates["candidate"], "that requests may be joined"
    assert released.receipt.settings == BUSY
    assert assert_consistent(environment, model_name) == 2
    again: State[Any] = deploy_model(model_name, "alias:live", return_state=True)
    assert again.name == "AlreadyLive"

    rollback_model(model_name, reason="slower")

    config = committed(environment, model_name)
    assert (config.max_batch_size, config.instance_group[0].count, len(config.model_warmup)) == (32, 1, 0)
    assert list(config.version_policy.specific.versions) == [2]
    assert read_kept(environment.repository, model_name).now == NONE, "or the next release would bring them back"
    assert assert_consistent(environment, model_name) == 2

    assert model.released().live == 3
    rollback_model(model_name)

    receipt = read_receipt(environment.repository, model_name, 2)
    assert receipt is not None and receipt.kind == "rollback"
    assert assert_consistent(environment, model_name) == 2


def test_settings_that_the_servers_cannot_serve_are_never_committed(environment: Environment, model_name: str) -> None:
    given(environment, model_name).released()
    say(environment, model_name, ServingSettings(instance_kind="gpu", gpus=(7,)))
    before = observed(environment, model_name)

    with pytest.raises(LoadFailed, match="gpu id 7"):
        deploy_model(model_name, "alias:live")

    assert observed(environment, model_name) == before
