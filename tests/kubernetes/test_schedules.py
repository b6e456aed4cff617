"""Schedules run by themselves, without anybody asking."""

from datetime import datetime

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled

from tests.apparatus.automations import pause_schedules
from tests.kubernetes.cluster import Cluster, eventually

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(900)]


@pytest.mark.exhaustive  # Prefect runs schedules, and tests/infra/test_prefect_yaml.py reads ours
def test_the_poll_is_run_by_its_schedule(cluster: Cluster) -> None:
    with get_client(sync_client=True) as client:
        polling = client.read_deployment_by_name("poll-aliases/kubernetes")
        of_it = FlowRunFilter.model_validate({"deployment_id": {"any_": [polling.id]}})
        client.resume_deployment(polling.id)

        def planned_for(run: FlowRun) -> datetime:
            assert run.expected_start_time is not None
            return run.expected_start_time

        def by_schedule() -> list[FlowRun]:
            found = client.read_flow_runs(flow_run_filter=of_it)
            return [run for run in found if run.auto_scheduled and run.state and run.state.is_completed()]

        def planned() -> list[FlowRun]:
            found = client.read_flow_runs(flow_run_filter=of_it)
            return [run for run in found if run.auto_scheduled and run.state and run.state.is_scheduled()]

        try:
            due = min(eventually("a run that the schedule planned", planned, 180), key=planned_for)
            client.set_flow_run_state(due.id, Scheduled(), force=True)  # now, not up to two minutes later
            assert eventually("a run that the schedule began", by_schedule, 420)
        finally:
            pause_schedules()
