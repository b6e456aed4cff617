"""What Prefect recorded of a flow run's steps."""

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter

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


def steps_of(flow_run_id: UUID | None) -> dict[str, Step]:
    """Return the deployment steps a flow run ran, each as it ran last."""
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [flow_run_id]}}))
    found: dict[str, Step] = {}
    for run in sorted(runs, key=lambda run: run.start_time or _NEVER):
        for name in STEPS:
            if run.name.startswith(name):
                found[name] = Step(run.state_name, run.start_time or _NEVER, run.end_time or _NEVER)
    return found
