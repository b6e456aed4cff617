"""From an empty cluster: trained on the GPU node and only there, gated, exported, released by its alias."""

import json
from datetime import datetime
from typing import Any

import pytest
from prefect.client.schemas.objects import FlowRun

from blocks.registry import ModelRegistry
from tests.conftest import Measured
from tests.kubernetes.cluster import TRAINING_CORES, Cluster
from tests.kubernetes.released import MODEL, SERVED, served_versions
from tests.kubernetes.runs import children, step_end, steps

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(2700)]


def test_training_and_gate_2_run_on_the_gpu_node_and_nothing_else_does(
    cluster: Cluster, trained: dict[str, Any]
) -> None:
    training, gate_2 = sorted(children(trained["training"].id), key=start_of)
    on_gpu_nodes = {pod.flow_run_id for pod in trained["pods"].values() if pod.node in cluster.gpu_nodes()}
    with_gpu = {pod.flow_run_id: pod.gpus for pod in trained["pods"].values() if pod.gpus}

    assert with_gpu == {training.id: 1, gate_2.id: 1}
    assert on_gpu_nodes == {training.id, gate_2.id}
    assert gate_2.name.startswith("validate export")
    assert {trained["training"].id, trained["release"].id} <= {pod.flow_run_id for pod in trained["pods"].values()}


def test_the_gpu_is_free_between_training_and_gate_2_and_after_it(trained: dict[str, Any]) -> None:
    training, gate_2 = sorted(children(trained["training"].id), key=start_of)

    assert training.end_time is not None
    # who waited for gate 2 went through the steps before it once more, and took their results from the cache
    done = [step for step in steps(trained["training"].id) if step.state_name == "Completed"]
    between = [step.start_time for step in done if step.name.startswith(("promote", "export-onnx"))]
    assert len(between) == 2
    assert all(start is not None and training.end_time <= start < start_of(gate_2) for start in between)
    assert [pod.phase for pod in trained["pods"].values() if pod.gpus] == ["Succeeded", "Succeeded"]


@pytest.mark.usefixtures("trained")
def test_training_computes_in_as_many_threads_as_its_container_may_use_cores(registry: ModelRegistry) -> None:
    run = registry.connect().get_run(str(registry.get_version(MODEL, 1).run_id))

    assert run.data.params["training.threads"] == run.data.params["training.num_workers"] == TRAINING_CORES


def start_of(run: FlowRun) -> datetime:
    """Return when a run began."""
    assert run.start_time is not None
    return run.start_time


def test_the_alias_releases_to_both_replicas_and_each_is_verified(
    cluster: Cluster, registry: ModelRegistry, trained: dict[str, Any], measured: Measured
) -> None:
    assert registry.get_aliases(SERVED) == {"deploy": 1, "live": 1}
    assert served_versions(cluster) == [(1,), (1,)]
    receipt = json.loads(registry.get_version(SERVED, 1).tags["receipt"])
    assert len({replica["address"] for replica in receipt["replicas"]}) == 2
    assert all(replica["comparison"]["top1_agreement"] == 1 for replica in receipt["replicas"])
    set_at = datetime.fromisoformat(trained["release"].parameters["alias_set_at"])
    to_live_s = step_end(trained["release"].id, "verify-deployment").timestamp() - set_at.timestamp()
    measured(f"charts installed in {cluster.installed_in_s:.0f} s")
    measured(f"trained, gated, exported, released, verified in {trained['total_s']:.0f} s")
    measured(f"alias set to verified live on both replicas: {to_live_s:.1f} s")
