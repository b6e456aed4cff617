"""What an alias asks for is released once: not twice, not out of order, not after a rollback, and not forgotten."""

import os
import signal
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events import Event
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

from blocks.environment import Environment
from blocks.events import Happened
from blocks.registry import ModelRegistry
from flows.alias_poll import poll_aliases
from flows.deployment import deploy_model
from flows.publication import publish_model
from flows.rollback import rollback_model
from infra.local.settings import LocalStack
from infra.local.supervision import list_programs, start_programs, stop_program
from slipway.releases.alias_update import explain_refusal
from slipway.releases.metadata import read_metadata
from tests.apparatus.aliases import forget_missed_updates, set_in_a_burst, versions_without_files
from tests.apparatus.automations import automations_resumed
from tests.apparatus.deliveries import events_of
from tests.apparatus.given import given
from tests.apparatus.models import register_directory, register_linear
from tests.apparatus.patience import PATIENCE_S
from tests.apparatus.thinning import keep, keep_one_in
from tests.apparatus.triton_directories import write_python_model
from tests.infra.events.test_service import await_answer

SOON = timedelta(seconds=5)


@pytest.fixture
def registry(environment: Environment) -> ModelRegistry:
    return environment.registry


def answer(model_name: str, version: int, set_at: datetime) -> str:
    """Run what the automation runs for an alias event; return the name of the state it ended in."""
    state = deploy_model(model_name, f"version:{version}", alias_set_at=set_at, return_state=True)
    assert state.is_completed(), state.message
    return str(state.name)


def live(registry: ModelRegistry, model_name: str) -> int | None:
    return registry.get_aliases(model_name).get("live")


def test_the_same_update_never_releases_twice_and_what_it_released_says_which_alias_caused_it(
    environment: Environment, registry: ModelRegistry, model_name: str
) -> None:
    register_linear(registry, model_name, 1)
    set_at = datetime.now(UTC)

    assert answer(model_name, 1, set_at) == "Completed"
    assert answer(model_name, 1, set_at) == "Superseded"
    metadata = read_metadata(model_name, 1, environment.repository)
    assert metadata.mlflow is not None and metadata.mlflow.alias_at_deploy == "alias:deploy"
    assert metadata.triton is not None and str(metadata.triton.deployed_by).endswith(f" {metadata.owner}")


def test_an_update_older_than_a_rollback_never_releases_what_was_rolled_back(
    environment: Environment, registry: ModelRegistry, model_name: str
) -> None:
    given(environment, model_name).released(2)
    before = datetime.now(UTC)
    rollback_model(model_name, reason="too many cats")

    assert answer(model_name, 2, before) == "Superseded"
    assert live(registry, model_name) == 1
    assert model_name not in {update.model_name for update in poll_aliases()}


def test_what_no_webhook_told_the_poll_tells_once(registry: ModelRegistry, model_name: str) -> None:
    register_linear(registry, model_name, 1)

    assert model_name in {update.model_name for update in poll_aliases()}
    told = [event for event in events_of(model_name, 2) if event.payload["found_by"] == "poll"]
    assert [event.payload["version"] for event in told] == [1]

    deploy_model(model_name)
    assert model_name not in {update.model_name for update in poll_aliases()}


def test_a_version_that_cannot_be_fetched_is_left_to_people(
    registry: ModelRegistry, model_name: str, tmp_path: Path
) -> None:
    (tmp_path / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\n")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    register_directory(registry, model_name, tmp_path)
    (update,) = (update for update in poll_aliases() if update.model_name == model_name)

    state = deploy_model(model_name, "version:1", alias_set_at=update.set_at, return_state=True)

    assert state.is_failed()
    assert model_name not in {update.model_name for update in poll_aliases()}


def test_a_run_that_asks_for_the_alias_answers_before_it_fetches(
    registry: ModelRegistry, model_name: str, tmp_path: Path
) -> None:
    register_directory(registry, model_name, tmp_path)

    assert deploy_model(model_name, return_state=True).is_failed()
    assert model_name not in {update.model_name for update in poll_aliases()}


@pytest.mark.parametrize(
    "set_at",
    keep(
        {"in the future": datetime(2099, 1, 1, tzinfo=UTC), "in no time zone": datetime(2026, 2, 3)}, {"in the future"}
    ),
)
def test_an_alias_set_in_the_future_or_in_no_time_zone_is_refused_and_answers_nothing(
    environment: Environment, registry: ModelRegistry, model_name: str, set_at: datetime
) -> None:
    given(environment, model_name).released(2)
    rollback_model(model_name, reason="too many cats")

    state = deploy_model(model_name, "version:2", alias_set_at=set_at, return_state=True)

    assert state.is_failed()
    assert live(registry, model_name) == 1, "it was rolled back from"
    assert answer(model_name, 2, datetime.now(UTC) + SOON) == "Completed", "the next real update counts"


@pytest.mark.parametrize(
    ("tag", "text"),
    keep_one_in(4, product(["deploy_answered_at", "rolled_back_at"], ["last week", "2099-01-01T00:00:00"])),
)
def test_a_damaged_tag_is_said_once_and_every_other_model_is_polled(
    registry: ModelRegistry, model_name: str, tag: str, text: str
) -> None:
    damaged, sound = model_name, f"z{model_name}"
    for name in (damaged, sound):
        register_linear(registry, name, 1)
    registry.tag_version(damaged, 1, {tag: text})

    polled = [{update.model_name for update in poll_aliases()} for _ in range(2)]

    assert all(sound in names and damaged not in names for names in polled)
    assert len(refused_of(damaged)) == 1
    assert f"its tag {tag} is '{text}'" in (explain_refusal(registry.get_model(damaged)) or "")


def refused_of(model_name: str, within_s: float = PATIENCE_S) -> Sequence[Event]:
    """Return the events that said a model's alias is not looked at, waiting for the first."""
    end = time.monotonic() + within_s
    with get_client(sync_client=True) as client:
        while True:
            wanted = EventFilter(
                event=EventNameFilter(name=[Happened.UPDATE_REFUSED]),
                resource=EventResourceFilter(id=[f"slipway.model.{model_name}"]),
            )
            found = client.read_events(filter=wanted, limit=50).events
            if found or time.monotonic() > end:
                return found
            time.sleep(0.3)


def test_a_tag_that_was_mended_is_a_finding_no_more(registry: ModelRegistry, model_name: str) -> None:
    register_linear(registry, model_name, 1)
    registry.tag_version(model_name, 1, {"deploy_answered_at": "last week"})
    poll_aliases()
    registry.untag_version(model_name, 1, ("deploy_answered_at",))

    assert model_name in {update.model_name for update in poll_aliases()}
    assert explain_refusal(registry.get_model(model_name)) is None


def test_a_name_slipway_does_not_take_is_told_by_no_event_that_releases(registry: ModelRegistry) -> None:
    name = f"my model {uuid.uuid4().hex[:8]}-onnx"
    register_linear(registry, name, 1)

    assert name not in {update.model_name for update in poll_aliases()}
    assert "expected 1 to 120 letters" in registry.get_model(name).tags["deploy_refused"]
    registry.connect().delete_registered_model(name)


def newest_runs() -> list[FlowRun]:
    """Return the last runs of deploy-model."""
    with get_client(sync_client=True) as client:
        # the newest: by itself Prefect lists them by their random ids, and no more than 200
        return client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["deploy-model"])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=200,
        )


def runs_of(model_name: str) -> list[FlowRun]:
    """Return every run of deploy-model for a model."""
    return [run for run in newest_runs() if run.parameters.get("model_name") == model_name]


def await_live(registry: ModelRegistry, model_name: str, version: int, within_s: float = 120) -> None:
    end = time.monotonic() + within_s
    while live(registry, model_name) != version or not all(
        run.state and run.state.is_final() for run in runs_of(model_name)
    ):
        assert time.monotonic() < end, [(run.name, run.state_name) for run in runs_of(model_name)]
        time.sleep(0.5)


@pytest.mark.exhaustive  # the next one is released by its alias, and told of twice
@pytest.mark.timeout(400)
def test_setting_the_alias_releases_exactly_that_version(registry: ModelRegistry, model_name: str) -> None:
    register_linear(registry, model_name, 1)
    assert len(events_of(model_name, 1)) == 1, "the trigger has had its chance and was paused"
    with automations_resumed():
        version = register_linear(registry, model_name, 2)
        await_live(registry, model_name, version.version)

    (run,) = runs_of(model_name)
    assert run.parameters["source"] == "version:2"
    assert registry.get_aliases(model_name) == {"deploy": 2, "live": 2}


@pytest.mark.timeout(400)
def test_a_published_model_is_released_by_its_alias_whatever_it_is_called(
    registry: ModelRegistry, model_name: str, tmp_path: Path
) -> None:
    name = f"{model_name}-published"
    forget_missed_updates(registry)
    with automations_resumed():
        publish_model(write_python_model(tmp_path / name), name, deploy=True)
        assert name in {update.model_name for update in poll_aliases()}
        await_live(registry, name, 1)

    assert {event.payload["found_by"] for event in events_of(name, 2)} == {"webhook", "poll"}
    assert len(runs_of(name)) == 1


@pytest.mark.timeout(400)
def test_what_was_set_while_the_service_was_down_is_released_once_the_poll_has_run(
    stack: LocalStack, registry: ModelRegistry, model_name: str
) -> None:
    names = [f"{model_name.removesuffix('-onnx')}-{number}-onnx" for number in range(12)]
    for number, name in enumerate(names):
        if number == 4:
            stop_program(stack, "events")
        register_linear(registry, name, 1)
    prefix = model_name.removesuffix("-onnx")
    heard = {event.resource.name for event in events_of(prefix)}
    assert heard < set(names), "the service is down for some of them"

    poll_aliases()  # while it is down still: what MLflow tries again proves nothing of the poll

    await_told(prefix, set(names))
    start_programs(stack, ["events"])
    await_answer(stack.events_url)


@pytest.mark.timeout(400)
@pytest.mark.exhaustive  # the cluster's tests send a burst, and end the service before the poll
def test_a_service_that_dies_in_a_burst_loses_none_once_the_poll_has_run(
    stack: LocalStack, registry: ModelRegistry, model_name: str
) -> None:
    prefix = model_name.removesuffix("-onnx")

    def die() -> None:
        os.kill(list_programs(stack)["events"].pid, signal.SIGKILL)  # the supervisor starts it again

    with versions_without_files(registry, prefix) as names:
        set_in_a_burst(registry, names, meanwhile=die)
        await_answer(stack.events_url)

        told = poll_aliases()

        assert {update.model_name for update in told} >= set(names)
        await_told(prefix, set(names))


def await_told(prefix: str, names: set[str], within_s: float = PATIENCE_S) -> None:
    """Wait until there is an event of each of the models."""
    end = time.monotonic() + within_s
    while missing := names - {event.resource.name for event in events_of(prefix)}:
        assert time.monotonic() < end, missing
        time.sleep(0.5)
