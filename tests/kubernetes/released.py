"""The model that the tests here train and release, and what the cluster says about it."""

import json
from uuid import UUID

from prefect.client.orchestration import get_client

from tests.kubernetes.cluster import Cluster, eventually
from tests.kubernetes.runs import runs_of

MODEL, SERVED = "resnet18-digits", "resnet18-digits-onnx"
POD_S = 300  # a pod's start, its imports and a short flow on two busy cores
TRAINED_S = 1800  # six pods one after the other, while all other tests run on the same two cores
DIGITS = {"model_name": MODEL, "epochs": 1, "metric_threshold": 0.5}


def release_of(version: int) -> UUID:
    """Return the run that the alias triggered for a version of the served model."""
    asked = {"model_name": SERVED, "source": f"version:{version}"}
    (run, *_) = eventually("the release an alias asks for", lambda: runs_of("deploy-model", **asked), 180)
    return run.id


def served_versions(cluster: Cluster, model_name: str = SERVED) -> list[tuple[int, ...]]:
    """Return what each replica serves, asked one by one."""
    with cluster.fleet() as fleet:
        return [fleet.list_ready_versions(address, model_name) for address in fleet.list_addresses()]


def findings(run_id: UUID) -> list[str]:
    """Return the kinds of drift a reconciliation reported."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    of_it = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        tables = client.read_artifacts(artifact_filter=of_it)
    return [row["drift"] for table in tables for row in json.loads(str(table.data))]
