"""The deployments on the server are those of `prefect.yaml`: Prefect ignores what it does not know silently."""

from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse

from infra.local.settings import LocalStack


@pytest.fixture
def deployed(stack: LocalStack) -> dict[str, DeploymentResponse]:
    """Every deployment of `prefect.yaml` by its full name; other tests leave deployments of their own on the stack."""
    with get_client(sync_client=True) as client:

        def full_name(name: str, flow_id: UUID) -> str:
            return f"{client.read_flow(flow_id).name}/{name}"

        ours = DeploymentFilter(name=DeploymentFilterName(any_=["local"]))
        found = client.read_deployments(deployment_filter=ours)
        return {full_name(deployment.name, deployment.flow_id): deployment for deployment in found}


def test_every_flow_is_deployed_and_says_what_it_does(deployed: dict[str, DeploymentResponse]) -> None:
    flows = (
        "train-model",
        "train-candidate",
        "validate-export",
        "train-yolo",
        "deploy-model",
        "deploy-by-git",
        "publish-model",
        "adopt-model",
        "rollback-model",
        "tune-model",
        "withdraw-model",
        "reconcile-models",
        "poll-aliases",
    )
    assert set(deployed) == {f"{flow}/local" for flow in flows}
    assert all(deployment.description for deployment in deployed.values())


def test_models_are_reconciled_every_five_minutes_by_one_run_at_a_time(deployed: dict[str, DeploymentResponse]) -> None:
    reconciling = deployed["reconcile-models/local"]

    assert [schedule.schedule.cron for schedule in reconciling.schedules] == ["*/5 * * * *"]  # type: ignore[union-attr]
    assert reconciling.global_concurrency_limit is not None
    assert reconciling.global_concurrency_limit.limit == 1
    assert reconciling.concurrency_options is not None
    assert reconciling.concurrency_options.collision_strategy == "CANCEL_NEW"
