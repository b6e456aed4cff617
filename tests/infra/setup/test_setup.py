"""Setting up again changes nothing: what people have switched on or off or scheduled in Prefect stays so."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule, IntervalSchedule, RRuleSchedule

from blocks.errors import InvalidInput
from infra.local.provision import create_work_pool
from infra.local.settings import LocalStack
from infra.setup.deployments import Switched, apply_deployments, read_switches
from infra.setup.pools import POOLS, apply_pools
from infra.setup.settings import ClusterSettings

CLUSTER = ClusterSettings(namespace="ours", deployment_image="a/b:1", training_image="a/c:1")
SCHEDULER_S = 200  # Prefect looks at all schedules once a minute


@pytest.fixture
def client(stack: LocalStack) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def nightly(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    """The nightly training, whose schedule is switched on while the test runs."""
    found = client.read_deployment_by_name("train-model/local")
    (schedule,) = found.schedules
    client.update_deployment_schedule(found.id, schedule.id, active=True)
    yield client.read_deployment(found.id)
    client.update_deployment_schedule(found.id, schedule.id, active=False)


def scheduled(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    wanted = {"deployment_id": {"any_": [deployment.id]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    return client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted))


def test_a_schedule_that_is_switched_on_makes_runs(client: SyncPrefectClient, nightly: DeploymentResponse) -> None:
    end = time.monotonic() + SCHEDULER_S
    while not (runs := scheduled(client, nightly)):
        assert time.monotonic() < end, "no run was scheduled"
        time.sleep(0.5)

    assert all(run.auto_scheduled and run.expected_start_time for run in runs)
    assert {run.expected_start_time.hour for run in runs if run.expected_start_time} == {2}


def test_the_local_pools_limit_is_the_stacks_and_renewed(client: SyncPrefectClient, stack: LocalStack) -> None:
    create_work_pool(stack.model_copy(update={"worker_limit": 3}))
    assert client.read_work_pool("local").concurrency_limit == 3

    create_work_pool(stack)
    assert client.read_work_pool("local").concurrency_limit == stack.worker_limit


def test_a_clusters_pools_have_the_limits_of_their_workers(client: SyncPrefectClient) -> None:
    try:
        for limits in ({"gpu": 4}, {"gpu": 1, "cpu": 10}):
            apply_pools(client, CLUSTER.model_copy(update={"pool_limits": limits}))

            assert {name: client.read_work_pool(name).concurrency_limit for name in limits} == limits
    finally:
        for name in POOLS:
            client.delete_work_pool(name)


def test_a_limit_of_no_pool_is_refused(client: SyncPrefectClient) -> None:
    with pytest.raises(InvalidInput, match=r"SLIPWAY_POOL_LIMITS: unknown pools \['tpu'\]"):
        apply_pools(client, CLUSTER.model_copy(update={"pool_limits": {"tpu": 1}}))


@pytest.fixture
def added(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    """A deployment with schedules that people have added to it, one of each kind."""
    found = client.read_deployment_by_name("deploy-model/local")
    schedules: list[SCHEDULE_TYPES] = [
        CronSchedule(cron="0 3 * * 1", timezone="Europe/Berlin"),
        IntervalSchedule(interval=timedelta(hours=6), timezone="UTC"),
        RRuleSchedule(rrule="FREQ=WEEKLY;BYDAY=MO", timezone="UTC"),
    ]
    client.create_deployment_schedules(found.id, [(schedule, False) for schedule in schedules])
    yield client.read_deployment(found.id)
    for schedule in client.read_deployment_schedules(found.id):
        client.delete_deployment_schedule(found.id, schedule.id)


def test_what_people_have_switched_off_or_on_and_the_schedules_they_have_added_stay_so_all_the_while(
    client: SyncPrefectClient,
    nightly: DeploymentResponse,
    added: DeploymentResponse,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = switches(client)  # the tests' stack has paused what acts by itself
    assert [switched.paused for switched in before.values()].count(True) == 2
    assert [list(switched.triggers.values()) for switched in before.values() if switched.triggers] == [[False]]
    assert [schedule["active"] for schedule in before[str(nightly.entrypoint), "local"].schedules] == [True]
    assert len(before[str(added.entrypoint), "local"].schedules) == 3

    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(apply_deployments, client, "local")
        seen = []
        while not applied.done():
            seen.append(switches(client))
            time.sleep(0.1)

    assert applied.result() == 0
    assert switches(client) == before
    assert all(those_that_act(moment) == those_that_act(before) for moment in seen)
    assert capfd.readouterr().out.count("successfully created") == len(before)  # each of them once


def switches(client: SyncPrefectClient) -> Switched:
    """Return how the deployments are switched, their schedules in one order."""
    return {
        key: found._replace(schedules=tuple(sorted(found.schedules, key=str)))
        for key, found in read_switches(client).items()
    }


def those_that_act(found: Switched) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Return which deployments are not paused, and which have a trigger that is on."""
    running = {key for key, switched in found.items() if not switched.paused}
    return running, {key for key, switched in found.items() if any(switched.triggers.values())}
