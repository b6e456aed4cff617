"""What Prefect recorded of a flow run's steps."""

import time
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import TaskRun

from tests.apparatus.patience import PATIENCE_S

STEPS = (
    "fetch-model",
    "determine-version",
    "prepare-artifacts",
    "upload-to-s3",
    "prove-candidate",
    "commit-version",
    "reload-triton",
    "update-aliases",
    "verify-deployment",
    "finish-release",
)
_NEVER = datetime.min.replace(tzinfo=UTC)


class Step(NamedTuple):
    """The last run of one step."""

    state_name: str | None
    start: datetime
    end: datetime

    @property
    def duration_s(self) -> float:
        """Seconds the step took."""
        return (self.end - self.start).total_seconds()


def tasks_of(flow_run_id: UUID | None, last: str) -> list[TaskRun]:
    """Return the tasks a flow run ran in the order they began, waiting until Prefect has recorded how `last` ended.

    A run's own state is reported at once, its tasks' states by events, which arrive a moment later.
    """
    of_it = FlowRunFilter.model_validate({"id": {"any_": [flow_run_id]}})
    give_up = time.monotonic() + PATIENCE_S
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_task_runs(flow_run_filter=of_it)
            runs.sort(key=lambda run: run.start_time or _NEVER)
            latest = {run.name: run.state for run in runs}  # one that was killed stays Running
            ended = all(state and state.is_final() for state in latest.values())
            if ended and any(name.startswith(last) for name in latest):
                return runs
            assert time.monotonic() < give_up, [(run.name, run.state_name) for run in runs]
            time.sleep(0.2)


def steps_of(flow_run_id: UUID | None) -> dict[str, Step]:
    """Return the deployment steps a flow run ran, each as it ran last."""
    found: dict[str, Step] = {}
    for run in tasks_of(flow_run_id, last=STEPS[-1]):
        for name in STEPS:
            if run.name.startswith(name):
                found[name] = Step(run.state_name, run.start_time or _NEVER, run.end_time or _NEVER)
    return found
