"""Schedules run by themselves, without anybody asking."""

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun

from tests.apparatus.automations import pause_schedules
from tests.kubernetes.cluster import Cluster, eventually

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(900)]


def test_the_poll_is_run_by_its_schedule(cluster: Cluster) -> None:
    with get_client(sync_client=True) as client:
        polling = client.read_deployment_by_name("poll-aliases/kubernetes")
        of_it = FlowRunFilter.model_validate({"deployment_id": {"any_": [polling.id]}})
        client.resume_deployment(polling.id)

        def by_schedule() -> list[FlowRun]:
            found = client.read_flow_runs(flow_run_filter=of_it)
            return [run for run in found if run.auto_scheduled and run.state and run.state.is_completed()]

        try:
            assert eventually("a run that the schedule began", by_schedule, 420)
        finally:
            pause_schedules()
